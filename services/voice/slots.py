"""How many sentences are synthesized at the same time: providers count calls, and answers take turns."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded


@dataclass(frozen=True, eq=False)
class Owner:
    """Who holds slots: one answer; two owners are never the same one.

    Attributes:
        assistant_id: whose answer it is.
    """

    assistant_id: str


@dataclass(eq=False)
class _Waiter:
    """A call that waits for its turn.

    Attributes:
        first: nothing of its answer can be heard before.
        granted: whether it may run; `turn` only wakes it.
    """

    owner: Owner
    first: bool
    granted: bool = False
    turn: threading.Event = field(default_factory=threading.Event)


class FairSlots:
    """Let a number of calls run at once.

    Of those that wait comes next the one whose assistant has the fewest running calls, then whose answer has the
    fewest, then an answer's first sentence, then who came first. So no answer's look-ahead holds up the first sentence
    of another one, and a client's many answers never another's only one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._waiters: list[_Waiter] = []
        self._of_assistant: Counter[str] = Counter()
        self._of_answer: Counter[Owner] = Counter()
        self._lock = threading.Lock()
        self._shown: Callable[[int, int], None] = lambda used, waiting: None

    def show(self, shown: Callable[[int, int], None]) -> None:
        """Have a function told how many calls run and how many wait, whenever that changes; it has to be quick."""
        self._shown = shown

    @property
    def used(self) -> int:
        """Return how many calls run."""
        return self._limit - self._free

    @property
    def waiting(self) -> int:
        """Return how many calls wait for their turn."""
        return len(self._waiters)

    @contextmanager
    def hold(self, owner: Owner, deadline: Deadline, *, first: bool = False) -> Iterator[None]:
        """Wait for a slot, and keep it within the block.

        Args:
            first: nothing of the answer can be heard before.

        Raises:
            DeadlineExceeded, CallCancelled: as `Deadline.check`, also while it waits.
        """
        self._enter(owner, deadline, first)
        try:
            yield
        finally:
            self._leave(owner)

    def _enter(self, owner: Owner, deadline: Deadline, first: bool) -> None:
        deadline.check()
        waiter = _Waiter(owner, first)
        with self._lock:
            self._waiters.append(waiter)
            self._hand_out()
            if waiter.granted:
                return
        deadline.on_cancel(waiter.turn.set)
        try:
            while not waiter.granted:
                deadline.check()
                waiter.turn.wait(deadline.remaining())
        except (DeadlineExceeded, CallCancelled):
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: _Waiter) -> None:
        with self._lock:
            if not waiter.granted:
                self._waiters.remove(waiter)
                self._shown(self.used, self.waiting)
                return
        self._leave(waiter.owner)  # its turn came in the very moment

    def _leave(self, owner: Owner) -> None:
        with self._lock:
            self._free += 1
            self._take(owner, -1)
            self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self._waiters:
            chosen = min(self._waiters, key=self._rank)  # the first of equals, and the list is in order of arrival
            self._waiters.remove(chosen)
            self._free -= 1
            self._take(chosen.owner, 1)
            chosen.granted = True
            chosen.turn.set()
        self._shown(self.used, self.waiting)

    def _take(self, owner: Owner, calls: int) -> None:
        """Count calls of an owner; what has none is forgotten."""
        self._of_assistant[owner.assistant_id] += calls
        self._of_answer[owner] += calls
        if not self._of_answer[owner]:
            del self._of_answer[owner]
        if not self._of_assistant[owner.assistant_id]:
            del self._of_assistant[owner.assistant_id]

    def _rank(self, waiter: _Waiter) -> tuple[int, int, bool]:
        owner = waiter.owner
        return self._of_assistant[owner.assistant_id], self._of_answer[owner], not waiter.first
