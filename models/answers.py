"""What goes into an answer and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from models.assistants import Assistant
from models.chats import Chat, Citation, Tokens
from models.conversations import Channel
from models.documents import ScoredPassage
from models.given import Given, Turn
from models.hosting import HostedSearch
from models.tools import ToolCall, ToolResult, ToolSpec
from models.voice import Heard


class Audience(StrEnum):
    """Who follows an answer while it is made: nobody, a stream of several kinds of events, or one of plain text."""

    NOBODY = "nobody"
    EVENTS = "events"
    TEXT = "text"


@dataclass(frozen=True)
class Arrival:
    """The place in its conversation of a message that arrived some time before it can be stored.

    Attributes:
        chat_id: what its chat's id will be.
        at: when it arrived.
    """

    chat_id: str
    at: datetime


@dataclass(frozen=True)
class Inbound:
    """A person's message as a door hands it in.

    Attributes:
        message_id: the channel's own id of the message; deliveries with the same id are the same message.
        active: False stores the message without asking a model.
        callback_url: where the outcome is sent; None when the caller waits for it.
        given: what a client's request says beside the text.
        digest: names the request, so that its client's own repetitions can be told; "" where they need not be.
        repeats: the chat of this request, where its client sends it once more; "" if it is new.
        heard: how the text was heard; None if it was written.
        reply_audio: its sender wants the answer as sound too.
        arrival: the place that is kept for it; None if it is stored as soon as it arrives.
    """

    assistant: Assistant
    channel: Channel
    text: str
    username: str | None = None
    message_id: str | None = None
    active: bool = True
    callback_url: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    given: Given | None = None
    digest: str = ""
    repeats: str = ""
    audience: Audience = Audience.NOBODY
    heard: Heard | None = None
    reply_audio: bool = False
    arrival: Arrival | None = None


@dataclass(frozen=True)
class ToolRound:
    """The calls that a model asked for at once, made.

    Attributes:
        text: what the model said before them.
        state: what the model handed out with `ToolCalls`.
    """

    results: tuple[ToolResult, ...]
    text: str = ""
    state: object = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class ModelRequest:
    """All that a language model may need for one answer.

    Attributes:
        instructions: the prompt document's text, "" without one.
        passages: what was found for the question, best first.
        history: earlier turns, oldest first, already within the token budget.
        model: the provider's model name, None for the provider's default.
        language: BCP 47 tag to answer in, None to follow the question.
        conversation_id: our conversation, which a provider may keep a copy of; "" when it shall not.
        keys: the keys of the turns that this question and its answer will be in later histories, oldest first: the
            messages of its burst, each a turn of its own, and last the one that has the answer.
        context: names the documents' texts that `passages` and `search` are from; "" when the provider keeps no
            conversation.
        search: where the provider itself looks for passages; None when `passages` are all there is.
        tools: what the model may ask for instead of an answer.
        rounds: what it has asked for since the question, oldest first; see `after`.
        options: further parameters of the model, in OpenAI's names; a provider that does not know one leaves it out.
        whole: the client waits for the whole answer, so it may as well come in one piece.
        bare: the instructions are all that the model is told: it does not speak to the person, but judges, for one.
    """

    assistant_id: str
    question: str
    instructions: str = ""
    passages: tuple[ScoredPassage, ...] = ()
    history: tuple[Turn, ...] = ()
    model: str | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    language: str | None = None
    conversation_id: str = ""
    keys: tuple[str, ...] = ()
    context: str = ""
    search: HostedSearch | None = None
    tools: tuple[ToolSpec, ...] = ()
    rounds: tuple[ToolRound, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    bare: bool = False

    def after(self, asked: "ToolCalls", outputs: Sequence[str]) -> "ModelRequest":
        """Return the request that goes on where these calls ended the model's turn.

        Args:
            outputs: what each call gave, in the calls' order.

        Raises:
            ValueError: there is not one output for each call.
        """
        results = tuple(ToolResult(call, output) for call, output in zip(asked.calls, outputs, strict=True))
        return replace(self, rounds=(*self.rounds, ToolRound(results, asked.text, asked.state)))


@dataclass(frozen=True)
class TextDelta:
    """The next piece of an answer's text."""

    text: str


@dataclass(frozen=True)
class Sources:
    """The places that a model itself says its answer rests on."""

    citations: tuple[Citation, ...]


@dataclass(frozen=True)
class Usage:
    """What the provider counted, the model that it says answered, and its own id of the answer; all may be unknown.

    Attributes:
        truncated: the text ends where it does because it reached its limit of tokens.
    """

    tokens: Tokens | None = None
    model: str | None = None
    response_id: str | None = None
    truncated: bool = False


@dataclass(frozen=True)
class ToolCalls:
    """The calls that a model waits for: its turn is over, and its answer comes after `ModelRequest.after`.

    Whoever does not go on needs to do nothing. The calls are those of a whole response; of one that failed, was cut or
    reached its limit none is told.

    Attributes:
        calls: at least one, in the model's order; they may be made at the same time.
        text: what the model said before them; it was told as `TextDelta` already.
        state: the model's own, for the next round; another model or process does without.
    """

    calls: tuple[ToolCall, ...]
    text: str = ""
    state: object = field(default=None, compare=False, repr=False)


ModelEvent = TextDelta | Sources | ToolCalls | Usage


@dataclass(frozen=True)
class Replaying:
    """What follows is the answer that an earlier delivery of the same message was given."""


@dataclass(frozen=True)
class Stored:
    """The message is stored, as this chat; what its answer says comes after this.

    It comes once in every answer, at the beginning or behind `Replaying`, unless the answer fails before.
    """

    chat: Chat


@dataclass(frozen=True)
class Done:
    """The end of an answer: the chat as it is stored.

    Attributes:
        replayed: True when this delivery did not make the answer but was given that of an earlier one.
    """

    chat: Chat
    replayed: bool = False


@dataclass(frozen=True)
class Written:
    """The answer's text is whole; it is being stored now."""


class ToolStatus(StrEnum):
    """How far a call of a tool is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class ToolProgress:
    """A tool of the assistant's is being called, or was."""

    name: str
    status: ToolStatus


@dataclass(frozen=True)
class Filler:
    """The next piece of what is said while tools run. It is no part of the answer."""

    text: str


AnswerEvent = Stored | Replaying | TextDelta | ToolProgress | Filler | Written | Done
