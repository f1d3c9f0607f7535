"""Who is synthesized next."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded
from services.voice.slots import FairSlots, Owner
from tests.unit.speech import until


class Calls:
    """Calls that each wait for a slot in a thread of its own, and keep it until they are let go."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.began: list[str] = []
        self._ends: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}

    def begin(self, name: str, owner: Owner, *, first: bool = False) -> None:
        """Begin a call, and return once it runs or waits."""
        known = self.slots.used + self.slots.waiting
        self._ends[name] = threading.Event()
        thread = threading.Thread(target=self._call, args=(name, owner, first), name="slot")
        self._threads[name] = thread
        thread.start()
        until(lambda: self.slots.used + self.slots.waiting == known + 1)
        self._settle()

    def _call(self, name: str, owner: Owner, first: bool) -> None:
        with self.slots.hold(owner, Deadline(30), first=first):
            self.began.append(name)
            assert self._ends[name].wait(30)

    def end(self, name: str) -> None:
        """End a call that runs, and return once the next one has begun."""
        self._ends[name].set()
        self._threads[name].join(10)
        self._settle()

    def _settle(self) -> None:
        until(lambda: len(self.began) == len(self._threads) - self.slots.waiting)

    def end_all(self) -> None:
        """Let every call go."""
        for event in self._ends.values():
            event.set()
        for thread in self._threads.values():
            thread.join(10)


@pytest.fixture
def calls() -> Iterator[Calls]:
    """Return calls that share one slot."""
    made = Calls(FairSlots(1))
    yield made
    made.end_all()
    assert (made.slots.used, made.slots.waiting) == (0, 0)


def test_no_more_than_the_limit_run_at_once() -> None:
    slots, lock = FairSlots(3), threading.Lock()
    running, most = 0, 0

    together = threading.Barrier(3, timeout=20)

    def call(number: int) -> None:
        nonlocal running, most
        for turn in range(50):
            with slots.hold(Owner(str(number % 4)), Deadline(30)):
                with lock:
                    running += 1
                    most = max(most, running)
                if turn == 0:
                    together.wait()
                with lock:
                    running -= 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == 3
    assert (slots.used, slots.waiting) == (0, 0)


def test_calls_of_equal_rank_come_in_order_of_arrival(calls: Calls) -> None:
    for name in "abcd":
        calls.begin(name, Owner("one"))
    for name in "abc":
        calls.end(name)
    assert calls.began == ["a", "b", "c", "d"]


def test_look_ahead_waits_for_the_first_sentences_of_other_answers(calls: Calls) -> None:
    talking, new = Owner("one"), Owner("one")
    calls.begin("talking, 1", talking, first=True)
    calls.begin("talking, 2", talking)
    calls.begin("talking, 3", talking)
    calls.begin("new, 1", new, first=True)
    calls.end("talking, 1")
    assert calls.began[-1] == "new, 1"


def test_an_answer_with_a_running_call_waits_for_one_without() -> None:
    calls = Calls(FairSlots(2))
    busy, idle = Owner("one"), Owner("one")
    for name in ("busy, 1", "busy, 2", "busy, 3"):
        calls.begin(name, busy)
    calls.begin("idle", idle)
    calls.end("busy, 1")
    assert calls.began == ["busy, 1", "busy, 2", "idle"]
    calls.end_all()


def test_thirty_answers_of_one_assistant_do_not_hold_up_the_only_one_of_another() -> None:
    calls = Calls(FairSlots(2))
    for number in range(30):
        calls.begin(f"many {number}", Owner("many"), first=True)
    calls.begin("only", Owner("few"))
    calls.end("many 0")
    assert calls.began == ["many 0", "many 1", "only"]
    calls.end_all()


def test_waiting_ends_with_a_cancel_and_leaves_the_slot_to_others(calls: Calls) -> None:
    calls.begin("a", Owner("one"))
    deadline, raised = Deadline(30), threading.Event()

    def wait() -> None:
        with pytest.raises(CallCancelled), calls.slots.hold(Owner("two"), deadline):
            raise AssertionError("there was no slot")
        raised.set()

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: calls.slots.waiting == 1)
    deadline.cancel()
    assert raised.wait(10)
    thread.join(10)
    assert calls.slots.waiting == 0
    calls.begin("b", Owner("one"))
    calls.end("a")
    assert calls.began == ["a", "b"]


def test_waiting_ends_with_the_deadline(calls: Calls) -> None:
    calls.begin("a", Owner("one"))
    with pytest.raises(DeadlineExceeded), calls.slots.hold(Owner("two"), Deadline(0.05)):
        raise AssertionError("there was no slot")
    assert calls.slots.waiting == 0


def test_a_cancelled_deadline_takes_no_free_slot() -> None:
    slots, deadline = FairSlots(1), Deadline(30)
    deadline.cancel()
    with pytest.raises(CallCancelled), slots.hold(Owner("one"), deadline):
        raise AssertionError("nobody wants it")
    assert slots.used == 0


def test_a_slot_is_free_again_after_a_failure() -> None:
    slots = FairSlots(1)
    with pytest.raises(ValueError, match="broken"), slots.hold(Owner("one"), Deadline(30)):
        raise ValueError("broken")
    assert slots.used == 0


class Overtaken(Deadline):
    """A deadline whose owner gets its turn in the very moment in which it gives up.

    Args:
        turn: ends the call that the owner waits for.
    """

    def __init__(self, turn: Callable[[], None]) -> None:
        super().__init__(30)
        self._turn = turn

    def check(self) -> None:
        """Raise as ever, behind the turn."""
        if self.cancelled:
            self._turn()
        super().check()


def test_a_turn_that_comes_with_the_cancel_is_given_back() -> None:
    slots, held = FairSlots(1), ExitStack()
    held.enter_context(slots.hold(Owner("one"), Deadline(30)))
    deadline = Overtaken(held.close)

    def cancel() -> None:
        until(lambda: slots.waiting == 1)
        deadline.cancel()

    cancelling = threading.Thread(target=cancel)
    cancelling.start()
    with pytest.raises(CallCancelled), slots.hold(Owner("two"), deadline):
        raise AssertionError("nobody wants it any more")
    cancelling.join(10)
    assert (slots.used, slots.waiting) == (0, 0)
