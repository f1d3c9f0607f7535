"""What goes into an answer and what comes out of it."""

from dataclasses import dataclass, field
from typing import Any

from models.assistants import Assistant
from models.chats import Chat, Citation, Tokens
from models.conversations import Channel
from models.documents import ScoredPassage
from models.hosting import HostedSearch


@dataclass(frozen=True)
class Inbound:
    """A person's message as a door hands it in.

    Attributes:
        message_id: the channel's own id of the message; deliveries with the same id are the same message.
        active: False stores the message without asking a model.
        callback_url: where the outcome is sent; None when the caller waits for it.
    """

    assistant: Assistant
    channel: Channel
    text: str
    username: str | None = None
    message_id: str | None = None
    active: bool = True
    callback_url: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """One earlier exchange. Either side may be missing: a person wrote to an agent, or an agent wrote unasked.

    Attributes:
        key: names exactly these words: another attempt at the answer, or an answer that was withheld, has another key.
            It says where they are from, so turns with the same words are equal all the same.
    """

    message: str | None
    response: str | None
    key: str = field(default="", compare=False)


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
    """What the provider counted, the model that it says answered, and its own id of the answer; all may be unknown."""

    tokens: Tokens | None = None
    model: str | None = None
    response_id: str | None = None


ModelEvent = TextDelta | Sources | Usage


@dataclass(frozen=True)
class Replaying:
    """What follows is the answer that an earlier delivery of the same message was given."""


@dataclass(frozen=True)
class Done:
    """The end of an answer: the chat as it is stored.

    Attributes:
        replayed: True when this delivery did not make the answer but was given that of an earlier one.
    """

    chat: Chat
    replayed: bool = False


AnswerEvent = Replaying | TextDelta | Done
