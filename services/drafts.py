"""An answer in the making: what it is about, and what there is of it."""

import time
from dataclasses import dataclass, field

from models.answers import Audience
from models.assistants import Assistant
from models.chats import Chat, Citation, Tokens
from models.given import NOTHING_GIVEN, Given
from models.routing import Route
from models.tools import ToolCall, ToolUse


@dataclass(frozen=True)
class Task:
    """A message that is to be answered.

    Attributes:
        merged: earlier messages of its burst, which the answer is for as well; they are no part of the history.
        memory_from: the id that the conversation's memory begins behind.
        audience: who may be shown more than the answer.
    """

    assistant: Assistant
    chat: Chat
    merged: tuple[Chat, ...] = ()
    memory_from: str = ""
    audience: Audience = Audience.NOBODY

    @property
    def given(self) -> Given:
        """Return what the request said beside the message."""
        return self.chat.given or NOTHING_GIVEN


@dataclass
class Draft:
    """An answer in the making; it keeps what was said, and what tools did, when a model breaks off."""

    text: str = ""
    citations: tuple[Citation, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)
    provider: str | None = None
    model: str | None = None
    response_id: str | None = None
    truncated: bool = False
    route: Route | None = None
    tools: list[ToolUse] = field(default_factory=list)
    asked: tuple[ToolCall, ...] = ()
    queued_ms: int | None = None
    retrieval_ms: int | None = None
    first_token_ms: int | None = None

    def count(self, tokens: Tokens) -> None:
        """Add what one of the models that took part has read and written."""
        self.tokens = Tokens(self.tokens.input + tokens.input, self.tokens.output + tokens.output)


def ms_since(began: float) -> int:
    """Return the milliseconds since a reading of `time.monotonic`."""
    return round((time.monotonic() - began) * 1000)
