"""Chats: one message of a person and its one answer."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from models.callbacks import Delivery
from models.conversations import Channel
from models.given import Given
from models.routing import Route
from models.tools import ToolCall, ToolUse
from models.voice import Heard


class ChatStatus(StrEnum):
    """The life of a chat; docs/architecture.md draws it."""

    RECEIVED = "received"
    ANSWERED = "answered"
    FAILED = "failed"
    INACTIVE = "inactive"
    MERGED = "merged"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True)
class Tokens:
    """What a model read and wrote, in its tokens, or in estimated ones where it does not say."""

    input: int = 0
    output: int = 0


@dataclass(frozen=True)
class Citation:
    """A place in a document that an answer rests on.

    Attributes:
        passage: the quoted text; it equals the document's text[start:end].
        start: offset of its first character in the document's text, in code points.
        end: offset behind its last character.
        page: the number of the page that its passage begins on, from 1; None where there are no pages.
    """

    document_id: str
    filename: str
    passage: str
    start: int
    end: int
    page: int | None = None


@dataclass(frozen=True)
class Timings:
    """Where an answer's time went, in milliseconds.

    Attributes:
        decode_ms: how long the recording of the message took to be decoded, before the message was stored.
        transcribe_ms: how long it then took to be transcribed.
        first_sentence_ms: from the stored message until the first sentence to speak was there.
        first_audio_ms: from the stored message until the first sound of the answer was there.
    """

    queued_ms: int | None = None
    retrieval_ms: int | None = None
    first_token_ms: int | None = None
    total_ms: int | None = None
    decode_ms: int | None = None
    transcribe_ms: int | None = None
    first_sentence_ms: int | None = None
    first_audio_ms: int | None = None


@dataclass(frozen=True)
class ChatFailure:
    """Why the last attempt at an answer failed.

    Attributes:
        partial: what the model had said before its stream broke; never shown as an answer.
    """

    code: str
    detail: str
    at: datetime
    partial: str = ""


@dataclass(frozen=True)
class Burst:
    """The messages of a conversation that came close behind each other, to be answered together.

    Attributes:
        began: when the first of them arrived: messages with the same value belong together.
        until: when the burst closes, if no other message comes.
    """

    began: datetime
    until: datetime


@dataclass(frozen=True)
class Feedback:
    """What a user thinks of an answer: score is -1 or 1."""

    score: int
    user_id: str
    at: datetime
    comment: str | None = None


@dataclass(frozen=True)
class Chat:
    """One message and its answer.

    Attributes:
        dedupe_key: unique within the assistant; equal for every delivery of the same message.
        message: the person's text; None for a human agent's own words.
        message_id: the channel's id of the message, if it gave one.
        active: False when the message was stored without asking a model.
        paused_until: when the conversation's pause ends by itself, as on the conversation.
        lease_owner: the attempt that works on it; only this attempt may write its outcome.
        lease_until: when that attempt counts as dead, or, without an owner, when a job for it counts as lost; None
            when nobody is to work on it.
        attempts: how many times an answer was begun.
        failures: how many of them failed; the others died, or went well.
        burst: what it waits for before anybody thinks about it; None once that has begun, and without debouncing.
        merged_into: the later chat of its burst that has the answer.
        delivery: where its outcome is sent, and how that went; None when its sender waits for the answer itself.
        response_id: the provider's own id of the answer, if it gave one.
        answered_by: the user whose words `response` are; None for a model's.
        metadata: whatever the channel sent along, returned unchanged.
        given: what the client's request said beside the message.
        request_digest: equal for repetitions of one request of a client; None where that does not matter.
        tools: the calls of the assistant's tools on the way to the answer, in the order of their ends.
        asked: the client's functions that the model waits for: this answer goes on with the client's next request.
        route: what the router decided; None where there is none.
        truncated: the answer ends where it does because it reached its limit of tokens.
        heard: how the message was heard; None for one that was written.
        reply_audio: its sender wants the answer as sound too.
    """

    id: str
    assistant_id: str
    conversation_id: str
    channel: Channel
    dedupe_key: str
    status: ChatStatus
    created_at: datetime
    message: str | None = None
    username: str | None = None
    message_id: str | None = None
    response: str | None = None
    active: bool = True
    paused_until: datetime | None = None
    tokens: Tokens = Tokens()
    citations: tuple[Citation, ...] = ()
    provider: str | None = None
    model: str | None = None
    response_id: str | None = None
    timings: Timings = Timings()
    error: ChatFailure | None = None
    feedback: Feedback | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None
    lease_owner: str | None = None
    lease_until: datetime | None = None
    attempts: int = 0
    failures: int = 0
    burst: Burst | None = None
    merged_into: str | None = None
    delivery: Delivery | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    given: Given | None = None
    request_digest: str | None = None
    tools: tuple[ToolUse, ...] = ()
    asked: tuple[ToolCall, ...] = ()
    route: Route | None = None
    truncated: bool = False
    heard: Heard | None = None
    reply_audio: bool = False

    def is_worked_on(self, at: datetime) -> bool:
        """Tell whether an attempt that is alive holds it."""
        owned = self.status is ChatStatus.RECEIVED and self.lease_owner is not None
        return owned and self.lease_until is not None and self.lease_until > at


@dataclass(frozen=True)
class ChatOutcome:
    """How an attempt ended: what `ChatRepository.finish` writes, all at once.

    `error` replaces the chat's earlier error, so a later success leaves none. `active` and `delivery` None leave it as
    it is.
    """

    status: ChatStatus
    response: str | None = None
    active: bool | None = None
    tokens: Tokens = Tokens()
    citations: tuple[Citation, ...] = ()
    provider: str | None = None
    model: str | None = None
    response_id: str | None = None
    timings: Timings = Timings()
    error: ChatFailure | None = None
    answered_at: datetime | None = None
    delivery: Delivery | None = None
    tools: tuple[ToolUse, ...] = ()
    asked: tuple[ToolCall, ...] = ()
    route: Route | None = None
    truncated: bool = False


@dataclass(frozen=True)
class ChatFilter:
    """Which chats a list shows; None means any.

    Attributes:
        assistant_ids: the assistants the caller may see; None for all, empty for none.
        active: looked at with the pause's end, as `is_active` does at `at`.
        text: part of the message or the response, in any case.
        oldest_first: list in order of arrival instead of newest first.
    """

    assistant_ids: tuple[str, ...] | None = None
    conversation_id: str | None = None
    channel_id: str | None = None
    message_service: str | None = None
    status: ChatStatus | None = None
    active: bool | None = None
    at: datetime | None = None
    text: str | None = None
    oldest_first: bool = False
