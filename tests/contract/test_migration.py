"""`migrate-store`: an embedded store in MongoDB, as it was; refused, stopped and begun anew."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from models.chats import ChatStatus
from models.errors import Conflict, OrquestraError, TooLarge, Unavailable
from models.ids import new_id
from repositories.migration.contents import DERIVED, kinds_of
from repositories.sqlite.database import SqliteDatabase
from stores import open_stores
from tests.contract.migrating import Filled, Move, everything, fill, move
from tests.contract.stores import later, make_chat, make_user

ROOT = Path(__file__).parents[2]


@pytest.fixture
def moving(tmp_path: Path, mongo_uri: str) -> Iterator[Move]:
    """Give a migration from an absent store to an absent database."""
    with move(tmp_path, mongo_uri) as one:
        yield one


@pytest.fixture
def filled(moving: Move) -> Filled:
    """Put something of everything into its source."""
    with moving.source() as stores:
        return fill(stores)


def test_everything_is_there_as_it_was_and_the_source_stays(moving: Move, filled: Filled) -> None:
    before = hashlib.sha256(moving.path.read_bytes()).digest()
    seen: list[tuple[int, int, str]] = []
    compared = moving.run(lambda *told: seen.append(told))
    assert all(one.is_same for one in compared), compared
    counts = {one.name: one.target[0] for one in compared}
    assert (counts["chats"], counts["vectors"], counts["evaluation_items"]) == (5, 3, 2)
    assert all(counts.values()) and seen[-1][:2] == (sum(counts.values()), sum(counts.values()))
    assert hashlib.sha256(moving.path.read_bytes()).digest() == before
    with moving.source() as source, moving.target() as target:
        assert everything(target, filled) == everything(source, filled)
    open_stores(moving.settings).close()


def test_what_was_being_answered_is_taken_over_and_no_message_comes_twice(moving: Move, filled: Filled) -> None:
    moving.run()
    working = filled.chats[-1]
    with moving.target() as target:
        assert target.chats.get(working.id) == working
        assert not target.chats.claim(working, "next", later(60), later(29)), "the lease has not run out"
        assert target.chats.claim(working, "next", later(60), later(31))
        assert not target.chats.add(replace(make_chat(filled.assistant.id), dedupe_key=filled.chats[0].dedupe_key))
        assert target.conversations.find_or_add(replace(filled.conversation, id=new_id())) == filled.conversation


def test_every_table_is_copied_or_derived(moving: Move) -> None:
    with closing(SqliteDatabase(moving.path)) as database, database.read() as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    with moving.database() as target:
        assert tables == DERIVED | {kind.name for kind in kinds_of(target)}


@pytest.mark.parametrize(("phase", "kind"), [("copying", "chats"), ("comparing", "users")])
def test_what_was_killed_half_way_keeps_servers_away_and_is_begun_anew(
    moving: Move, filled: Filled, phase: str, kind: str
) -> None:
    given = moving.settings
    env = {"DATA_DIR": given.data_dir, "MONGODB_URI": given.mongodb_uri, "MONGODB_DATABASE": given.mongodb_database}
    command = [sys.executable, "-m", "tests.contract.migration_victim", phase, kind]
    killed = subprocess.run([*command, *(f"{name}={value}" for name, value in env.items())], cwd=ROOT)
    assert killed.returncode == -9
    with pytest.raises(Unavailable, match="migrate-store"):
        open_stores(given)
    with moving.source() as stores:  # somebody uses the embedded store once more
        assert stores.chats.withdraw(filled.chats[1])
        again = replace(filled.chats[1], id=new_id(), status=ChatStatus.ANSWERED)
        assert stores.chats.add(again)
    assert all(one.is_same for one in moving.run())
    with moving.source() as source, moving.target() as target:
        assert everything(target, filled) == everything(source, filled)
    open_stores(given).close()


def test_a_part_of_one_store_is_not_taken_for_another_ones(moving: Move, filled: Filled, tmp_path: Path) -> None:
    def stop(done: int, of: int, what: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        moving.run(stop)
    other = Move(replace(moving.settings, data_dir=tmp_path / "other"))
    with other.source() as stores:
        stores.users.add(make_user("eve@example.com"))
    with pytest.raises(Conflict, match="another embedded store"):
        other.run()


def test_what_is_different_afterwards_is_told_and_keeps_servers_away(moving: Move, filled: Filled) -> None:
    def meddle(done: int, of: int, what: str) -> None:
        if done == of:
            with moving.database() as database:
                database.collection("chats").update_one({"message": "later"}, {"$set": {"message": "sooner"}})
                database.collection("users").delete_one({"email": "bia@example.com"})

    compared = {one.name: one for one in moving.run(meddle)}
    assert [name for name, one in compared.items() if not one.is_same] == ["users", "chats"]
    assert (compared["users"].source[0], compared["users"].target[0]) == (2, 1)
    with pytest.raises(Unavailable, match="migrate-store"):
        open_stores(moving.settings)


def test_a_store_that_is_written_to_meanwhile_is_not_migrated(moving: Move, filled: Filled) -> None:
    def write(done: int, of: int, what: str) -> None:
        if done == of:
            with moving.source() as stores:
                stores.assistants.bump_index_version(filled.assistant.id)

    with pytest.raises(Conflict, match="was changed while"):
        moving.run(write)
    with pytest.raises(Unavailable, match="migrate-store"):
        open_stores(moving.settings)


def test_an_item_that_mongodb_cannot_take_is_named(moving: Move, filled: Filled) -> None:
    large = make_chat(filled.assistant.id, filled.conversation.id, response="x" * (17 << 20))
    with moving.source() as stores:
        stores.chats.add(large)
    with pytest.raises(TooLarge, match=f"{large.id} in chats is larger than the 16 MB"):
        moving.run()


def _set_version(moving: Move, version: int) -> None:
    with closing(sqlite3.connect(moving.path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


def _use_target(moving: Move) -> None:
    with moving.target() as stores:
        stores.users.add(make_user("eve@example.com"))


REFUSED: dict[str, tuple[Callable[[Move], object], str]] = {
    "no store": (lambda moving: moving.path.unlink(), "There is no embedded store"),
    "an older one": (lambda moving: _set_version(moving, 3), "an older Orquestra"),
    "a newer one": (lambda moving: _set_version(moving, 99), "a newer Orquestra"),
    "no store but a file": (lambda moving: moving.path.write_bytes(b"x" * 9000), "cannot be read"),
    "a target in use": (_use_target, "The database holds users already"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused(case: str, moving: Move, filled: Filled) -> None:
    prepare, expected = REFUSED[case]
    prepare(moving)
    with pytest.raises(OrquestraError, match=expected):
        moving.run()
    with moving.database() as database:
        assert database.collection("migration").find_one() is None
        assert database.collection("chats").find_one() is None


def test_without_mongodb_there_is_nowhere_to_go(moving: Move, filled: Filled) -> None:
    with pytest.raises(Conflict, match="MONGODB_URI is not set"):
        Move(replace(moving.settings, mongodb_uri="")).run()


def test_a_store_that_a_process_has_open_is_refused_until_that_process_is_gone(moving: Move, filled: Filled) -> None:
    script = "import sys; from pathlib import Path; from repositories.sqlite.database import SqliteDatabase as Store\n"
    script += "store = Store(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(moving.path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None and user.stdout.readline() == "open\n"
        with pytest.raises(Conflict, match="is in use"):
            moving.run()
        user.kill()
    assert all(one.is_same for one in moving.run())
