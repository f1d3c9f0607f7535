"""The stores that the contract tests run on, and the items they put in."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pymongo import MongoClient

from models.assistants import ApiKey, Assistant
from models.chats import Chat, ChatStatus
from models.conversations import Channel, Conversation
from models.documents import Document, DocumentStatus, DocumentType, Passage
from models.ids import new_id
from models.jobs import DeadLetter
from models.users import Role, User
from repositories.mongo.database import MongoDatabase
from repositories.sqlite.database import SqliteDatabase
from services.ports import (
    Probe,
)
from stores import Repositories, repositories_of

MONGODB_TEST_URI = os.environ.get("MONGODB_TEST_URI", "")
KINDS = ("sqlite", "mongo", "mongodb") if MONGODB_TEST_URI else ("sqlite", "mongo")
NOW = datetime(2026, 11, 21, 8, 15, 0, 123_000, tzinfo=UTC)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Stores(Repositories):
    """The repositories over one database, and what tells which that is."""

    probe: Probe


def stores_over(database: SqliteDatabase | MongoDatabase) -> Stores:
    """Return the repositories as a server has them."""
    return Stores(**vars(repositories_of(database)), probe=database)


@contextmanager
def opened_sqlite(path: Path) -> Iterator[Stores]:
    """Open the embedded store and close it."""
    with closing(SqliteDatabase(path)) as database:
        yield stores_over(database)


@contextmanager
def opened_mongo(uri: str, **options: Any) -> Iterator[Stores]:
    """Open a fresh database of a server, drop it afterwards."""
    name = f"orquestra_test_{new_id()}"
    with closing(MongoDatabase(uri, name, **options)) as database:
        database.ensure_indexes()
        try:
            yield stores_over(database)
        finally:
            client: MongoClient[dict[str, Any]] = MongoClient(uri)
            with client:
                client.drop_database(name)


def at_once(calls: int, act: Callable[[int], Result]) -> list[Result]:
    """Call it from so many threads at the same time, with 0, 1, 2 ..."""
    with ThreadPoolExecutor(calls) as pool:
        return list(pool.map(act, range(calls)))


def later(seconds: float) -> datetime:
    """Return a point in time so many seconds after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def make_user(email: str, **fields: Any) -> User:
    """Return a user nobody has stored yet."""
    return User(new_id(), "João", email, "scrypt$salt$hash", Role.USER, NOW, **fields)


def make_key(**fields: Any) -> ApiKey:
    """Return a fresh key."""
    key_id = new_id()
    return ApiKey(key_id, hashlib.sha256(key_id.encode()).hexdigest(), "encrypted", NOW, **fields)


def make_assistant(owner_id: str = "", **fields: Any) -> Assistant:
    """Return an assistant nobody has stored yet."""
    return Assistant(new_id(), "助手 Ângela", owner_id or new_id(), (make_key(),), NOW, NOW, **fields)


def make_conversation(assistant_id: str, channel_id: str = "5511999", service: str = "WhatsApp") -> Conversation:
    """Return a conversation nobody has stored yet."""
    return Conversation(new_id(), assistant_id, Channel(channel_id, service), NOW, NOW)


def make_chat(assistant_id: str = "", conversation_id: str = "", **fields: Any) -> Chat:
    """Return a chat nobody has stored yet."""
    identity = new_id()
    given = {"channel": Channel("5511999", "WhatsApp"), "dedupe_key": identity, "status": ChatStatus.ANSWERED, **fields}
    return Chat(identity, assistant_id or new_id(), conversation_id or new_id(), created_at=NOW, **given)


def make_working_chat(assistant_id: str = "", conversation_id: str = "", **fields: Any) -> Chat:
    """Return a chat nobody has stored yet, that the attempt `me` works on for 30 s more."""
    lease = {"status": ChatStatus.RECEIVED, "lease_owner": "me", "lease_until": later(30), "attempts": 1}
    return make_chat(assistant_id, conversation_id, **{**lease, **fields})


def make_letter(job: str = "answer_chat", argument: str = "", **fields: Any) -> DeadLetter:
    """Return a dead letter nobody has stored yet."""
    given = {"tries": 3, "code": "unavailable", "detail": "Tente de novo.", "asked_at": NOW, "died_at": later(9)}
    return DeadLetter(new_id(), job, argument or new_id(), **{**given, **fields})


def make_document(assistant_id: str, filename: str, **fields: Any) -> Document:
    """Return a document nobody has stored yet."""
    given = {"type": DocumentType.RAG, "status": DocumentStatus.READY, "revision": "r1", "build": "r1", **fields}
    path = f"{assistant_id}/knowledge/{filename}"
    return Document(
        new_id(),
        assistant_id,
        filename=filename,
        filepath=path,
        size=3,
        sha256="0",
        created_at=NOW,
        updated_at=NOW,
        **given,
    )


def make_passage(assistant_id: str, document_id: str, position: int, revision: str = "r1") -> Passage:
    """Return a passage nobody has stored yet."""
    return Passage(
        new_id(), assistant_id, document_id, revision, "a.md", position, 0, 4, "água", ("Título", "二"), "pt"
    )
