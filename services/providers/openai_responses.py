"""Answers over OpenAI's Responses API (OpenAI, Azure v1), with the conversation kept at the provider.

As in `openai_chat`, the stream is parsed here and not by the SDK, which takes most of the CPU time of such an answer;
events that repeat what others brought are not parsed at all.
"""

import contextlib
import logging
from collections.abc import Generator

import httpx2
import openai

from models.answers import ModelEvent, ModelRequest, Sources, TextDelta, ToolCalls, Usage
from models.chats import Citation
from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from services.ports import Locator
from services.prompting import system_text
from services.providers.http_calls import Endpoint, expect_stream, opened, read_on, sse_events
from services.providers.http_sockets import Call
from services.providers.openai_findings import Findings
from services.providers.openai_names import RESPONSES
from services.providers.openai_response_events import (
    CONTENT_FILTER,
    ConversationRefused,
    ResponseEvents,
    is_about_it,
    is_about_store,
    search_refused,
    withheld,
)
from services.providers.openai_response_input import Carried, carried, included, input_of, options_of, tools_of
from services.providers.openai_sending import opening
from services.providers.openai_threads import Continuation, OpenAIThreads

_END_SECONDS = 0.2
_FEWEST_OUTPUT_TOKENS = 16
"""OpenAI refuses a lower limit."""
_OMISSIBLE = ("temperature", "top_p", "truncation", "encrypted")
"""Words that name what some models or servers refuse; an answer without it is better than none.

`encrypted` is the content of reasoning, which models that do not reason refuse to give.
"""


class OpenAIResponsesModel:
    """Stream answers over responses.

    With `ModelRequest.search` the provider looks for passages itself, and tells which files it cites. With
    `ModelRequest.tools` it may end its turn with `ToolCalls`, and goes on in the same conversation after them.

    Args:
        client: from `openai_chat.build_client`.
        model: used when the request names none.
        threads: on the same client.
        locator: makes our citations of the provider's.
    """

    provider = RESPONSES
    hosts_memory = True
    calls_tools = True

    def __init__(self, client: openai.OpenAI, model: str, threads: OpenAIThreads, locator: Locator) -> None:
        self.model = model
        self._client = client.with_options(max_retries=0)
        self._threads = threads
        self._locator = locator
        self._refused: dict[str, frozenset[str]] = {}
        self._endpoint = Endpoint(
            name="The model's endpoint",
            key_hint="Check OPENAI_API_KEY.",
            model_hint="Check the assistant's model, OPENAI_MODEL and OPENAI_BASE_URL.",
            url_hint="Check OPENAI_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def stream(self, request: ModelRequest, deadline: Deadline) -> Generator[ModelEvent, None, None]:
        """Yield the text as it comes, then calls or, if the provider looked for them, the sources, then the usage."""
        call = Call(deadline)
        deadline.check()
        before = carried(request)
        conversation = before.conversation if before else Continuation(self._threads, request)
        findings = before.findings if before else Findings()
        if before is None:
            conversation.begin(call)
        try:
            yield from self._answer(request, conversation, findings.copy(), call)
        except ConversationRefused:
            if conversation.id is None:
                raise
            conversation.renew(call)
            yield from self._answer(request, conversation, findings.copy(), call)

    def _answer(
        self, request: ModelRequest, conversation: Continuation, findings: Findings, call: Call
    ) -> Generator[ModelEvent, None, None]:
        """Ask, and yield what comes.

        Raises:
            ConversationRefused: before anything came.
        """
        answer = ResponseEvents(self._endpoint, findings, may_call=bool(request.tools))
        with opened(lambda: self._send(request, conversation, call), call, self._endpoint) as response:
            expect_stream(response, self._endpoint)
            events = sse_events(read_on(call, response, self._endpoint))
            for name, data in events:
                call.deadline.check()
                text = answer.take(name, data)
                if text:
                    yield TextDelta(text)
                if answer.ended:
                    break
            answer.check()
            call.wait_for_rest(_END_SECONDS)
            with contextlib.suppress(ProviderFailed, DeadlineExceeded):
                for _ in events:  # to its end, so that the connection can be used again
                    pass
        if answer.calls and request.tools:
            conversation.wait_for_calls(len(request.rounds) + 1, answer.response_id)
            items = tuple(answer.items) if conversation.id is None else ()
            yield ToolCalls(answer.calls, answer.text, Carried(conversation, items, findings))
        else:
            if answer.complete and not answer.calls:
                conversation.settle(answer.response_id)
            if request.search is not None:
                yield Sources(self._citations(answer))
        yield Usage(answer.tokens, answer.model, answer.response_id, answer.truncated)

    def _citations(self, answer: ResponseEvents) -> tuple[Citation, ...]:
        found = [self._locator.locate(one.document_id, one.text, answer.text) for one in answer.findings.used()]
        return tuple(dict.fromkeys(citation for citation in found if citation is not None))

    def _send(self, request: ModelRequest, conversation: Continuation, call: Call) -> httpx2.Response:
        """Ask in the conversation; return the response whatever its status, but for three refusals.

        Raises:
            ConversationRefused: the conversation.
            ProviderFailed: what is asked; code `content_filtered`. Where to search; code `search_refused`.
        """
        conversation.prepare(call, len(request.rounds))
        response = self._ask(request, conversation, call)
        conversation.note(response)
        if response.status_code == 400 and f'"{CONTENT_FILTER}"' in response.text:
            self._endpoint.log(logging.WARNING, "a question was withheld", response.text)
            raise withheld(self._endpoint)
        if request.search is not None and response.status_code in (400, 404) and is_about_store(response.text):
            self._endpoint.log(logging.WARNING, "a search was refused", response.text)
            raise search_refused(self._endpoint)
        if conversation.id is not None and response.status_code in (400, 404, 409) and is_about_it(response.text):
            self._endpoint.log(logging.WARNING, "a conversation was refused", response.text)
            raise ConversationRefused(f"{self._endpoint.name} does not take the conversation. Try again.")
        return response

    def _ask(self, request: ModelRequest, conversation: Continuation, call: Call) -> httpx2.Response:
        """Post without the parameters that the model refuses, or learn which these are."""
        model = request.model or self.model
        refused = self._refused.get(model, frozenset())
        response = self._post(request, refused, conversation, call)
        while new := _refused_parameters(response, refused):
            self._endpoint.log(logging.WARNING, f"{model} refused {', '.join(sorted(new))}", response.text)
            refused |= new
            response = self._post(request, refused, conversation, call)
        if response.is_success:
            self._refused[model] = refused | self._refused.get(model, frozenset())
        return response

    def _post(
        self, request: ModelRequest, refused: frozenset[str], conversation: Continuation, call: Call
    ) -> httpx2.Response:
        limit, temperature = request.max_output_tokens, request.temperature
        limit = None if limit is None else max(limit, _FEWEST_OUTPUT_TOKENS)
        options = {name: value for name, value in options_of(request).items() if name not in refused}
        asking = self._client.responses.with_streaming_response.create(
            model=request.model or self.model,
            instructions=system_text(request),
            input=input_of(request, conversation),
            conversation=conversation.id or openai.omit,
            store=conversation.id is not None,
            stream=True,
            truncation=openai.omit if "truncation" in refused else "auto",
            temperature=openai.omit if temperature is None or "temperature" in refused else temperature,
            max_output_tokens=openai.omit if limit is None else limit,
            tools=tools_of(request) or openai.omit,
            include=included(request, conversation, encrypted="encrypted" not in refused) or openai.omit,
            extra_body=options or None,
            timeout=call.timeout(),
        )
        return opening(asking, self._endpoint)


def _refused_parameters(response: httpx2.Response, known: frozenset[str]) -> frozenset[str]:
    """Return the omissible parameters that a refusal names and that were not known to be refused."""
    if response.status_code not in (400, 422):
        return frozenset()
    words = response.text.lower()
    return frozenset(name for name in _OMISSIBLE if name in words) - known
