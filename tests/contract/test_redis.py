"""The ports of repositories/redis, against the embedded server and against one over TCP."""

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models.errors import Unavailable
from models.ids import new_id
from repositories.redis.database import RedisDatabase
from repositories.redis.events import RedisEventBus
from repositories.redis.limits import RedisRateLimiter
from repositories.redis.locks import RedisLocks
from repositories.redis.sessions import RedisSessionRepository
from services.ports import EventBus, Locks, Probe, RateLimiter, SessionRepository
from tests.contract.engine import wait_until
from tests.redis_server import KINDS, redis_of, redis_server


@pytest.fixture(scope="module", params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a running server."""
    with redis_of(request.param, tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def database(url: str) -> Iterator[RedisDatabase]:
    """Give a connection."""
    with contextlib.closing(RedisDatabase(url)) as database:
        yield database


@pytest.fixture
def nowhere() -> Iterator[RedisDatabase]:
    """Give a connection to a server that is not there."""
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as database:
        yield database


def test_ping_names_the_server(database: RedisDatabase) -> None:
    probe: Probe = database
    assert re.fullmatch(r"(valkey|redis) \d+\.\d+\.\d+", probe.ping())


def test_every_key_carries_the_prefix(database: RedisDatabase) -> None:
    RedisSessionRepository(database).start(new_id(), "r1", 60)
    RedisRateLimiter(database).hit("login", new_id(), 5)
    with RedisLocks(database).hold(new_id(), 5, 0):
        keys = list(database.client.scan_iter("*"))
    assert len(keys) >= 3
    assert all(key.startswith("orquestra:") for key in keys)


# Sessions


def test_a_refresh_token_works_once_and_hands_over_to_the_next(database: RedisDatabase) -> None:
    sessions: SessionRepository = RedisSessionRepository(database)
    session = new_id()
    sessions.start(session, "r1", 60)
    assert sessions.is_active(session)
    assert sessions.rotate(session, "r1", "r2", 60)
    assert sessions.rotate(session, "r2", "r3", 60)
    assert sessions.is_active(session)


def test_reusing_a_refresh_token_ends_the_session(database: RedisDatabase) -> None:
    sessions: SessionRepository = RedisSessionRepository(database)
    session = new_id()
    sessions.start(session, "r1", 60)
    sessions.rotate(session, "r1", "r2", 60)
    assert not sessions.rotate(session, "r1", "r3", 60)
    assert not sessions.is_active(session)
    assert not sessions.rotate(session, "r2", "r4", 60)


def test_an_ended_or_unknown_session_is_not_active(database: RedisDatabase) -> None:
    sessions: SessionRepository = RedisSessionRepository(database)
    session, other = new_id(), new_id()
    sessions.start(session, "r1", 60)
    sessions.start(other, "r1", 60)
    sessions.end(session)
    sessions.end("unknown")
    assert not sessions.is_active(session)
    assert not sessions.rotate(session, "r1", "r2", 60)
    assert not sessions.is_active("unknown")
    assert sessions.is_active(other)


def test_a_session_lasts_as_long_as_told_and_a_rotation_prolongs_it(database: RedisDatabase) -> None:
    sessions: SessionRepository = RedisSessionRepository(database)
    short, prolonged = new_id(), new_id()
    sessions.start(short, "r1", 2)
    sessions.start(prolonged, "r1", 2)
    assert sessions.rotate(prolonged, "r1", "r2", 60)
    time.sleep(2.1)
    assert not sessions.is_active(short)
    assert not sessions.rotate(short, "r1", "r2", 60)
    assert sessions.is_active(prolonged)


def test_of_many_simultaneous_uses_of_a_refresh_token_one_wins(database: RedisDatabase) -> None:
    sessions: SessionRepository = RedisSessionRepository(database)
    session = new_id()
    sessions.start(session, "r1", 60)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: sessions.rotate(session, "r1", f"next{number}", 60), range(8)))
    assert won.count(True) == 1
    assert not sessions.is_active(session)


# Locks


def test_a_lock_is_held_by_one_and_free_afterwards(database: RedisDatabase, caplog: pytest.LogCaptureFixture) -> None:
    locks: Locks = RedisLocks(database)
    name = new_id()
    with locks.hold(name, 10, 0) as first:
        with locks.hold(name, 10, 0) as second, locks.hold(new_id(), 10, 0) as other:
            assert (first, second, other) == (True, False, True)
        with locks.hold(name, 10, 0) as third:
            assert not third  # leaving without having held it has released nothing
    with locks.hold(name, 10, 0) as again:
        assert again
    assert caplog.text == ""


def test_waiting_for_a_lock_ends_when_it_is_released_or_the_wait_is_over(database: RedisDatabase) -> None:
    locks: Locks = RedisLocks(database)
    name = new_id()
    leave = threading.Event()
    entered = threading.Event()

    def holder() -> None:
        with locks.hold(name, 30, 0):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=holder)
    thread.start()
    assert entered.wait(30)
    began = time.monotonic()
    with locks.hold(name, 30, 0.3) as held:
        assert not held
    assert 0.2 <= time.monotonic() - began < 20
    leave.set()
    with locks.hold(name, 30, 5) as held:
        assert held
    thread.join()


def test_a_lock_ends_by_itself_and_leaving_it_late_harms_nobody(database: RedisDatabase) -> None:
    locks: Locks = RedisLocks(database)
    name = new_id()
    with locks.hold(name, 0.1, 0) as late:
        time.sleep(0.15)
        with locks.hold(name, 10, 0) as second:
            assert (late, second) == (True, True)
            with locks.hold(name, 0.05, 0) as third:
                assert not third
    with locks.hold(name, 10, 0) as free:
        assert free


def test_a_late_release_leaves_the_lock_of_another(database: RedisDatabase) -> None:
    locks: Locks = RedisLocks(database)
    name = new_id()
    late = locks.hold(name, 0.1, 0)
    assert late.__enter__()
    time.sleep(0.15)
    with locks.hold(name, 10, 0) as second:
        late.__exit__(None, None, None)
        with locks.hold(name, 10, 0) as third:
            assert (second, third) == (True, False)


def test_an_error_inside_releases_the_lock_and_passes_through(database: RedisDatabase) -> None:
    locks: Locks = RedisLocks(database)
    name = new_id()
    with pytest.raises(ZeroDivisionError), locks.hold(name, 30, 0):
        raise ZeroDivisionError
    with locks.hold(name, 30, 0) as held:
        assert held


# Rate limits


def test_a_limit_lets_so_many_through_and_then_says_how_long_to_wait(database: RedisDatabase) -> None:
    limiter: RateLimiter = RedisRateLimiter(database)
    key = new_id()
    assert [limiter.hit("login", key, 3) for _ in range(3)] == [None] * 3
    wait = limiter.hit("login", key, 3)
    assert wait is not None
    assert 0 < wait <= 61
    assert limiter.hit("login", new_id(), 3) is None
    assert limiter.hit("register", key, 3) is None


def test_after_the_wait_there_is_room_again(database: RedisDatabase) -> None:
    limiter: RateLimiter = RedisRateLimiter(database)
    key = new_id()
    waits = [limiter.hit("x", key, 2, 3) for _ in range(3)]
    assert waits[:2] == [None, None]
    assert waits[2] is not None
    time.sleep(waits[2])
    assert limiter.hit("x", key, 2, 3) is None


def test_the_wait_is_right_within_and_across_windows(database: RedisDatabase) -> None:
    limiter: RateLimiter = RedisRateLimiter(database)
    key = new_id()
    began = time.monotonic()
    for _ in range(9):
        wait = limiter.hit("x", key, 4, 1)
        if wait is not None:
            assert wait <= 1 + 0.02
            time.sleep(wait)
            assert limiter.hit("x", key, 4, 1) is None
    assert time.monotonic() - began > 1


def test_a_limit_of_zero_is_no_limit(database: RedisDatabase) -> None:
    limiter: RateLimiter = RedisRateLimiter(database)
    key = new_id()
    assert [limiter.hit("x", key, 0) for _ in range(20)] == [None] * 20


def test_keys_may_hold_anything(database: RedisDatabase) -> None:
    limiter: RateLimiter = RedisRateLimiter(database)
    for key in ("a b/c{}%s\n", "中文@例子.中国", "x" * 100_000, new_id()):
        assert limiter.hit("odd", key, 1) is None
        assert limiter.hit("odd", key, 1) is not None


def test_two_servers_count_together(database: RedisDatabase, url: str) -> None:
    key = new_id()
    with contextlib.closing(RedisDatabase(url)) as other, ThreadPoolExecutor(8) as pool:
        limiters: list[RateLimiter] = [RedisRateLimiter(database), RedisRateLimiter(other)]
        answers = list(pool.map(lambda number: limiters[number % 2].hit("x", key, 10), range(40)))
    assert answers.count(None) == 10


# Events


@pytest.fixture
def bus(database: RedisDatabase) -> Iterator[EventBus]:
    with contextlib.closing(RedisEventBus(database)) as events:
        yield events


def test_listeners_hear_what_is_published_from_then_on(database: RedisDatabase, bus: EventBus) -> None:
    early = RedisEventBus(database)
    topic = new_id()
    early.publish(topic, {"n": 0})
    early.close()
    with (
        bus.subscribe(topic) as one,
        bus.subscribe(topic) as two,
        bus.subscribe(new_id()) as elsewhere,
    ):
        bus.publish(topic, {"n": 1, "text": "olá 中"})
        bus.publish(topic, {"n": 2})
        for subscription in (one, two):
            assert subscription.next(10) == {"n": 1, "text": "olá 中"}
            assert subscription.next(10) == {"n": 2}
        assert elsewhere.next(0) is None
        began = time.monotonic()
        assert one.next(0.2) is None
        assert 0.15 <= time.monotonic() - began < 10


def test_next_waits_for_the_event(bus: EventBus) -> None:
    topic = new_id()
    with bus.subscribe(topic) as subscription:
        timer = threading.Timer(0.2, bus.publish, [topic, {"n": 1}])
        timer.start()
        assert subscription.next(5) == {"n": 1}
        timer.join()


def test_a_subscription_outlives_a_broken_connection(database: RedisDatabase, bus: EventBus) -> None:
    topic = new_id()
    with bus.subscribe(topic) as subscription:
        assert database.client.client_kill_filter(_type="pubsub") >= 1
        assert subscription.next(0.3) is None
        bus.publish(topic, {"n": 1})
        assert subscription.next(10) == {"n": 1}


def test_what_was_published_before_the_end_is_heard_in_order(database: RedisDatabase) -> None:
    bus = RedisEventBus(database)
    topic = new_id()
    with bus.subscribe(topic) as subscription:
        for number in range(1000):
            bus.publish(topic, {"n": number})
        bus.close()
        assert [subscription.next(10) for _ in range(1000)] == [{"n": number} for number in range(1000)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_the_driver_has_broken_is_begun_anew(
    database: RedisDatabase, bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, others, faults = new_id(), set(threading.enumerate()), iter([AttributeError("readline")])
    pipeline = database.client.pipeline

    def breaking(**options: Any) -> Any:
        for fault in faults:
            raise fault
        return pipeline(**options)

    monkeypatch.setattr(database.client, "pipeline", breaking)
    with bus.subscribe(topic) as subscription:
        bus.publish(topic, {"n": 1})
        wait_until(lambda: not set(threading.enumerate()) - others)
        bus.publish(topic, {"n": 2})
        assert subscription.next(10) == {"n": 2}


def test_an_event_that_is_no_json_is_logged(bus: EventBus, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        bus.publish("topic", {"what": object()})
    assert "not published" in caplog.text


def test_broken_connections_are_replaced_without_an_error(database: RedisDatabase) -> None:
    sessions: SessionRepository = RedisSessionRepository(database)
    session = new_id()
    sessions.start(session, "r1", 60)
    database.client.client_kill_filter(_type="normal", skipme=False)
    assert sessions.is_active(session)


# Without a server


@pytest.mark.parametrize(
    "use",
    [
        lambda database: database.ping(),
        lambda database: RedisSessionRepository(database).start("s", "r", 1),
        lambda database: RedisSessionRepository(database).rotate("s", "r", "t", 1),
        lambda database: RedisSessionRepository(database).is_active("s"),
        lambda database: RedisSessionRepository(database).end("s"),
        lambda database: RedisRateLimiter(database).hit("scope", "key", 1),
        lambda database: RedisEventBus(database).subscribe("topic").__enter__(),
    ],
    ids=["ping", "start", "rotate", "is_active", "end", "hit", "subscribe"],
)
def test_without_a_server_everything_is_unavailable(
    nowhere: RedisDatabase, use: Callable[[RedisDatabase], object]
) -> None:
    with pytest.raises(Unavailable) as raised:
        use(nowhere)
    assert raised.value.code == "redis_unavailable"


def test_without_a_server_no_lock_is_held_and_no_news_are_told(
    nowhere: RedisDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisLocks(nowhere).hold("name", 10, 0) as held:
        assert not held
    began = time.monotonic()
    with contextlib.closing(RedisEventBus(nowhere)) as bus:
        for _ in range(50):  # for a moment nobody waits for it again
            bus.publish("topic", {})
            with RedisLocks(nowhere).hold("name", 10, 0) as held:
                assert not held
    assert time.monotonic() - began < 10
    assert caplog.text.count("does not answer") == 1


def test_a_server_that_goes_while_a_lock_is_held_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.ExitStack())
        database = stack.enter_context(contextlib.closing(RedisDatabase(server.enter_context(redis_server(tmp_path)))))
        with RedisLocks(database).hold("name", 10, 0) as held:
            assert held
            server.close()
    assert "ends by itself" in caplog.text
