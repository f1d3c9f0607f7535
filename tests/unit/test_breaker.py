"""Leaving alone what failed, and asking again ever more rarely."""

from services.breaker import Breaker
from services.patience import Patience


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_calls_go_through_until_one_fails() -> None:
    clock = Clock()
    breaker = Breaker(30, 100, clock)
    assert breaker.allows() and breaker.allows() and not breaker.is_pausing
    breaker.failed()
    assert breaker.is_pausing and not breaker.allows()
    clock.now += 29
    assert not breaker.allows()


def test_after_the_pause_one_call_tries_for_all() -> None:
    clock = Clock()
    breaker = Breaker(30, 100, clock)
    breaker.failed()
    clock.now += 30
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert breaker.allows() and breaker.allows()


def test_pauses_double_up_to_the_longest_and_begin_anew() -> None:
    clock = Clock()
    breaker = Breaker(30, 100, clock)
    breaker.failed()
    for pause in (30, 60, 100, 100):
        clock.now += pause - 1
        assert not breaker.allows()
        clock.now += 1
        assert breaker.allows()
        breaker.failed()
    clock.now += 100
    assert breaker.allows()
    breaker.succeeded()
    breaker.failed()
    clock.now += 30
    assert breaker.allows()


def test_calls_that_fail_together_count_once() -> None:
    clock = Clock()
    breaker = Breaker(30, 1000, clock)
    for _ in range(5):
        breaker.failed()
    clock.now += 30
    assert breaker.allows()


def test_patience_grows_for_each_thing_by_itself() -> None:
    clock = Clock()
    patience = Patience(60, 200, clock)
    assert patience.is_due("a")
    for pause in (60, 120, 200, 200):
        patience.tried("a")
        clock.now += pause - 1
        assert not patience.is_due("a") and patience.is_due("b")
        clock.now += 1
        assert patience.is_due("a")


def test_what_was_not_tried_for_long_is_forgotten() -> None:
    clock = Clock()
    patience = Patience(60, 200, clock)
    patience.tried("a")
    patience.tried("a")
    clock.now += 500
    patience.tried("b")
    patience.tried("a")
    clock.now += 60
    assert patience.is_due("a")
