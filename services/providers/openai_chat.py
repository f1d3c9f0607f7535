"""Answers from any server that speaks OpenAI's chat completions: OpenAI, Azure, DashScope, Ollama, vLLM.

Requests are made and streams are parsed here and not by the SDK: that takes a third of the CPU time, and the SDK's
stream stops at `[DONE]` without reading on to the end, so that each answer would need a new connection (openai-python
#3440). The SDK knows the address and the key, and has the HTTP client.
"""

import contextlib
import logging
from collections.abc import Generator, Iterator

import httpx2
import openai

from models.answers import ModelEvent, ModelRequest, TextDelta, Usage
from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from services.providers.http_calls import Endpoint, expect_stream, is_document, opened, read_on, sse_events
from services.providers.http_direct import direct
from services.providers.http_sockets import Call, make_cuttable
from services.providers.openai_chat_dialect import Dialect, cannot_call
from services.providers.openai_chat_events import ChatEvents
from services.providers.openai_chat_input import messages_of, options_of, tools_of
from services.providers.openai_names import CHAT
from services.providers.openai_sending import Sender

_PLACEHOLDER_KEY = "no-key-needed"
_USAGE_SECONDS = 2.0
_END_SECONDS = 0.2


def build_client(api_key: str, base_url: str, connections: int) -> openai.OpenAI:
    """Return a client for one endpoint, which keeps so many connections.

    Args:
        api_key: may be empty for a local server, which wants none; the SDK insists on some.
        base_url: empty for OpenAI's own.
    """
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    return openai.OpenAI(
        api_key=api_key or _PLACEHOLDER_KEY,
        base_url=base_url or "https://api.openai.com/v1",
        max_retries=0,
        http_client=direct(make_cuttable(openai.DefaultHttpx2Client(limits=limits)), connections),
    )


class OpenAIChatModel:
    """Stream answers over chat completions.

    With `ModelRequest.tools` the model may end its turn with `ToolCalls`.

    Args:
        client: from `build_client`; another one is not woken by a cancel before its answer begins.
        model: used when the request names none.
    """

    provider = CHAT
    hosts_memory = False
    calls_tools = True

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self.model = model
        self._sender = Sender(client, "chat/completions", "application/json, text/event-stream")
        self._dialects: dict[str, Dialect] = {}
        self._endpoint = Endpoint(
            name="The model's endpoint",
            key_hint="Check OPENAI_API_KEY.",
            model_hint="Check the assistant's model, OPENAI_MODEL and OPENAI_BASE_URL.",
            url_hint="Check OPENAI_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def stream(self, request: ModelRequest, deadline: Deadline) -> Generator[ModelEvent, None, None]:
        """Yield the text as it comes, then calls if the model asks for some, then the usage."""
        call = Call(deadline)
        answer = ChatEvents(self._endpoint, may_call=bool(request.tools))
        with opened(lambda: self._send(request, call), call, self._endpoint) as response:
            if not request.whole:
                expect_stream(response, self._endpoint)
            for name, data in (events := self._events(response, call)):
                deadline.check()
                text = answer.take(name, data)
                if text:
                    yield TextDelta(text)
                if answer.complete:
                    break
            calls = answer.outcome()
            call.wait_for_rest(_END_SECONDS if answer.ended else _USAGE_SECONDS)
            with contextlib.suppress(ProviderFailed, DeadlineExceeded):
                for name, data in events:
                    answer.take(name, data)
                    if answer.ended:
                        call.wait_for_rest(_END_SECONDS)
        if calls is not None:
            yield calls
        yield Usage(answer.tokens, answer.model, truncated=answer.truncated)

    def _events(self, response: httpx2.Response, call: Call) -> Iterator[tuple[bytes, bytes]]:
        """Return the events of a stream; a whole answer is a single one."""
        chunks = read_on(call, response, self._endpoint)
        return iter([(b"", b"".join(chunks))]) if is_document(response) else sse_events(chunks)

    def _send(self, request: ModelRequest, call: Call) -> httpx2.Response:
        """Send in the model's dialect, or learn it; return the response whatever its status, but for one refusal.

        Raises:
            ProviderFailed: code `tools_unsupported`.
        """
        model = request.model or self.model
        dialect = self._dialects.get(model, Dialect())
        response = self._post(request, dialect, call)
        while (simpler := dialect.simpler_for(response, request)) is not None:
            self._endpoint.log(logging.WARNING, f"{model} refused a parameter, trying {simpler}", response.text)
            dialect = simpler
            response = self._post(request, dialect, call)
        if response.is_success:
            self._dialects[model] = dialect
        elif cannot_call(response, request):
            self._endpoint.log(logging.WARNING, f"{model} calls no tools", response.text)
            raise ProviderFailed(
                f"The model {model!r} cannot call tools. Choose another model, or ask without tools.",
                code="tools_unsupported",
            )
        return response

    def _post(self, request: ModelRequest, dialect: Dialect, call: Call) -> httpx2.Response:
        streamed = not (request.whole and dialect.whole)
        temperature = None if "temperature" in dialect.omitted else request.temperature
        body = {
            "model": request.model or self.model,
            "messages": messages_of(request, dialect),
            "stream": streamed,
            "stream_options": {"include_usage": True} if dialect.usage and streamed else None,
            "temperature": temperature,
            dialect.limit: request.max_output_tokens,
            "tools": tools_of(request, dialect) or None,
            **options_of(request, dialect),
        }
        return self._sender.send({name: value for name, value in body.items() if value is not None}, call)
