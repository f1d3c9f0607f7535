"""The one way to get an answer. Every door calls `ConversationService.answer`, or `accept` for one sent later."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

from models.answers import AnswerEvent, Done, Inbound, Replaying, Stored, TextDelta
from models.assistants import Assistant
from models.callbacks import DeliveryStatus
from models.chats import Chat, ChatStatus
from models.clock import now
from models.conversations import is_active
from models.deadline import Deadline
from models.errors import CallCancelled, Conflict, Unavailable
from services.attempts import Attempts, stored_failure
from services.deliveries import is_due
from services.journal import Journal, erased
from services.leases import LeaseKeeper
from services.nudges import Nudges
from services.pauses import Pauses

_QUEUED_SECONDS = 30.0
"""How long a job may wait in the queue before the sweeper asks for it again."""

_SHORTEST_DELAY, _LONGEST_DELAY = 0.2, 5.0
"""When a job looks again whether it is its chat's turn: later, the longer the chat has waited."""

_LOOK_SECONDS = 0.05
_SWEPT, _FEWEST_SWEPT = 100, 5
_UNSETTLED = frozenset({ChatStatus.RECEIVED, ChatStatus.FAILED})
_ANSWERED = frozenset({ChatStatus.ANSWERED, ChatStatus.MERGED})


class ConversationService:
    """Receive messages and give each exactly one answer.

    A message is stored under its dedupe key before any model is called; whoever holds the chat's lease makes the
    answer, everybody else who brings the same message waits for it. docs/architecture.md draws a chat's life.

    Args:
        backlog: tells how many answers' jobs wait for a worker.
    """

    def __init__(
        self,
        journal: Journal,
        attempts: Attempts,
        leases: LeaseKeeper,
        nudges: Nudges,
        deadline_seconds: float,
        backlog: Callable[[], int] = lambda: 0,
    ) -> None:
        self._journal = journal
        self._attempts = attempts
        self._leases = leases
        self._nudges = nudges
        self._deadline_seconds = deadline_seconds
        self._backlog = backlog
        self._jobs: set[Deadline] = set()
        self._lock = threading.Lock()
        self._closed = False

    def new_deadline(self) -> Deadline:
        """Return the deadline of an answer that begins now."""
        return Deadline(self._deadline_seconds)

    def answer(self, inbound: Inbound, deadline: Deadline | None = None) -> Iterator[AnswerEvent]:
        """Store a message and yield its answer: `Stored`, text as it is written, then `Done` with the stored chat.

        Cancelling the deadline, or closing the iterator, stops the model; the chat is then `failed` and the next
        delivery of the same message answers it.

        Raises:
            Conflict: code `message_id_reused`, the same message id came with another text before.
            ProviderFailed: the model failed; the chat is stored as `failed`.
            DeadlineExceeded: no answer in time; as above.
        """
        deadline = deadline or self.new_deadline()
        chat, attempt = self._journal.receive(inbound, self._leases.end_of_lease)
        if attempt is None:
            yield from self._deliver_again(inbound, chat, deadline)
        elif chat.status is ChatStatus.RECEIVED:
            yield from self._attempts.run(inbound.assistant, chat, attempt, deadline, audience=inbound.audience)
        else:
            yield Stored(chat)
            yield Done(chat)

    def accept(self, inbound: Inbound) -> tuple[Chat, bool]:
        """Store a message whose outcome is sent to its `callback_url`; return its chat, and whether it is a repetition.

        The answer is a job. One that failed for good is asked for again by another delivery.

        Raises:
            Conflict: code `message_id_reused`, as `answer`; `callback_missing`, the message came without one before.
        """
        due = now() + timedelta(seconds=_QUEUED_SECONDS)
        chat, attempt = self._journal.receive(inbound, lambda: due)
        if attempt is not None:
            self._nudge(chat)
        elif chat.delivery is None:
            raise Conflict(
                "This message came without a callback_url before. Deliver it without one to get its answer.",
                code="callback_missing",
            )
        elif chat.status is ChatStatus.FAILED and chat.delivery.status is not DeliveryStatus.WAITING:
            again = replace(chat.delivery, status=DeliveryStatus.WAITING, next_at=now())
            if self._journal.chats.change_delivery(chat.id, chat.delivery, again):
                self._nudges.answer(chat.id)
        return chat, attempt is None

    def retry(self, assistant: Assistant, chat: Chat, deadline: Deadline) -> Iterator[AnswerEvent]:
        """Answer a chat that has no answer yet.

        Raises:
            Conflict: it is answered, being answered, or its conversation is inactive.
        """
        conversation = self._journal.conversations.get(chat.conversation_id)
        if conversation is None or not is_active(conversation.active, conversation.paused_until, now()):
            raise Conflict("The conversation is inactive. Activate it first.", code="conversation_inactive")
        claimed = None if chat.status in _ANSWERED else self._attempts.claim(chat, deadline)
        if claimed is None:
            raise Conflict("This chat is answered already, or is being answered.", code="not_retryable")
        yield from self._attempts.run(assistant, *claimed, deadline)

    def resume(self, chat_id: str) -> None:
        """Do the job `ANSWER_CHAT`: answer a chat that nobody works on, unless it is answered by now.

        Raises:
            Unavailable: code `server_draining`; the job is for another server.
        """
        chat = self._journal.chats.get(chat_id)
        if chat is None or not _is_to_be_answered(chat):
            return
        wait, earlier = self._before(chat)
        if wait > 0 or earlier is not None:
            self._put_off(chat, wait)
        if wait == 0:
            self._take_over(earlier or chat)

    def _take_over(self, chat: Chat) -> None:
        """Answer a chat in a thread for jobs.

        Raises:
            Unavailable: code `server_draining`; the job is for another server.
        """
        deadline = self.new_deadline()
        with self._lock:
            if self._closed:
                raise Unavailable("This server is about to end.", code="server_draining")
            self._jobs.add(deadline)
        try:
            self._attempts.take_over(chat, deadline)
        finally:
            with self._lock:
                self._jobs.discard(deadline)

    def sweep(self) -> None:
        """Ask for the answers of messages that nobody works on: their server died, or their job was lost.

        While many jobs wait, the messages' own are likely to be among them, and more would only fill the queue.
        """
        at, room = now(), max(_FEWEST_SWEPT, _SWEPT - self._backlog())
        for chat in self._journal.chats.unfinished(at, room):
            if self._journal.chats.requeue(chat, at + timedelta(seconds=_QUEUED_SECONDS)):
                self._nudges.answer(chat.id)

    def close(self, within: float = 8.0) -> None:
        """Let the answers that jobs are making end, for so many seconds, then hand the rest back to other servers."""
        with self._lock:
            self._closed = True
        until = time.monotonic() + within
        while (running := self._running()) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        for deadline in running:
            deadline.cancel()

    def _running(self) -> list[Deadline]:
        with self._lock:
            return list(self._jobs)

    def _before(self, chat: Chat) -> tuple[float, Chat | None]:
        """Return for how many seconds a job would only wait, and the earlier chat that it is to answer first.

        A thread for jobs that waited for a turn would keep other conversations from being answered.
        """
        at = now()
        last = self._journal.chats.later_in_burst(chat) or chat
        if last.burst is not None and last.burst.until > at:
            return (last.burst.until - at).total_seconds(), None
        if self._journal.arrivals.are_awaited(last):
            return _later(chat), None
        earlier = self._journal.chats.unfinished_before(chat)
        if earlier is not None and earlier.is_worked_on(at):
            return _later(chat), None
        return 0.0, earlier

    def _put_off(self, chat: Chat, seconds: float) -> None:
        """Have a chat's job done later, unless somebody is at the chat by now."""
        if chat.status is not ChatStatus.RECEIVED:
            self._nudges.answer(chat.id, seconds)
        elif self._journal.chats.requeue(chat, now() + timedelta(seconds=seconds + _QUEUED_SECONDS)):
            self._nudges.answer(chat.id, seconds)

    def _nudge(self, chat: Chat) -> None:
        if chat.status is ChatStatus.RECEIVED:
            self._nudges.answer(chat.id)
        else:
            self._nudges.deliver(chat)

    def _deliver_again(self, inbound: Inbound, chat: Chat, deadline: Deadline) -> Iterator[AnswerEvent]:
        """Give a later delivery the answer of the first, or take over where that attempt died or failed."""
        pauses, waited = Pauses(), False
        while chat.status in _UNSETTLED:
            if waited and chat.error is not None and chat.status is ChatStatus.FAILED:
                if chat.error.code != CallCancelled.code:
                    raise stored_failure(chat.error)
            claimed = None if chat.is_worked_on(now()) else self._attempts.claim(chat, deadline)
            if claimed is not None:
                yield from self._attempts.run(inbound.assistant, *claimed, deadline, audience=inbound.audience)
                return
            waited = True
            deadline.sleep(pauses.next())
            stored = self._journal.chats.get(chat.id)
            if stored is None:
                yield from self._look_again(inbound, chat, deadline)
                return
            chat = stored
        yield Replaying()
        yield Stored(chat)
        if chat.response and chat.status is ChatStatus.ANSWERED:
            yield TextDelta(chat.response)
        yield Done(chat, replayed=True)

    def _look_again(self, inbound: Inbound, gone: Chat, deadline: Deadline) -> Iterator[AnswerEvent]:
        """Deliver a message whose chat is gone: it has another place in its conversation, or both were erased."""
        if self._journal.conversations.get(gone.conversation_id) is None:
            raise erased()
        yield from self.answer(inbound, deadline)


def _later(chat: Chat) -> float:
    """Return after how many seconds a job is to look again whether it is its chat's turn."""
    return min(_LONGEST_DELAY, _SHORTEST_DELAY + (now() - chat.created_at).total_seconds() / 4)


def _is_to_be_answered(chat: Chat) -> bool:
    """Tell whether a job may begin an attempt; after a failure only for a callback whose next attempt is due.

    A chat whose job counts as lost later than one that is asked for now has another job, which was put off.
    """
    at, delivery = now(), chat.delivery
    if chat.status is ChatStatus.FAILED and delivery is not None and delivery.status is DeliveryStatus.WAITING:
        return is_due(delivery, at)
    put_off = chat.lease_until is not None and chat.lease_until > at + timedelta(seconds=_QUEUED_SECONDS)
    return chat.status is ChatStatus.RECEIVED and not chat.is_worked_on(at) and not put_off
