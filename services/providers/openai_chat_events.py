"""What the chunks of a streamed chat completion say: text, calls of functions, how it ended, usage."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from models.answers import ToolCalls
from models.chats import Tokens
from models.errors import ProviderFailed
from services.providers.http_calls import Endpoint
from services.providers.openai_chat_calls import CallsInPieces

_THOUGHTS = ("reasoning_content", "reasoning")
"""Where servers tell what a model thinks; nobody is shown it."""


@dataclass(frozen=True)
class Carried:
    """What a round leaves to the next one, as `ToolCalls.state`: some servers want to be told it again.

    Attributes:
        thoughts: what the model thought before its calls, under the name that the server gave it.
        extras: of each call.
    """

    thoughts: Mapping[str, str] = field(repr=False)
    extras: tuple[Mapping[str, Any] | None, ...] = ()


class ChatEvents:
    """What has come of an answer so far.

    Args:
        may_call: whether the request told of tools; calls that were not asked for are no answer.
    """

    def __init__(self, endpoint: Endpoint, *, may_call: bool = False) -> None:
        self._endpoint = endpoint
        self._may_call = may_call
        self._finish_reason: str | None = None
        self._calls = CallsInPieces()
        self._thoughts: dict[str, str] = {}
        self._text = ""
        self.ended = False
        self.tokens: Tokens | None = None
        self.model: str | None = None

    @property
    def complete(self) -> bool:
        """Tell whether the text is complete; the usage may still come."""
        return self.ended or self._finish_reason is not None

    @property
    def truncated(self) -> bool:
        """Tell whether it ended because it reached its limit of tokens."""
        return self._finish_reason == "length"

    def take(self, name: bytes, data: bytes) -> str:
        """Take in one event and return its text."""
        if data.strip() == b"[DONE]":
            self.ended = True
            return ""
        chunk = self._parse(name, data)
        try:
            return self._read(chunk)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._foreign(data) from error

    def outcome(self) -> ToolCalls | None:
        """Return the calls that the model waits for, None if it has answered.

        Raises:
            ProviderFailed: it did neither, or broke off.
        """
        if not self.complete:
            self._endpoint.log(logging.WARNING, "the answer broke off", "end of stream without finish_reason or [DONE]")
            raise self._endpoint.cut()
        if self._finish_reason == "content_filter":
            raise ProviderFailed(
                f"{self._endpoint.name} withheld the answer by its content filter. Put the question another way.",
                code="content_filtered",
            )
        calls = self._whole_calls()
        if calls is None and not self._text.strip():
            raise self._said_nothing()
        return calls

    def _whole_calls(self) -> ToolCalls | None:
        """Return the calls, whichever end the server names, for many say `stop`; but none of half an answer."""
        if self.truncated:
            return None
        try:
            calls = self._calls.calls()
        except ValueError as error:
            raise self._foreign("a call without a name") from error
        state = Carried(self._thoughts, self._calls.extras())
        return ToolCalls(calls, self._text, state) if calls else None

    def _said_nothing(self) -> ProviderFailed:
        if not self.truncated:
            return self._endpoint.empty()
        return ProviderFailed(
            f"{self._endpoint.name} used its limit of tokens up before it said anything. Raise max_output_tokens.",
            code="empty_answer",
        )

    def _read(self, chunk: dict[str, Any]) -> str:
        self.model = self.model or chunk.get("model") or None
        usage = chunk.get("usage")
        if usage:
            self.tokens = Tokens(int(usage["prompt_tokens"] or 0), int(usage["completion_tokens"] or 0))
        choices = chunk.get("choices")
        if not choices:
            return ""
        self._finish_reason = choices[0].get("finish_reason") or self._finish_reason
        delta = choices[0].get("delta") or choices[0].get("message") or {}
        if self._may_call:
            self._note(delta)
        text = str(delta.get("content") or delta.get("refusal") or "")
        self._text += text
        return text

    def _note(self, delta: Mapping[str, Any]) -> None:
        """Take in what is not shown."""
        for piece in delta.get("tool_calls") or ():
            self._calls.take(piece)
        for name in _THOUGHTS:
            thought = delta.get(name)
            if isinstance(thought, str):
                self._thoughts[name] = self._thoughts.get(name, "") + thought

    def _parse(self, name: bytes, data: bytes) -> dict[str, Any]:
        try:
            chunk = _read_json(data)
        except ValueError as error:
            self._endpoint.log(logging.ERROR, "an event is no JSON", data)
            raise self._endpoint.unreadable() from error
        if not isinstance(chunk, dict) or name == b"error" or chunk.get("error"):
            self._endpoint.log(logging.ERROR, "an error within the answer", data)
            raise ProviderFailed(f"{self._endpoint.name} reported an error within the answer. Try again.")
        return chunk

    def _foreign(self, what: object) -> ProviderFailed:
        self._endpoint.log(logging.ERROR, "an event of another protocol", what)
        return self._endpoint.unreadable()


def _read_json(data: bytes) -> Any:
    """Return a JSON value; msgspec takes a third of the time, but refuses halves of UTF-16 pairs.

    Raises:
        ValueError: it is none.
    """
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return json.loads(data)
