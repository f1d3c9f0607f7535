"""The nightly check: once a night, by one of the servers, for all that have something at the provider."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from models.ids import new_id
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.limits import RedisRateLimiter
from services.hosting.library import HostingRule
from services.hosting.night import CHECK_ASSISTANTS, HostingNight
from services.hosting.nudges import CHECK_ASSISTANT, HostingNudges
from tests.contract.hosting_world import Queue, Welcome, World, opened_world
from tests.contract.stores import at_once, make_assistant

THREE = datetime(2026, 11, 22, 3, 4).astimezone()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give an assistant whose provider holds documents, and has none yet."""
    with EmbeddedRedis(tmp_path / "redis") as server, opened_world(tmp_path / "world", server.url) as world:
        yield world


def _night(world: World, queue: Queue, store: str = "here") -> HostingNight:
    limiter, rule = RedisRateLimiter(world.redis), HostingRule(("openai",), "offline", 0.0)
    return HostingNight(
        world.stores.assistants, world.registry, rule, HostingNudges(queue, Welcome()), queue, limiter, store
    )


def test_one_server_begins_each_night(world: World) -> None:
    queue = Queue()
    nights = [_night(world, queue) for _ in range(8)]
    at_once(8, lambda number: nights[number].begin(THREE))
    nights[0].begin(THREE + timedelta(minutes=50))
    assert queue.waiting == [(CHECK_ASSISTANTS, "2026-11-22")]
    nights[1].begin(THREE + timedelta(days=1))
    assert queue.waiting == [(CHECK_ASSISTANTS, "2026-11-22"), (CHECK_ASSISTANTS, "2026-11-23")]
    _night(world, queue, "elsewhere").begin(THREE)
    assert len(queue.waiting) == 3


@pytest.mark.parametrize("hour", [0, 2, 4, 15])
def test_nothing_begins_at_another_hour(world: World, hour: int) -> None:
    queue = Queue()
    _night(world, queue).begin(THREE.replace(hour=hour))
    assert queue.waiting == []


def test_whoever_has_something_there_or_is_to_have_is_checked(world: World) -> None:
    others = [make_assistant(provider="openai_chat") for _ in range(250)]  # more than a page
    for assistant in others:
        world.stores.assistants.add(assistant)
    left, deleted, foreign = others[3].id, new_id(), new_id()
    world.registry.set_store(left, "vs_1")
    world.registry.mark_deleted(deleted)
    world.registry.set_store(foreign, "vs_2")  # of another store's assistant
    queue = Queue()
    _night(world, queue).ask_for_all("2026-11-22")
    assert sorted(queue.waiting) == sorted((CHECK_ASSISTANT, name) for name in (world.assistant.id, left, deleted))
    assert len(set(queue.delays)) == 3  # not all at the same time
