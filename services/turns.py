"""A message's turn: behind the earlier ones of its conversation, together with those of its burst."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from models.chats import Chat, ChatStatus
from models.clock import now
from models.deadline import Deadline
from services.arrivals import Arrivals
from services.deliveries import settled
from services.nudges import Nudges
from services.pauses import Pauses, patiently
from services.ports import ChatRepository


@dataclass(frozen=True)
class _Closer:
    """The last message of a burst, as another one saw it, and how many attempts it has with the one that closes it."""

    chat_id: str
    attempts: int


_NOBODY = _Closer("", 0)


class Turns:
    """Let the messages of a conversation through one at a time; conversations do not wait for each other."""

    def __init__(self, chats: ChatRepository, arrivals: Arrivals, nudges: Nudges) -> None:
        self._chats = chats
        self._arrivals = arrivals
        self._nudges = nudges

    def close_burst(self, chat: Chat, attempt: str, deadline: Deadline, take_over: Callable[[Chat], None]) -> bool:
        """Wait until no more messages come, then merge the earlier ones into this, the last one.

        False if this one was merged itself, or has been lost to another attempt.

        Args:
            take_over: answers the last one when nobody works on it; that merges this one.
        """
        pauses, closer = Pauses(), _NOBODY
        while self._is_held(chat, attempt, deadline):
            open_for = _seconds_open(chat)
            # before the look at the others: what is awaited no more is among them, if it was stored
            awaited = open_for <= 0 and self._arrivals.are_awaited(chat)
            later = patiently(lambda: self._chats.later_in_burst(chat), deadline)
            if later is not None:
                free = not later.is_worked_on(now())
                closer = _Closer(later.id, later.attempts + free)
                if free and _seconds_open(later) <= 0:
                    take_over(later)
                deadline.sleep(pauses.next())
            elif open_for > 0:
                deadline.sleep(min(open_for, pauses.next()))
            elif awaited or self._is_merging(closer, deadline):
                deadline.sleep(pauses.next())
            elif patiently(lambda: self._chats.leave_burst(chat.id, attempt), deadline):
                for earlier in patiently(lambda: self._chats.earlier_in_burst(chat), deadline):
                    self._merge(earlier, chat.id, deadline)
                return True
        return False

    def wait(self, chat: Chat, attempt: str, deadline: Deadline, take_over: Callable[[Chat], None]) -> bool:
        """Wait until every earlier message is stored and done with; False if this one is lost to another attempt.

        Args:
            take_over: answers one that nobody works on.
        """
        pauses, waited = Pauses(), chat.burst is not None
        while self._arrivals.are_awaited(chat):
            waited = True
            deadline.sleep(pauses.next())
        while (earlier := patiently(lambda: self._chats.unfinished_before(chat), deadline)) is not None:
            waited = True
            if not earlier.is_worked_on(now()):
                take_over(earlier)
            deadline.sleep(pauses.next())
        return not waited or self._is_held(chat, attempt, deadline)

    def _is_merging(self, closer: "_Closer", deadline: Deadline) -> bool:
        """Tell whether the attempt that was to close the burst has left it, and is about to merge the others.

        Only that attempt: one that takes over from it merges nobody, but waits for the others' answers.
        """
        stored = patiently(lambda: self._chats.get(closer.chat_id), deadline) if closer.chat_id else None
        return stored is not None and stored.attempts == closer.attempts and stored.is_worked_on(now())

    def _is_held(self, chat: Chat, attempt: str, deadline: Deadline) -> bool:
        stored = patiently(lambda: self._chats.get(chat.id), deadline)
        return stored is not None and stored.lease_owner == attempt

    def _merge(self, earlier: Chat, into: str, deadline: Deadline) -> None:
        delivery = settled(earlier, ChatStatus.MERGED, now())
        if patiently(lambda: self._chats.merge(earlier, into, delivery), deadline):
            self._nudges.deliver(replace(earlier, delivery=delivery))


def _seconds_open(chat: Chat) -> float:
    return (chat.burst.until - now()).total_seconds() if chat.burst is not None else 0.0
