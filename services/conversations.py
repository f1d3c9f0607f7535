"""The one way to get an answer. Every door calls `ConversationService.answer`."""

import time
from collections.abc import Iterator
from dataclasses import replace

from models.answers import AnswerEvent, Done, Inbound, Replaying, TextDelta
from models.assistants import Assistant
from models.chats import Chat, ChatFailure, ChatOutcome, ChatStatus, Timings
from models.clock import now
from models.conversations import is_active
from models.deadline import Deadline
from models.errors import (
    CallCancelled,
    Conflict,
    DeadlineExceeded,
    OrquestraError,
    ProviderFailed,
    Unavailable,
)
from models.ids import new_id
from services.composing import Composer, Draft, ms_since
from services.journal import Journal, erased
from services.leases import LeaseKeeper

_WAIT_SECONDS = 0.05
_GONE = CallCancelled.code
_UNSETTLED = frozenset({ChatStatus.RECEIVED, ChatStatus.FAILED})
_KINDS = {
    DeadlineExceeded.code: DeadlineExceeded,
    erased().code: Conflict,
    OrquestraError.code: OrquestraError,
    **dict.fromkeys(
        ("unavailable", "store_unavailable", "storage_full", "redis_unavailable", "prompt_missing"), Unavailable
    ),
}
_ANSWERED = frozenset({ChatStatus.ANSWERED, ChatStatus.MERGED})


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
        chat, fresh = self._journal.receive(inbound, attempt, self._leases.end_of_lease)
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
            with self._leases.keep(lambda until: self._journal.chats.renew([chat.id], attempt, until)):
                self._wait_for_turn(chat, deadline)
                timings = Timings(queued_ms=ms_since(began))
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
            self._journal.note(stored, stored.response or "")
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
            raise erased()
        return not is_active(conversation.active, conversation.paused_until, now())

    def _reread(self, chat_id: str) -> Chat:
        chat = self._journal.chats.get(chat_id)
        if chat is None:
            raise erased()
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
            timings=Timings(queued, draft.retrieval_ms, queued + (draft.first_token_ms or 0), total_ms=ms_since(began)),
            answered_at=now(),
        )

    def _fail(self, chat: Chat, attempt: str, draft: Draft, timings: Timings, error: OrquestraError) -> None:
        failure = ChatFailure(error.code, error.detail, now(), partial=draft.text)
        outcome = ChatOutcome(
            ChatStatus.FAILED, provider=draft.provider, model=draft.model, timings=timings, error=failure
        )
        self._journal.chats.finish(chat.id, attempt, outcome)


def _suppressed(outcome: ChatOutcome) -> ChatOutcome:
    return replace(outcome, status=ChatStatus.SUPPRESSED, active=False, answered_at=None)


def _is_worked_on(chat: Chat) -> bool:
    lease = chat.lease_until
    return chat.status is ChatStatus.RECEIVED and lease is not None and lease > now()


def _failure(stored: ChatFailure) -> OrquestraError:
    """Return the error that the failed attempt gave its own caller."""
    kind = _KINDS.get(stored.code, ProviderFailed)
    return kind(stored.detail, code=stored.code)
