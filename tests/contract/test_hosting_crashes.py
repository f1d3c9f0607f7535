"""A server that dies at any call to the provider, or write to the registry, leaves nothing behind that does not go."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repositories.embedded_redis import EmbeddedRedis
from tests.contract.hosting_world import ADMIN, LEASE, Fate, Server, World, opened_world
from tests.contract.house import Crash

Act = Callable[[World, Server], object]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server for the module."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    """Give an assistant with two documents at the provider."""
    with opened_world(tmp_path, redis_url) as world:
        world.add("First text.")
        world.add("Another document.", "b.md")
        world.require_order("First text.", "Another document.")
        yield world


def _replace(world: World, server: Server) -> None:
    world.add("Second text.", server=server)


def _delete(world: World, server: Server) -> None:
    document = next(one for one in world.shelf().files if one.filename == "a.md")
    server.documents.delete(ADMIN, document.document_id)
    server.run()


def _leave(world: World, server: Server) -> None:
    world.use("offline")
    server.service.changed(world.assistant.id)
    server.run()


def _arrive(world: World, server: Server) -> None:
    world.use("offline")
    clean = world.server()
    clean.service.changed(world.assistant.id)
    clean.run()
    world.use("openai")
    server.service.changed(world.assistant.id)
    server.run()


def _lose_the_registry(world: World, server: Server) -> None:
    world.redis.client.flushdb()
    server.sync.check(world.assistant.id)
    server.run()


def _lose_the_store(world: World, server: Server) -> None:
    world.openai.account.stores.clear()
    server.sync.sync(world.assistant.id)
    server.run()


def _lose_a_file(world: World, server: Server) -> None:
    world.openai.account.delete_file(world.shelf().files[0].file_id)
    server.sync.sync(world.assistant.id)
    server.run()


def _delete_the_assistant(world: World, server: Server) -> None:
    server.service.forget(world.assistant.id)
    for document in [world.document(file.document_id) for file in world.shelf().files]:
        world.stores.documents.delete(document.id)
    world.stores.assistants.delete(world.assistant.id)
    server.service.forget(world.assistant.id)
    server.run()


BOTH = ("First text.", "Another document.")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("act", "texts"),
    [
        pytest.param(_replace, ("Second text.", "Another document."), id="replace"),
        pytest.param(_delete, ("Another document.",), id="delete"),
        pytest.param(_leave, (), id="leave the provider"),
        pytest.param(_arrive, BOTH, id="come to the provider"),
        pytest.param(_lose_the_registry, BOTH, id="the registry is lost"),
        pytest.param(_lose_the_store, BOTH, id="the vector store is gone"),
        pytest.param(_lose_a_file, BOTH, id="a file is gone"),
    ],
)
def test_whoever_dies_at_any_call_leaves_no_orphan(world: World, act: Act, texts: tuple[str, ...], after: bool) -> None:
    deaths = 0
    for at in itertools.count():
        fate = Fate(at, after)
        server = world.server(fate, lease=LEASE)
        try:
            act(world, server)
        except Crash:
            deaths += 1
            world.recover()
        world.require_order(*texts)
        if fate.calls <= at:
            break
        _back_to_the_beginning(world)
    assert deaths >= 4


def _back_to_the_beginning(world: World) -> None:
    world.use("openai")
    world.add(BOTH[0])
    world.add(BOTH[1], "b.md")
    clean = world.server()
    clean.sync.sync(world.assistant.id)
    clean.run()
    world.require_order(*BOTH)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_of_a_deleted_assistant_nothing_stays(tmp_path: Path, redis_url: str, after: bool) -> None:
    for at in itertools.count():
        with opened_world(tmp_path / str(at), redis_url) as world:
            world.add(BOTH[0])
            fate = Fate(at, after)
            with contextlib.suppress(Crash):
                _delete_the_assistant(world, world.server(fate))
            if fate.calls <= at:
                assert at >= 6
                break
            deleted = world.server()  # what was cut off is done again, by a repeated deletion or by the queue
            world.stores.assistants.delete(world.assistant.id)
            deleted.sync.check(world.assistant.id)
            deleted.run()
            assert world.texts_there() == []
            assert world.openai.account.stores == {}
            assert world.registry.assistants() == set()
