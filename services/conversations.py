"""The one way to get an answer. Every door calls `ConversationService.answer`."""

import hashlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from models.answers import AnswerEvent, Done, Inbound, Replaying, TextDelta
from models.assistants import Assistant
from models.chats import Chat, ChatFailure, ChatOutcome, ChatStatus, Timings
from models.clock import now
from models.conversations import Conversation, is_active
from models.deadline import Deadline
from models.errors import (
    CallCancelled,
    Conflict,
    DeadlineExceeded,
    NotFound,
    OrquestraError,
    ProviderFailed,
    Unavailable,
)
from models.ids import new_id
from services.composing import Composer, Draft
from services.leases import LeaseKeeper
from services.news import ConversationNews
from services.ports import ChatRepository, ConversationRepository, Locks

logger = logging.getLogger("orquestra.conversations")

_WAIT_SECONDS = 0.05
_GONE = CallCancelled.code
_UNSETTLED = frozenset({ChatStatus.RECEIVED, ChatStatus.FAILED})
_KINDS = {
    DeadlineExceeded.code: DeadlineExceeded,
    NotFound.code: NotFound,
    OrquestraError.code: OrquestraError,
    **dict.fromkeys(("unavailable", "store_unavailable", "storage_full", "redis_unavailable"), Unavailable),
}
_ANSWERED = frozenset({ChatStatus.ANSWERED, ChatStatus.MERGED})


@dataclass(frozen=True)
class Journal:
    """Where messages are stored, before anybody thinks about them."""

    conversations: ConversationRepository
    chats: ChatRepository
    locks: Locks
    news: ConversationNews


class ConversationService:
    """Receive messages and give each exactly one answer.

    A message is stored under its dedupe key before any model is called; whoever holds the chat's lease makes the
    answer, everybody else who brings the same message waits for it. docs/architecture.md draws a chat's life.
    """

    def __init__(self, journal: Journal, composer: Composer, leases: LeaseKeeper, deadline_seconds: float) -> None:
        self._journal = journal
        self._composer = composer
        self._leases = leases
        self._deadline_seconds = deadline_seconds

    def new_deadline(self) -> Deadline:
        """Return the deadline of an answer that begins now."""
        return Deadline(self._deadline_seconds)

    def answer(self, inbound: Inbound, deadline: Deadline | None = None) -> Iterator[AnswerEvent]:
        """Store a message and yield its answer: text as it is written, then `Done` with the stored chat.

        Cancelling the deadline, or closing the iterator, stops the model; the chat is then `failed` and the next
        delivery of the same message answers it.

        Raises:
            Conflict: code `message_id_reused`, the same message id came with another text before.
            ProviderFailed: the model failed; the chat is stored as `failed`.
            DeadlineExceeded: no answer in time; as above.
        """
        deadline = deadline or self.new_deadline()
        attempt = new_id()
        chat, fresh = self._receive(inbound, attempt)
        if fresh and chat.status is ChatStatus.RECEIVED:
            yield from self._attempt(inbound.assistant, chat, attempt, deadline)
        elif fresh:
            yield Done(chat)
        else:
            yield from self._deliver_again(inbound.assistant, chat, deadline)

    def retry(self, assistant: Assistant, chat: Chat, deadline: Deadline) -> Iterator[AnswerEvent]:
        """Answer a chat that has no answer yet.

        Raises:
            Conflict: it is answered, being answered, or its conversation is inactive.
        """
        conversation = self._journal.conversations.get(chat.conversation_id)
        if conversation is None or not is_active(conversation.active, conversation.paused_until, now()):
            raise Conflict("The conversation is inactive. Activate it first.", code="conversation_inactive")
        attempt = new_id()
        if chat.status in _ANSWERED or not self._claim(chat, attempt):
            raise Conflict("This chat is answered already, or is being answered.", code="not_retryable")
        yield from self._attempt(assistant, chat, attempt, deadline)

    def _claim(self, seen: Chat, attempt: str) -> bool:
        return self._journal.chats.claim(seen, attempt, self._leases.end_of_lease(), now())

    def _receive(self, inbound: Inbound, attempt: str) -> tuple[Chat, bool]:
        """Store the message; tell whether this delivery is the first."""
        journal, assistant = self._journal, inbound.assistant
        key = _dedupe_key(inbound)
        if inbound.message_id is not None:
            earlier = journal.chats.find_by_dedupe_key(assistant.id, key)
            if earlier is not None:
                return _same_message(earlier, inbound), False
        chat, first = self._store(inbound, attempt, key)
        if chat is None:
            earlier = journal.chats.find_by_dedupe_key(assistant.id, key)
            if earlier is None:
                raise NotFound("The message was erased while it was being delivered.")
            return _same_message(earlier, inbound), False
        self._note(chat, inbound.text, chat.username, first=first)
        return chat, True

    def _store(self, inbound: Inbound, attempt: str, key: str) -> tuple[Chat | None, bool]:
        """Store a new chat, and tell whether it begins its conversation; None if the message is there already.

        A conversation that is erased between the two writes takes nothing along: the message begins a new one.
        """
        journal = self._journal
        while True:
            at = now()
            begun = Conversation(new_id(), inbound.assistant.id, inbound.channel, at, at, username=inbound.username)
            conversation = journal.conversations.find_or_add(begun)
            with journal.locks.hold(f"arrival:{conversation.id}", seconds=5, wait=2):
                newest = journal.chats.newest(conversation.id)
                chat_id = new_id(after=newest.id if newest else None)
                chat = _new_chat(inbound, conversation, attempt, key, self._leases.end_of_lease(), chat_id)
                stored = journal.chats.add(chat)
            if journal.conversations.get(conversation.id) is not None:
                return (chat if stored else None), conversation.id == begun.id
            journal.chats.delete_of_conversation(conversation.id)

    def _deliver_again(self, assistant: Assistant, chat: Chat, deadline: Deadline) -> Iterator[AnswerEvent]:
        """Give a later delivery the answer of the first, or take over where that attempt died or failed."""
        attempt, waited = new_id(), False
        while chat.status in _UNSETTLED:
            if waited and chat.error is not None and chat.status is ChatStatus.FAILED and chat.error.code != _GONE:
                raise _failure(chat.error)
            if not _is_worked_on(chat) and self._claim(chat, attempt):
                yield from self._attempt(assistant, chat, attempt, deadline)
                return
            waited = True
            deadline.sleep(_WAIT_SECONDS)
            chat = self._reread(chat.id)
        yield Replaying()
        if chat.response and chat.status is ChatStatus.ANSWERED:
            yield TextDelta(chat.response)
        yield Done(chat, replayed=True)

    def _attempt(self, assistant: Assistant, chat: Chat, attempt: str, deadline: Deadline) -> Iterator[AnswerEvent]:
        """Make the answer under a lease, and commit it only if the lease still holds."""
        draft, began = Draft(), time.monotonic()
        timings = Timings()
        ended = False
        try:
            with self._leases.keep(chat.id, attempt):
                self._wait_for_turn(chat, deadline)
                timings = Timings(queued_ms=_ms_since(began))
                if self._handed_over(chat):
                    outcome = ChatOutcome(ChatStatus.INACTIVE, active=False, timings=timings)
                else:
                    yield from self._composer.compose(assistant, chat, draft, deadline)
                    outcome = self._answered(draft, timings, began)
                    if self._handed_over(chat):
                        outcome = _suppressed(outcome)
                done = self._commit(chat, attempt, outcome, deadline)
                ended = True
            yield done
        except OrquestraError as error:
            ended = True
            self._fail(chat, attempt, draft, timings, error)
            raise
        except GeneratorExit:
            if not ended:
                ended = True
                gone = CallCancelled("The caller went away before the answer was complete.")
                self._fail(chat, attempt, draft, timings, gone)
            raise
        finally:
            if not ended:
                self._fail(chat, attempt, draft, timings, OrquestraError("The server failed. Its log says why."))

    def _commit(self, chat: Chat, attempt: str, outcome: ChatOutcome, deadline: Deadline) -> Done:
        """Write the outcome; where another attempt or a human came first, what they did stands."""
        chats = self._journal.chats
        if not chats.finish(chat.id, attempt, outcome):
            overtaken = outcome.status is ChatStatus.ANSWERED and chats.finish(chat.id, attempt, _suppressed(outcome))
            if not overtaken:
                return Done(self._settled(chat, deadline), replayed=True)
        stored = self._reread(chat.id)
        if stored.status is ChatStatus.ANSWERED:
            self._note(stored, stored.response or "")
        return Done(stored)

    def _settled(self, chat: Chat, deadline: Deadline) -> Chat:
        """Return what another attempt made of a chat that this one has lost."""
        stored = self._reread(chat.id)
        while stored.status is ChatStatus.RECEIVED:
            deadline.sleep(_WAIT_SECONDS)
            stored = self._reread(chat.id)
        if stored.error is not None:
            raise _failure(stored.error)
        return stored

    def _wait_for_turn(self, chat: Chat, deadline: Deadline) -> None:
        """Wait until every earlier message of the conversation is done with, or its attempt is dead."""
        while self._journal.chats.has_unfinished_before(chat.conversation_id, chat.id, now()):
            deadline.sleep(_WAIT_SECONDS)

    def _handed_over(self, chat: Chat) -> bool:
        conversation = self._journal.conversations.get(chat.conversation_id)
        if conversation is None:
            self._journal.chats.delete_of_conversation(chat.conversation_id)
            raise NotFound("The conversation was erased while its answer was being made.")
        return not is_active(conversation.active, conversation.paused_until, now())

    def _reread(self, chat_id: str) -> Chat:
        chat = self._journal.chats.get(chat_id)
        if chat is None:
            raise NotFound("The message was erased while it was being answered.")
        return chat

    def _answered(self, draft: Draft, timings: Timings, began: float) -> ChatOutcome:
        queued = timings.queued_ms or 0
        return ChatOutcome(
            ChatStatus.ANSWERED,
            response=draft.text,
            tokens=draft.tokens,
            citations=draft.citations,
            provider=draft.provider,
            model=draft.model,
            timings=Timings(
                queued, draft.retrieval_ms, queued + (draft.first_token_ms or 0), total_ms=_ms_since(began)
            ),
            answered_at=now(),
        )

    def _fail(self, chat: Chat, attempt: str, draft: Draft, timings: Timings, error: OrquestraError) -> None:
        failure = ChatFailure(error.code, error.detail, now(), partial=draft.text)
        outcome = ChatOutcome(
            ChatStatus.FAILED, provider=draft.provider, model=draft.model, timings=timings, error=failure
        )
        self._journal.chats.finish(chat.id, attempt, outcome)

    def _note(self, chat: Chat, text: str, username: str | None = None, *, first: bool = False) -> None:
        try:
            self._journal.conversations.record_message(chat.conversation_id, text, now(), username=username)
        except Unavailable:
            logger.warning("a conversation's list entry is behind: the store cannot be reached")
        tell = self._journal.news.began if first else self._journal.news.changed
        tell(chat.assistant_id, chat.conversation_id)


def _new_chat(
    inbound: Inbound, conversation: Conversation, attempt: str, dedupe_key: str, lease_until: datetime, chat_id: str
) -> Chat:
    at = now()
    answering = inbound.active and is_active(conversation.active, conversation.paused_until, at)
    return Chat(
        id=chat_id,
        assistant_id=inbound.assistant.id,
        conversation_id=conversation.id,
        channel=inbound.channel,
        dedupe_key=dedupe_key if inbound.message_id is not None else f"chat:{chat_id}",
        status=ChatStatus.RECEIVED if answering else ChatStatus.INACTIVE,
        created_at=at,
        message=inbound.text,
        username=inbound.username,
        message_id=inbound.message_id,
        active=answering,
        paused_until=None if answering else conversation.paused_until,
        lease_owner=attempt if answering else None,
        lease_until=lease_until if answering else None,
        attempts=1 if answering else 0,
        metadata=inbound.metadata,
    )


def _dedupe_key(inbound: Inbound) -> str:
    """Return what is equal for deliveries of the same message: message ids count within one channel only."""
    parts = (inbound.channel.message_service, inbound.channel.id, inbound.message_id or "")
    return "message:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _same_message(chat: Chat, inbound: Inbound) -> Chat:
    if chat.message != inbound.text:
        raise Conflict(
            "This message_id came with another text before. Give every message its own id.", code="message_id_reused"
        )
    return chat


def _suppressed(outcome: ChatOutcome) -> ChatOutcome:
    return ChatOutcome(
        ChatStatus.SUPPRESSED,
        response=outcome.response,
        active=False,
        tokens=outcome.tokens,
        citations=outcome.citations,
        provider=outcome.provider,
        model=outcome.model,
        timings=outcome.timings,
    )


def _is_worked_on(chat: Chat) -> bool:
    lease = chat.lease_until
    return chat.status is ChatStatus.RECEIVED and lease is not None and lease > now()


def _failure(stored: ChatFailure) -> OrquestraError:
    """Return the error that the failed attempt gave its own caller."""
    kind = _KINDS.get(stored.code, ProviderFailed)
    return kind(stored.detail, code=stored.code)


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
