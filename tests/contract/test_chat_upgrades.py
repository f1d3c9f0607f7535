"""What becomes of chats from before there were bursts and callbacks: bodies here are those that were stored then."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from models.callbacks import Delivery
from models.chats import Chat, ChatOutcome, ChatStatus, Timings, Tokens
from models.conversations import Channel
from models.ids import new_id
from repositories.mongo.database import MongoDatabase
from tests.contract.stores import (
    NOW,
    Stores,
    at_once,
    later,
    make_letter,
    make_working_chat,
    opened_sqlite,
    stores_over,
)
from tests.contract.test_evaluations import make_results, make_run

FILES = sorted(Path(__file__).parent.glob("sqlite_version_*.sql"))
AT = "2026-11-21T08:15:00.123Z"
ASSISTANT, CONVERSATION = new_id(), new_id()
ANSWERED, FAILED, DEAD, WORKING = (new_id() for _ in range(4))


def old_chat(chat_id: str, status: str, lease_until: str | None = None) -> dict[str, Any]:
    """Return a chat as the versions before stored it."""
    return {
        "id": chat_id,
        "assistant_id": ASSISTANT,
        "conversation_id": CONVERSATION,
        "channel": {"id": "5511999", "message_service": "WhatsApp"},
        "dedupe_key": chat_id,
        "status": status,
        "created_at": AT,
        "message": "Olá",
        "username": None,
        "message_id": None,
        "response": None,
        "active": True,
        "paused_until": None,
        "tokens": {"input": 1, "output": 2},
        "citations": [],
        "provider": None,
        "model": None,
        "timings": {"queued_ms": None, "retrieval_ms": None, "first_token_ms": None, "total_ms": None},
        "error": None,
        "feedback": None,
        "answered_by": None,
        "answered_at": None,
        "lease_owner": lease_until and "old",
        "lease_until": lease_until,
        "attempts": 1,
        "metadata": "{}",
    }


CHATS = (
    old_chat(ANSWERED, "answered"),
    old_chat(FAILED, "failed"),
    old_chat(DEAD, "received", AT),
    old_chat(WORKING, "received", "2026-11-21T08:15:30.123Z"),
)


def make_old_file(path: Path, script: Path) -> None:
    """Make a file of the embedded store as an earlier version left it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script.read_text())
        with connection:
            rows = [(chat["id"], json.dumps(chat)) for chat in CHATS]
            connection.executemany("INSERT INTO chats (id, body) VALUES (?, ?)", rows)


def layout(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_schema"))


@contextmanager
def old_database(uri: str) -> Iterator[MongoDatabase]:
    """Make a database as the versions before left it in MongoDB, and drop it."""
    name = f"orquestra_test_{new_id()}"
    with MongoClient[dict[str, Any]](uri) as client, closing(MongoDatabase(uri, name)) as database:
        chats = client[name]["chats"]
        chats.insert_many([stored(chat) for chat in CHATS])
        for fields in (("conversation_id", "_id"), ("assistant_id", "_id"), ("status", "lease_until")):
            chats.create_index(dict.fromkeys(fields, 1))
        try:
            yield database
        finally:
            client.drop_database(name)


def stored(chat: dict[str, Any]) -> dict[str, Any]:
    """Return an old chat as MongoDB has it."""
    fields: dict[str, Any] = {"_id": ObjectId(chat["id"]), **chat}
    del fields["id"]
    for name in ("created_at", "lease_until"):
        fields[name] = chat[name] and datetime.fromisoformat(chat[name])
    return fields


def chat_of(stores: Stores, chat_id: str) -> Chat:
    chat = stores.chats.get(chat_id)
    assert chat is not None
    return chat


def reads_as_without_burst_and_delivery(stores: Stores) -> None:
    """Check that every query takes an old chat for one without a burst and a delivery, and that has never failed."""
    failed, dead, working = (chat_of(stores, chat_id) for chat_id in (FAILED, DEAD, WORKING))
    assert failed == Chat(
        FAILED,
        ASSISTANT,
        CONVERSATION,
        Channel("5511999", "WhatsApp"),
        FAILED,
        ChatStatus.FAILED,
        NOW,
        "Olá",
        tokens=Tokens(1, 2),
        attempts=1,
    )
    assert stores.chats.unfinished_before(working) == dead
    assert stores.chats.unfinished_before(make_working_chat(ASSISTANT, CONVERSATION)) == dead
    assert stores.chats.later_in_burst(dead) is None
    assert list(stores.chats.earlier_in_burst(working)) == []
    assert list(stores.chats.merged_into(CONVERSATION, WORKING)) == []
    assert list(stores.chats.unfinished(NOW, 9)) == [dead]
    assert list(stores.chats.undelivered(later(10**9), 9)) == []
    assert [chat.id for chat in stores.chats.history(CONVERSATION, WORKING, 9)] == [ANSWERED]
    assert not stores.chats.merge(dead, WORKING, None)
    assert not stores.chats.change_delivery(DEAD, Delivery(""), Delivery(""))


def goes_on(stores: Stores) -> None:
    """Check that old chats can be answered, fail, and wait again."""
    assert stores.chats.finish(WORKING, "old", ChatOutcome(ChatStatus.FAILED))
    assert chat_of(stores, WORKING).failures == 1
    assert stores.chats.requeue(chat_of(stores, DEAD), later(-1))
    for chat_id in (DEAD, FAILED):
        assert stores.chats.claim(chat_of(stores, chat_id), "me", later(30), NOW)
        assert stores.chats.leave_burst(chat_id, "me")
    assert stores.chats.finish(DEAD, "me", ChatOutcome(ChatStatus.ANSWERED, delivery=Delivery("u", next_at=NOW)))
    assert [chat.id for chat in stores.chats.undelivered(NOW, 9)] == [DEAD]
    assert stores.chats.newest_of_request(ASSISTANT, "digest") is None
    assert stores.chats.note_speech(ANSWERED, 1, 2)
    spoken = chat_of(stores, ANSWERED)
    assert (spoken.timings, spoken.heard, spoken.reply_audio) == (
        Timings(first_sentence_ms=1, first_audio_ms=2),
        None,
        False,
    )
    letter, run = make_letter(), make_run()
    stores.dead_letters.add(letter)
    stores.runs.add(run, make_results(run))
    assert stores.runs.get(run.id) == run
    assert stores.dead_letters.get(letter.id) == letter


@pytest.mark.parametrize("script", FILES, ids=lambda script: script.stem)
def test_chats_of_an_old_file_go_on(tmp_path: Path, script: Path) -> None:
    path = tmp_path / "s.sqlite"
    make_old_file(path, script)

    def read(_: int) -> None:
        with opened_sqlite(path) as stores:
            reads_as_without_burst_and_delivery(stores)

    at_once(4, read)
    with opened_sqlite(path) as stores, opened_sqlite(tmp_path / "fresh.sqlite"):
        goes_on(stores)
        assert layout(path) == layout(tmp_path / "fresh.sqlite")


def test_chats_of_an_old_database_go_on(mongo_uri: str) -> None:
    with old_database(mongo_uri) as database:
        before = database.collection("chats").find().to_list()
        at_once(4, lambda _: database.ensure_indexes())
        database.ensure_indexes()
        assert database.collection("chats").find().to_list() == before, "nothing is rewritten"
        stores = stores_over(database)
        reads_as_without_burst_and_delivery(stores)
        goes_on(stores)
