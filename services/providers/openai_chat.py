"""Answers from any server that speaks OpenAI's chat completions: OpenAI, Azure, DashScope, Ollama, vLLM.

The stream is parsed here and not by the SDK: that takes a third of the CPU time, and the SDK's stream stops at
`[DONE]` without reading on to the end, so that each answer would need a new connection (openai-python #3440).
"""

import contextlib
import json
import logging
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import openai
from openai.types.chat import ChatCompletionMessageParam

from models.answers import ModelEvent, ModelRequest, TextDelta, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from services.prompting import system_text
from services.providers.http_calls import Endpoint, expect_stream, opened, read_on, sse_events
from services.providers.http_sockets import Call, make_cuttable
from services.providers.openai_sending import opening

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
        http_client=make_cuttable(openai.DefaultHttpx2Client(limits=limits)),
    )


@dataclass(frozen=True)
class _Dialect:
    """What one model's server understands of the two parameters that servers disagree about.

    `max_tokens` is tried first: OpenAI's newer models refuse it with a 400 that names `max_completion_tokens`, while
    Ollama takes `max_completion_tokens` silently and lets the model write without end (ollama #7125). Servers that do
    not know `stream_options` refuse it; their answers then have no token counts.
    """

    limit: str = "max_tokens"
    usage: bool = True

    def simpler_for(self, response: httpx2.Response) -> "_Dialect | None":
        """Return the dialect to try after this response; None if it is no refusal of ours."""
        if response.status_code not in (400, 422):
            return None
        if self.limit == "max_tokens" and "max_completion_tokens" in response.text:
            return replace(self, limit="max_completion_tokens")
        if self.usage and "stream_options" in response.text:
            return replace(self, usage=False)
        return None


class OpenAIChatModel:
    """Stream answers over chat completions.

    Args:
        client: from `build_client`; another one is not woken by a cancel before its answer begins.
        model: used when the request names none.
    """

    provider = "openai_chat"
    hosts_memory = False

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self.model = model
        self._client = client.with_options(max_retries=0)
        self._dialects: dict[str, _Dialect] = {}
        self._endpoint = Endpoint(
            name="The model's endpoint",
            key_hint="Check OPENAI_API_KEY.",
            model_hint="Check the assistant's model, OPENAI_MODEL and OPENAI_BASE_URL.",
            url_hint="Check OPENAI_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def stream(self, request: ModelRequest, deadline: Deadline) -> Generator[ModelEvent, None, None]:
        """Yield the answer's text as it comes, then its usage."""
        call = Call(deadline)
        answer = _Answer(self._endpoint)
        with opened(lambda: self._send(request, call), call, self._endpoint) as response:
            expect_stream(response, self._endpoint)
            events = sse_events(read_on(call, response, self._endpoint))
            for name, data in events:
                deadline.check()
                text = answer.take(name, data)
                if text:
                    yield TextDelta(text)
                if answer.complete:
                    break
            answer.check()
            call.wait_for_rest(_END_SECONDS if answer.ended else _USAGE_SECONDS)
            with contextlib.suppress(ProviderFailed, DeadlineExceeded):
                for name, data in events:
                    answer.take(name, data)
                    if answer.ended:
                        call.wait_for_rest(_END_SECONDS)
        yield Usage(answer.tokens, answer.model)

    def _send(self, request: ModelRequest, call: Call) -> httpx2.Response:
        """Send in the model's dialect, or learn it; return the response whatever its status."""
        model = request.model or self.model
        dialect = self._dialects.get(model, _Dialect())
        response = self._post(request, dialect, call)
        while (simpler := dialect.simpler_for(response)) is not None:
            self._endpoint.log(logging.WARNING, f"{model} refused a parameter, trying {simpler}", response.text)
            dialect = simpler
            response = self._post(request, dialect, call)
        if response.is_success:
            self._dialects[model] = dialect
        return response

    def _post(self, request: ModelRequest, dialect: _Dialect, call: Call) -> httpx2.Response:
        limit = openai.omit if request.max_output_tokens is None else request.max_output_tokens
        asking = self._client.chat.completions.with_streaming_response.create(
            model=request.model or self.model,
            messages=_messages(request),
            stream=True,
            stream_options={"include_usage": True} if dialect.usage else openai.omit,
            temperature=openai.omit if request.temperature is None else request.temperature,
            max_tokens=limit if dialect.limit == "max_tokens" else openai.omit,
            max_completion_tokens=limit if dialect.limit == "max_completion_tokens" else openai.omit,
            timeout=call.timeout(),
        )
        return opening(asking, self._endpoint)


def _messages(request: ModelRequest) -> list[ChatCompletionMessageParam]:
    """Return the conversation; neighbours of one role are joined, since many chat templates want them to alternate."""
    spoken: list[tuple[str, str]] = []
    for turn in request.history:
        spoken += [("user", turn.message or ""), ("assistant", turn.response or "")]
    joined: list[tuple[str, str]] = []
    for role, text in [*(one for one in spoken if one[1]), ("user", request.question)]:
        if joined and joined[-1][0] == role:
            text = f"{joined.pop()[1]}\n\n{text}"
        joined.append((role, text))
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": system_text(request)}]
    for role, text in joined:
        messages.append({"role": "user", "content": text} if role == "user" else {"role": "assistant", "content": text})
    return messages


class _Answer:
    """What has come of an answer so far."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._finish_reason: str | None = None
        self._has_text = False
        self.ended = False
        self.tokens: Tokens | None = None
        self.model: str | None = None

    @property
    def complete(self) -> bool:
        """Tell whether the text is complete; the usage may still come."""
        return self.ended or self._finish_reason is not None

    def take(self, name: bytes, data: bytes) -> str:
        """Take in one event and return its text."""
        if data.strip() == b"[DONE]":
            self.ended = True
            return ""
        chunk = self._parse(name, data)
        try:
            return self._read(chunk)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self._endpoint.log(logging.ERROR, "an event of another protocol", data)
            raise self._endpoint.unreadable() from error

    def check(self) -> None:
        """Return if the answer is complete and is one."""
        if not self.complete:
            self._endpoint.log(logging.WARNING, "the answer broke off", "end of stream without finish_reason or [DONE]")
            raise self._endpoint.cut()
        if self._finish_reason == "content_filter":
            raise ProviderFailed(
                f"{self._endpoint.name} withheld the answer by its content filter. Put the question another way.",
                code="content_filtered",
            )
        if not self._has_text:
            raise self._endpoint.empty()

    def _read(self, chunk: dict[str, Any]) -> str:
        self.model = self.model or chunk.get("model") or None
        usage = chunk.get("usage")
        if usage:
            self.tokens = Tokens(int(usage["prompt_tokens"] or 0), int(usage["completion_tokens"] or 0))
        choices = chunk.get("choices")
        if not choices:
            return ""
        self._finish_reason = choices[0].get("finish_reason") or self._finish_reason
        delta = choices[0].get("delta") or {}
        text = str(delta.get("content") or delta.get("refusal") or "")
        self._has_text = self._has_text or bool(text.strip())
        return text

    def _parse(self, name: bytes, data: bytes) -> dict[str, Any]:
        try:
            chunk = json.loads(data)
        except ValueError as error:
            self._endpoint.log(logging.ERROR, "an event is no JSON", data)
            raise self._endpoint.unreadable() from error
        if not isinstance(chunk, dict) or name == b"error" or chunk.get("error"):
            self._endpoint.log(logging.ERROR, "an error within the answer", data)
            raise ProviderFailed(f"{self._endpoint.name} reported an error within the answer. Try again.")
        return chunk
