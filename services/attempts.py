"""One attempt at an answer: under a lease, in its turn, committed only if the lease still holds."""

import logging
import time
from collections.abc import Collection, Generator, Iterator
from dataclasses import replace

from models.answers import AnswerEvent, Audience, Done, Stored, Written
from models.assistants import Assistant
from models.chats import Chat, ChatFailure, ChatOutcome, ChatStatus, Timings
from models.clock import now
from models.conversations import Conversation, is_active
from models.deadline import Deadline
from models.errors import CallCancelled, Conflict, DeadlineExceeded, OrquestraError, ProviderFailed, Unavailable
from models.ids import new_id
from services.composing import Composer
from services.deliveries import settled
from services.drafts import Draft, Task, ms_since
from services.journal import Journal, erased
from services.leases import LeaseKeeper
from services.nudges import Nudges
from services.pauses import Pauses, patiently
from services.turns import Turns

logger = logging.getLogger("orquestra.attempts")

_MOST_DEATHS = 10
"""A message whose attempts died so often is given to another process only when somebody asks for it."""

_KINDS = {
    DeadlineExceeded.code: DeadlineExceeded,
    erased().code: Conflict,
    OrquestraError.code: OrquestraError,
    **dict.fromkeys(
        ("unavailable", "store_unavailable", "storage_full", "redis_unavailable", "prompt_missing"), Unavailable
    ),
}


class Attempts:
    """Make answers. Whoever has claimed a chat runs an attempt at it; the store decides whose result counts."""

    def __init__(self, journal: Journal, composer: Composer, leases: LeaseKeeper, nudges: Nudges) -> None:
        self._journal = journal
        self._chats = journal.chats
        self._composer = composer
        self._leases = leases
        self._nudges = nudges
        self._turns = Turns(journal.chats, journal.arrivals, nudges)

    def claim(self, seen: Chat, deadline: Deadline, *, by_itself: bool = False) -> tuple[Chat, str] | None:
        """Begin another attempt at a chat as it was seen; return it with the attempt, None if somebody came first.

        Args:
            by_itself: nobody asks for the answer of this chat.

        Raises:
            ProviderFailed: code `abandoned`, its attempts died too often. It is `failed` now, and somebody has to ask.
        """
        attempt = new_id()
        claimed = patiently(lambda: self._chats.claim(seen, attempt, self._leases.end_of_lease(), now()), deadline)
        chat = patiently(lambda: self.reread(seen.id), deadline)
        if not claimed and chat.lease_owner != attempt:  # it would be this one if the claim's reply was lost only
            return None
        if chat.attempts - chat.failures > _MOST_DEATHS and (by_itself or seen.status is ChatStatus.RECEIVED):
            abandoned = ProviderFailed(
                "Every attempt at an answer died; the server's log says more. Retry the message to try once more.",
                code="abandoned",
            )
            self._fail(chat, attempt, Draft(), abandoned)
            raise abandoned
        return chat, attempt

    def reread(self, chat_id: str) -> Chat:
        """Return a chat as it is now.

        Raises:
            Conflict: it was erased.
        """
        chat = self._chats.get(chat_id)
        if chat is None:
            raise erased()
        return chat

    def take_over(self, seen: Chat, deadline: Deadline) -> None:
        """Answer a chat that nobody works on, on nobody's behalf; what fails is stored with the chat.

        A deadline that began for another message, and was cut short before this one's turn came, says nothing about
        this one: it stays `received`, and free, as it does when the deadline is cancelled.
        """
        has_time = deadline.remaining() > deadline.seconds / 2
        handed_back_on = (CallCancelled.code,) if has_time else (CallCancelled.code, DeadlineExceeded.code)
        try:
            assistant = patiently(lambda: self._journal.assistants.get(seen.assistant_id), deadline)
            if assistant is None:  # deleted while the message was being stored
                self._chats.delete_of_conversation(seen.conversation_id)
                return
            claimed = self.claim(seen, deadline, by_itself=True)
            if claimed is None:
                return
            logger.info("a message is answered on nobody's behalf", extra={"chat": seen.id})
            for _ in self.run(assistant, *claimed, deadline, handed_back_on):
                pass
        except OrquestraError as error:
            logger.warning("a message that was taken over has no answer", extra={"chat": seen.id, "code": error.code})

    def run(
        self,
        assistant: Assistant,
        chat: Chat,
        attempt: str,
        deadline: Deadline,
        handed_back_on: Collection[str] = (),
        audience: Audience = Audience.NOBODY,
    ) -> Iterator[AnswerEvent]:
        """Make the answer of a chat that this attempt has claimed, and yield it as it comes."""
        draft, ended = Draft(), False
        try:
            with self._leases.keep(lambda until: self._chats.renew([chat.id], attempt, until)):
                yield Stored(chat)
                done = yield from self._make(assistant, chat, attempt, draft, deadline, audience)
                ended = True
            yield done
        except OrquestraError as error:
            ended = True
            if error.code in handed_back_on:
                self._hand_back(chat, attempt)
            else:
                self._fail(chat, attempt, draft, error)
            raise
        except GeneratorExit:
            if not ended:
                ended = True
                gone = CallCancelled("The caller went away before the answer was complete.")
                self._fail(chat, attempt, draft, gone)
            raise
        finally:
            if not ended:
                self._fail(chat, attempt, draft, OrquestraError("The server failed. Its log says why."))

    def _make(
        self, assistant: Assistant, chat: Chat, attempt: str, draft: Draft, deadline: Deadline, audience: Audience
    ) -> Generator[AnswerEvent, None, Done]:
        """Wait for the turn, ask the model, look whether a human came first, and commit."""
        began = time.monotonic()
        if not self._has_its_turn(chat, attempt, deadline):
            return self._settled(chat, deadline)
        draft.queued_ms = ms_since(began)
        conversation = self._conversation(chat, deadline)
        if _is_handed_over(conversation):
            outcome = ChatOutcome(ChatStatus.INACTIVE, active=False, timings=_timings(chat, draft.queued_ms))
        else:
            merged = self._merged(chat, deadline)
            task = Task(assistant, chat, merged, conversation.memory_from, audience)
            yield from self._composer.compose(task, draft, deadline)
            yield Written()
            outcome = _answered(chat, draft, began)
            if _is_handed_over(self._conversation(chat, deadline)):
                outcome = _suppressed(outcome)
        return self._commit(chat, attempt, outcome, deadline)

    def _has_its_turn(self, chat: Chat, attempt: str, deadline: Deadline) -> bool:
        """Wait for the burst and for the earlier messages; False if the chat was merged or lost meanwhile."""

        def take_over(other: Chat) -> None:
            self.take_over(other, deadline)

        closed = chat.burst is None or self._turns.close_burst(chat, attempt, deadline, take_over)
        return closed and self._turns.wait(chat, attempt, deadline, take_over)

    def _merged(self, chat: Chat, deadline: Deadline) -> tuple[Chat, ...]:
        """Return the messages to answer along with this one: merged now, or before an earlier attempt died."""
        if chat.burst is None and chat.attempts == 1:
            return ()
        return tuple(patiently(lambda: self._chats.merged_into(chat.conversation_id, chat.id), deadline))

    def _conversation(self, chat: Chat, deadline: Deadline) -> Conversation:
        conversation = patiently(lambda: self._journal.conversations.get(chat.conversation_id), deadline)
        if conversation is None:
            self._chats.delete_of_conversation(chat.conversation_id)
            raise erased()
        return conversation

    def _commit(self, chat: Chat, attempt: str, outcome: ChatOutcome, deadline: Deadline) -> Done:
        """Write the outcome; where another attempt or a human came first, what they did stands."""
        written = self._finish(chat, attempt, outcome, deadline)
        if not written and outcome.status is ChatStatus.ANSWERED:
            written = self._finish(chat, attempt, _suppressed(outcome), deadline)
        if not written:
            return self._settled(chat, deadline)
        stored = patiently(lambda: self.reread(chat.id), deadline)
        self._tell(stored)
        return Done(stored)

    def _finish(self, chat: Chat, attempt: str, outcome: ChatOutcome, deadline: Deadline) -> bool:
        outcome = replace(outcome, delivery=settled(chat, outcome.status, now()))
        return patiently(lambda: self._chats.finish(chat.id, attempt, outcome), deadline)

    def _tell(self, chat: Chat) -> None:
        if chat.status is ChatStatus.ANSWERED:
            self._journal.note(chat, chat.response or "")
        self._nudges.deliver(chat)

    def _settled(self, chat: Chat, deadline: Deadline) -> Done:
        """Return what became of a chat that this attempt has lost, or whose commit it did not see succeed.

        Where nobody has gone on with it, that happens now.
        """
        pauses = Pauses()
        stored = patiently(lambda: self.reread(chat.id), deadline)
        while stored.status is ChatStatus.RECEIVED:
            if not stored.is_worked_on(now()):
                self.take_over(stored, deadline)
            deadline.sleep(pauses.next())
            stored = patiently(lambda: self.reread(chat.id), deadline)
        if stored.error is not None:
            raise stored_failure(stored.error)
        mine = stored.attempts == chat.attempts
        if mine:
            self._tell(stored)
        return Done(stored, replayed=not mine)

    def _fail(self, chat: Chat, attempt: str, draft: Draft, error: OrquestraError) -> None:
        at = now()
        outcome = ChatOutcome(
            ChatStatus.FAILED,
            provider=draft.provider,
            model=draft.model,
            timings=_timings(chat, draft.queued_ms),
            error=ChatFailure(error.code, error.detail, at, partial=draft.text),
            delivery=settled(chat, ChatStatus.FAILED, at),
            tools=tuple(draft.tools),
            route=draft.route,
        )
        try:
            if self._chats.finish(chat.id, attempt, outcome):
                self._nudges.deliver(replace(chat, delivery=outcome.delivery))
        except Unavailable:
            logger.warning("a failure could not be stored; the lease ends by itself", extra={"chat": chat.id})

    def _hand_back(self, chat: Chat, attempt: str) -> None:
        """Let go of a chat that somebody else may answer at once."""
        try:
            stored = self._chats.get(chat.id)
            while stored is not None and stored.lease_owner == attempt:
                if self._chats.requeue(stored, now()):
                    self._nudges.answer(chat.id)
                    return
                stored = self._chats.get(chat.id)  # its lease was being renewed
        except Unavailable:
            logger.warning("a message could not be handed back; the lease ends by itself", extra={"chat": chat.id})


def stored_failure(stored: ChatFailure) -> OrquestraError:
    """Return the error that the failed attempt gave its own caller."""
    kind = _KINDS.get(stored.code, ProviderFailed)
    return kind(stored.detail, code=stored.code)


def _is_handed_over(conversation: Conversation) -> bool:
    return not is_active(conversation.active, conversation.paused_until, now())


def _answered(chat: Chat, draft: Draft, began: float) -> ChatOutcome:
    queued = draft.queued_ms or 0
    made = _timings(chat, queued)
    first_token_ms = queued + (draft.first_token_ms or 0)
    return ChatOutcome(
        ChatStatus.ANSWERED,
        response=draft.text,
        tokens=draft.tokens,
        citations=draft.citations,
        provider=draft.provider,
        model=draft.model,
        response_id=draft.response_id,
        timings=replace(made, retrieval_ms=draft.retrieval_ms, first_token_ms=first_token_ms, total_ms=ms_since(began)),
        answered_at=now(),
        tools=tuple(draft.tools),
        asked=draft.asked,
        route=draft.route,
        truncated=draft.truncated,
    )


def _timings(chat: Chat, queued_ms: int | None) -> Timings:
    """Return the timings of an attempt that has waited so long, with those of how its message was heard."""
    heard = chat.timings
    return Timings(queued_ms, decode_ms=heard.decode_ms, transcribe_ms=heard.transcribe_ms)


def _suppressed(outcome: ChatOutcome) -> ChatOutcome:
    return replace(outcome, status=ChatStatus.SUPPRESSED, active=False, answered_at=None)
