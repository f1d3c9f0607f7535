"""The registry of hosted files, on the embedded server and on one over TCP."""

import contextlib
from dataclasses import replace
from threading import Event, Thread

import pytest

from models.clock import now
from models.errors import Unavailable
from models.hosting import HostedFile, HostedShelf
from models.ids import new_id
from repositories.redis.database import RedisDatabase
from repositories.redis.hosted_files import RedisFileRegistry
from services.ports import FileRegistry
from tests.contract.stores import at_once


@pytest.fixture
def registry(database: RedisDatabase) -> FileRegistry:
    """Give the registry, empty."""
    database.client.flushdb()
    return RedisFileRegistry(database)


def test_a_text_is_registered_once_with_the_next_number(registry: FileRegistry) -> None:
    assistant, document = new_id(), new_id()
    first = registry.register(assistant, document, "férias 年假.md", "b1")
    assert first == HostedFile(1, document, "férias 年假.md", "b1")
    assert registry.register(assistant, document, "férias 年假.md", "b1") == first
    second = registry.register(assistant, document, "férias 年假.md", "b2")
    assert second.number == 2
    assert registry.register(new_id(), document, "a.md", "b1").number == 1
    assert registry.shelf(assistant) == HostedShelf("", 2, (first, second))


def test_of_parallel_callers_all_get_the_same_file(registry: FileRegistry) -> None:
    assistant, document = new_id(), new_id()
    files = at_once(32, lambda number: registry.register(assistant, document, "a.md", f"b{number % 4}"))
    numbers = {file.build: {other.number for other in files if other.build == file.build} for file in files}
    assert sorted(min(held) for held in numbers.values()) == [1, 2, 3, 4]
    assert all(len(held) == 1 for held in numbers.values())
    assert registry.shelf(assistant).last == 4


def test_a_number_is_never_given_again(registry: FileRegistry) -> None:
    assistant, document = new_id(), new_id()
    for expected in range(1, 5):
        assert registry.register(assistant, document, "a.md", "same").number == expected
        registry.unregister(assistant, expected)
        registry.unregister(assistant, expected)
    assert registry.shelf(assistant) == HostedShelf("", 4)


def test_a_change_reads_back_and_needs_a_registered_file(registry: FileRegistry) -> None:
    assistant, at = new_id(), now()
    file = registry.register(assistant, new_id(), "a.md", "b1")
    assert registry.change(assistant, 1, {"searchable": True})
    assert registry.change(assistant, 1, {"retired_at": at})
    assert registry.shelf(assistant).files == (replace(file, searchable=True, retired_at=at),)
    assert not registry.change(assistant, 2, {"searchable": True})
    registry.unregister(assistant, 1)
    assert not registry.change(assistant, 1, {"searchable": True})
    assert registry.shelf(assistant).files == ()


def test_a_retired_text_becomes_a_new_file(registry: FileRegistry) -> None:
    assistant, document = new_id(), new_id()
    registry.register(assistant, document, "a.md", "b1")
    registry.change(assistant, 1, {"retired_at": now()})
    assert registry.register(assistant, document, "a.md", "b1").number == 2
    registry.unregister(assistant, 1)
    assert registry.register(assistant, document, "a.md", "b1").number == 2
    assert [file.number for file in registry.shelf(assistant).files] == [2]


def test_the_first_upload_that_is_noted_stays(registry: FileRegistry) -> None:
    assistant = new_id()
    registry.register(assistant, new_id(), "a.md", "b1")
    noted = set(at_once(16, lambda number: registry.note_upload(assistant, 1, f"file-{number}")))
    assert len(noted) == 1
    assert {file.file_id for file in registry.shelf(assistant).files} == noted
    assert registry.note_upload(assistant, 2, "file-x") == ""
    assert len(registry.shelf(assistant).files) == 1


def test_a_shelf_is_read_at_one_moment(registry: FileRegistry) -> None:
    """Every registration is followed by the removal of the file before: a reader sees one file, or two that follow."""
    assistant, document, over = new_id(), new_id(), Event()
    registry.register(assistant, document, "a.md", "b1")

    def write() -> None:
        for number in range(2, 300):
            registry.register(assistant, document, "a.md", f"b{number}")
            registry.unregister(assistant, number - 1)
        over.set()

    writer = Thread(target=write)
    writer.start()
    while not over.is_set():
        shelf = registry.shelf(assistant)
        numbers = [file.number for file in shelf.files]
        assert numbers in ([shelf.last], [shelf.last - 1, shelf.last])
    writer.join()


def test_only_an_empty_shelf_is_forgotten(registry: FileRegistry) -> None:
    assistant = new_id()
    registry.set_store(assistant, "vs_1")
    registry.register(assistant, new_id(), "a.md", "b1")
    assert not registry.forget(assistant)
    assert registry.shelf(assistant).store_id == "vs_1"
    assert registry.assistants() == {assistant}
    registry.unregister(assistant, 1)
    assert registry.forget(assistant)
    assert registry.shelf(assistant) == HostedShelf()
    assert registry.assistants() == set()
    assert registry.forget(assistant)


def test_a_deleted_assistant_is_known_until_it_is_forgotten(registry: FileRegistry) -> None:
    assistant = new_id()
    registry.mark_deleted(assistant)
    assert registry.shelf(assistant).deleted
    assert registry.assistants() == {assistant}
    registry.forget(assistant)
    assert registry.shelf(assistant) == HostedShelf()


def test_a_server_that_is_away_is_unavailable() -> None:
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as nowhere:
        registry: FileRegistry = RedisFileRegistry(nowhere)
        with pytest.raises(Unavailable):
            registry.shelf(new_id())
        with pytest.raises(Unavailable):
            registry.register(new_id(), new_id(), "a.md", "b1")
        with pytest.raises(Unavailable):
            registry.note_upload(new_id(), 1, "file-1")
