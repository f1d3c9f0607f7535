"""`Destinations` on Redis, against the embedded server and against one over TCP."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.ids import new_id
from repositories.redis.database import RedisDatabase
from repositories.redis.destinations import RedisDestinations
from services.ports import Destinations
from tests.redis_server import KINDS, redis_of


@pytest.fixture(scope="module", params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a running server."""
    with redis_of(request.param, tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture
def database(url: str) -> Iterator[RedisDatabase]:
    """Give a connection to an empty database."""
    with contextlib.closing(RedisDatabase(url)) as database:
        database.client.flushdb()
        yield database


def _origin() -> str:
    return f"https://{new_id()}.example:443"


def _end_pause(database: RedisDatabase) -> None:
    """Let the only pause be over now."""
    (key,) = database.client.scan_iter("orquestra:destination:*")
    database.client.hset(key, "until", "0")


def test_a_receiver_in_no_trouble_is_not_waited_for(database: RedisDatabase) -> None:
    destinations: Destinations = RedisDestinations(database)
    assert destinations.wait(_origin()) == 0.0
    destinations.recovered(_origin())
    assert list(database.client.scan_iter("*")) == []


def test_pauses_double_up_to_the_longest(database: RedisDatabase) -> None:
    destinations: Destinations = RedisDestinations(database, seconds=60, longest=200)
    origin = _origin()
    for pause in (60, 120, 200, 200):
        destinations.failed(origin)
        assert pause - 10 < destinations.wait(origin) <= pause
        _end_pause(database)
        assert destinations.wait(origin) == 0.0
    destinations.recovered(origin)
    assert destinations.wait(origin) == destinations.wait(origin) == 0.0
    destinations.failed(origin)
    assert destinations.wait(origin) <= 60


def test_a_pause_ends_by_itself(database: RedisDatabase) -> None:
    destinations: Destinations = RedisDestinations(database, seconds=0.05)
    origin = _origin()
    destinations.failed(origin)
    while (left := destinations.wait(origin)) > 0:
        assert left <= 0.05
        time.sleep(left)


def test_another_receiver_and_another_server_of_ours(database: RedisDatabase, url: str) -> None:
    origin = _origin()
    RedisDestinations(database, seconds=60).failed(origin)
    with contextlib.closing(RedisDatabase(url)) as other:
        destinations: Destinations = RedisDestinations(other, seconds=60)
        assert destinations.wait(origin) > 50
        assert destinations.wait(_origin()) == 0.0


def test_posts_that_fail_together_count_once(database: RedisDatabase) -> None:
    destinations: Destinations = RedisDestinations(database, seconds=60)
    origin = _origin()
    for _ in range(8):
        destinations.failed(origin)
    assert destinations.wait(origin) <= 60


def test_after_a_pause_one_of_many_tries_and_the_others_wait(database: RedisDatabase, url: str) -> None:
    origin = _origin()
    RedisDestinations(database, seconds=60).failed(origin)
    _end_pause(database)
    with contextlib.closing(RedisDatabase(url)) as other, ThreadPoolExecutor(16) as pool:
        servers: list[Destinations] = [RedisDestinations(database), RedisDestinations(other)]
        waits = list(pool.map(lambda number: servers[number % 2].wait(origin), range(64)))
    assert waits.count(0.0) == 1
    assert all(10 < wait <= 20 for wait in waits if wait)


def test_one_that_died_trying_is_followed_by_another(database: RedisDatabase) -> None:
    destinations: Destinations = RedisDestinations(database, seconds=60)
    origin = _origin()
    destinations.failed(origin)
    for _ in range(3):
        _end_pause(database)
        assert destinations.wait(origin) == 0.0
        assert destinations.wait(origin) > 10
    destinations.failed(origin)
    assert 60 < destinations.wait(origin) <= 120


def test_trouble_is_forgotten(database: RedisDatabase) -> None:
    destinations: Destinations = RedisDestinations(database, seconds=60, longest=200)
    origin = _origin()
    destinations.failed(origin)
    (key,) = database.client.scan_iter("*")
    assert 250_000 < database.client.pttl(key) <= 260_000
    assert origin not in key
    _end_pause(database)
    destinations.wait(origin)
    assert 210_000 < database.client.pttl(key) <= 220_000


def test_without_a_server_nobody_waits_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as nowhere:
        destinations: Destinations = RedisDestinations(nowhere)
        for _ in range(2):
            for _ in range(50):
                destinations.failed("https://example.com:443")
                assert destinations.wait("https://example.com:443") == 0.0
                destinations.recovered("https://example.com:443")
            while nowhere.is_missed:
                time.sleep(0.05)
    assert caplog.text.count("does not answer") == 1
