"""What a chaos run leaves behind: what callers sent and got, what the model saw, what the store holds.

Every time is in seconds since the epoch; all processes of a run share one clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """How a call of the model ended, as the emulator saw it."""

    WHOLE = "whole"
    """Everything was written up to the `finish_reason`."""

    REFUSED = "refused"
    """It said 429."""

    BROKE = "broke"
    """It said 500."""

    CUT = "cut"
    """It closed the connection in the middle of the text."""

    STALLED = "stalled"
    """It went silent, and the server gave it up."""

    GONE = "gone"
    """The server closed the connection while it was writing."""


PLANTED = frozenset({Ending.REFUSED, Ending.BROKE, Ending.CUT, Ending.STALLED})
"""Endings that the emulator brings about itself."""


class Kind(StrEnum):
    """What is done to whom."""

    KILL_SERVER = "kill -9 a server"
    KILL_WORKER = "kill -9 one worker of a server"
    STOP_SERVER = "SIGTERM to a server"
    KILL_REDIS = "kill -9 Redis"
    KILL_STORE = "kill -9 the store's server"


@dataclass(frozen=True)
class Message:
    """A person's message.

    Attributes:
        id: its `message_id`; the number of its conversation and its own, `c012-03`.
        conversation: the channel id of its conversation.
        callback: its outcome goes to the receiver.
    """

    id: str
    conversation: str
    callback: bool = False


@dataclass(frozen=True)
class Delivery:
    """One delivery of a message, as its caller saw it.

    Attributes:
        server: which server it was sent to, and which start of it (`s2.4`).
        status: HTTP status; None when there was no answer, or the caller left before it.
        left: the caller went away on purpose.
        replayed: the answer was marked `Idempotent-Replayed`.
        chat: `_id`, `status`, `response` and `merged_into` of the chat, if one came.
        text: the pieces of a stream, joined; None when it was no stream.
        early: the stream began before there was anything to tell, so its head could not be marked.
        code: of the problem that came instead.
    """

    message: str
    server: str
    began: float
    ended: float
    status: int | None = None
    left: bool = False
    replayed: bool = False
    chat: Mapping[str, str | None] | None = None
    text: str | None = None
    early: bool = False
    code: str | None = None


@dataclass(frozen=True)
class Call:
    """One call of the model.

    Attributes:
        number: unique in the run.
        server: as `Delivery.server`.
        message: the id of the message that was asked about: the last one in the last user turn.
        shown: what the model was shown, oldest first: `user:<message id>` and `assistant:<text>`.
        text: what it wrote, so far as it was sent.
    """

    number: int
    server: str
    message: str
    shown: Sequence[str]
    began: float
    ended: float
    ending: Ending
    text: str


@dataclass(frozen=True)
class Stored:
    """A chat as the store holds it at the end.

    Attributes:
        delivery: the status of its delivery; None without a callback.
        event_id: of its delivery.
    """

    id: str
    conversation: str
    message: str
    status: str
    response: str | None = None
    merged_into: str | None = None
    attempts: int = 1
    failures: int = 0
    created: float = 0.0
    answered: float | None = None
    delivery: str | None = None
    event_id: str = ""


@dataclass(frozen=True)
class Post:
    """One webhook, as the receiver saw it.

    Attributes:
        genuine: its signature is right.
        taken: the receiver answered 2xx.
        type: of the event.
        chat: as `Delivery.chat`, with the `message_id`.
    """

    at: float
    event_id: str
    genuine: bool
    taken: bool
    type: str
    chat: Mapping[str, str | None]


@dataclass(frozen=True)
class Fault:
    """Something that was done to a process.

    Attributes:
        target: a start of a server (`s2.4`), `redis` or `store`.
        back: when its successor answered.
        exit_code: of a server that was told to stop.
    """

    kind: Kind
    target: str
    at: float
    back: float
    exit_code: int | None = None


@dataclass(frozen=True)
class Pause:
    """A human had a conversation: `desativar` took effect between the first two times, `ativar` between the others."""

    conversation: str
    off_began: float
    off_ended: float
    on_began: float
    on_ended: float


@dataclass(frozen=True)
class Record:
    """A whole run."""

    messages: Sequence[Message]
    deliveries: Sequence[Delivery]
    calls: Sequence[Call]
    chats: Sequence[Stored]
    posts: Sequence[Post] = ()
    faults: Sequence[Fault] = ()
    pauses: Sequence[Pause] = ()


@dataclass(frozen=True)
class Violation:
    """A promise that was not kept.

    Attributes:
        rule: a short name of the promise.
        about: the message, the conversation or the process that it is about.
    """

    rule: str
    about: str
    detail: str
