"""What the embedded store promises to several processes, a killed one and on a bad disk; and a server that is down."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from models.chats import ChatFilter
from models.documents import DocumentStatus
from models.errors import Unavailable
from models.ids import new_id
from models.paging import Page
from repositories.mongo.database import MongoDatabase
from repositories.sqlite.database import SqliteDatabase
from tests.contract.stores import (
    NOW,
    Stores,
    at_once,
    later,
    make_chat,
    make_conversation,
    make_document,
    make_passage,
    make_user,
    opened_sqlite,
    stores_over,
)
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
WRITERS = 4
ENDLESS = 10**9


@contextmanager
def writers(path: Path, assistant_id: str, conversation_id: str, count: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Run the writing processes; those still there at the end are killed."""
    arguments = [sys.executable, "-m", "tests.contract.durability_writer", str(path), assistant_id, conversation_id]
    started = [
        subprocess.Popen([*arguments, str(count)], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(WRITERS)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def everything(stores: Stores, assistant_id: str) -> set[str]:
    found: set[str] = set()
    after = None
    while True:
        page = stores.chats.list(ChatFilter((assistant_id,)), Page(1000, after))
        found |= {chat.id for chat in page.items}
        if not page.more:
            assert len(found) == page.total
            return found
        after = page.items[-1].id


def test_killed_writers_lose_nothing_they_were_promised(tmp_path: Path) -> None:
    path, assistant_id = tmp_path / "s.sqlite", new_id()
    promised: set[str] = set()
    for _ in range(3):
        before = len(promised)
        with writers(path, assistant_id, new_id(), ENDLESS) as started:
            read: list[list[str]] = [[] for _ in started]
            readers = [
                threading.Thread(target=ids.extend, args=(process.stdout,))
                for ids, process in zip(read, started, strict=True)
            ]
            for reader in readers:
                reader.start()
            _wait_for(read, 50)
            for process in started:
                process.kill()
            for reader, process in zip(readers, started, strict=True):
                reader.join()
                process.wait()
        promised |= {line.strip() for ids in read for line in ids if line.endswith("\n")}
        assert len(promised) > before + WRITERS * 40
        with opened_sqlite(path) as stores:
            assert promised <= everything(stores, assistant_id)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _wait_for(read: list[list[str]], count: int) -> None:
    end = time.monotonic() + 30
    while any(len(ids) < count for ids in read):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_processes_that_create_and_write_one_store_count_exactly(tmp_path: Path) -> None:
    path, assistant_id = tmp_path / "s.sqlite", new_id()
    with opened_sqlite(path) as stores:
        conversation = stores.conversations.find_or_add(make_conversation(assistant_id))
        with writers(path, assistant_id, conversation.id, 100) as started:
            printed = {line for process in started for line in process.communicate(timeout=60)[0].split()}
            assert [process.returncode for process in started] == [0] * WRITERS
        assert everything(stores, assistant_id) == printed
        assert len(printed) == WRITERS * 100
        counted = stores.conversations.get(conversation.id)
        assert counted is not None and counted.message_count == WRITERS * 100


def test_processes_may_create_the_store_at_once(tmp_path: Path) -> None:
    path, assistant_id = tmp_path / "deep" / "s.sqlite", new_id()
    with writers(path, assistant_id, new_id(), 2) as started:
        for process in started:
            process.communicate(timeout=60)
        assert [process.returncode for process in started] == [0] * WRITERS
    with opened_sqlite(path) as stores:
        assert len(everything(stores, assistant_id)) == WRITERS * 2


def test_opening_waits_for_another_process_that_prepares_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE t (a)")
        release = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
        release.start()
        with opened_sqlite(path) as stores:
            assert stores.users.count() == 0
        release.join()


def test_many_threads_may_open_and_use_it(tmp_path: Path) -> None:
    path, assistant_id = tmp_path / "s.sqlite", new_id()

    def use(number: int) -> int:
        with opened_sqlite(path) as stores:
            stores.chats.add(make_chat(assistant_id))
            return stores.chats.list(ChatFilter((assistant_id,)), Page()).total

    assert max(at_once(16, use)) == 16
    with opened_sqlite(path) as stores:
        at_once(160, lambda _: (stores.chats.add(make_chat(assistant_id)), stores.chats.list(ChatFilter(), Page(5))))
        assert stores.chats.list(ChatFilter((assistant_id,)), Page()).total == 176


def test_a_transaction_that_reads_first_waits_for_the_others(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(SqliteDatabase(path)) as one, closing(SqliteDatabase(path)) as two:

        def count_up(number: int) -> None:
            for _ in range(20):
                with (one, two)[number % 2].write() as connection:
                    (seen,) = connection.execute("SELECT count(*) FROM users").fetchone()
                    body = f'{{"email": "{seen}"}}'
                    connection.execute("INSERT INTO users (id, body) VALUES (?, ?)", (str(seen), body))

        at_once(8, count_up)
        with one.read() as connection:
            assert connection.execute("SELECT count(*) FROM users").fetchone() == (160,)


def test_of_attempts_claimed_and_requeued_by_several_servers_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with ExitStack() as servers:
        opened = [servers.enter_context(opened_sqlite(path)).documents for _ in range(4)]
        document = make_document(new_id(), "a", status=DocumentStatus.STORED)
        assert opened[0].add(document)
        claims = at_once(16, lambda number: opened[number % 4].claim(document.id, f"{number}", later(30), NOW))
        (won,) = [claim for claim in claims if claim is not None]
        assert opened[1].get(document.id) == won
        assert at_once(16, lambda number: opened[number % 4].requeue(won, later(60))).count(True) == 1
        assert won.lease_owner is not None
        assert not opened[2].change(document.id, "r1", won.lease_owner, {"progress": 1.0})


def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    with opened_sqlite(tmp_path / "s.sqlite") as stores:
        stores.probe.ping()
    for use in (stores.probe.ping, stores.users.count, lambda: stores.chats.add(make_chat())):
        _unavailable(use)


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at " * 100])
def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(content)
    _unavailable(lambda: SqliteDatabase(path))
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    _unavailable(lambda: SqliteDatabase(tmp_path / "file" / "s.sqlite"))
    _unavailable(lambda: SqliteDatabase(tmp_path))


def test_a_read_only_folder_is_unavailable(tmp_path: Path) -> None:
    """Root may write into any folder but those of the kernel."""
    tmp_path.chmod(0o500)
    folder = Path("/proc/self") if os.geteuid() == 0 else tmp_path
    _unavailable(lambda: SqliteDatabase(folder / "s.sqlite"))


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    _unavailable(lambda: SqliteDatabase(path))


def test_a_full_disk_says_so_and_leaves_the_store_usable(tmp_path: Path) -> None:
    """A page limit gives the same SQLITE_FULL as a disk without room."""
    with closing(SqliteDatabase(tmp_path / "s.sqlite")) as database:
        with database.write() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable) as raised, database.write() as connection:
            connection.execute("INSERT INTO users (id, body) VALUES ('1', json_quote(hex(zeroblob(500000))))")
        assert raised.value.code == "storage_full"
        assert "Free space" in raised.value.detail
        with database.write() as connection:
            connection.execute("PRAGMA max_page_count = 1000000")
            assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)


def test_a_database_server_that_is_down_is_unavailable() -> None:
    with closing(MongoDatabase(f"mongodb://127.0.0.1:{free_port()}/", "nothing")) as database:
        stores = stores_over(database)
        started = time.monotonic()
        _unavailable(lambda: stores.users.add(make_user("a@example.com")))
        assert time.monotonic() - started < 6
        _unavailable(lambda: stores.chats.delete_of_assistant("a"))
        _unavailable(lambda: stores.passages.add([make_passage("a", "d", 0)]))
        _unavailable(lambda: stores.vectors.add("a", "d", "m", {"0": b"0"}))
        assert time.monotonic() - started < 20
        _unavailable(database.ping)


def _unavailable(use: Callable[[], object]) -> None:
    with pytest.raises(Unavailable) as raised:
        use()
    assert raised.value.code == "store_unavailable"
    assert "again" in raised.value.detail or "Start that version" in raised.value.detail
