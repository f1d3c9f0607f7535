"""An embedded store with something of everything, the migration of it, and what a store holds."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from models.assistants import Assistant
from models.callbacks import Delivery, DeliveryStatus
from models.chats import Burst, Chat, ChatFilter, ChatStatus, Feedback
from models.conversations import Conversation
from models.documents import Document, DocumentType, Version
from models.evaluations import Dataset, ResultStatus, Run
from models.ids import new_id
from models.jobs import DeadLetter
from models.paging import Page
from models.users import User
from repositories.migration.migration import Compared, Progress
from repositories.mongo.database import MongoDatabase
from settings import Settings
from stores import SQLITE_FILE
from tests.contract.stores import (
    NOW,
    Stores,
    later,
    make_assistant,
    make_chat,
    make_conversation,
    make_document,
    make_key,
    make_letter,
    make_passage,
    make_user,
    make_working_chat,
    opened_sqlite,
    stores_over,
)
from tests.contract.test_evaluations import BARE, ITEM, make_dataset, make_results, make_run
from tests.contract.test_vectors import vectors
from wiring.migration import open_migration

_ALL = Page(200)


@dataclass
class Filled:
    """What was put into a store."""

    user: User
    assistant: Assistant
    conversation: Conversation
    document: Document
    dataset: Dataset
    run: Run
    chats: list[Chat] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


def fill(stores: Stores) -> Filled:
    """Put something of everything into a store."""
    user = make_user("ada@example.com", founder=True)
    assistant = replace(make_assistant(user.id), keys=(make_key(), make_key(expires_at=later(60))))
    conversation = make_conversation(assistant.id)
    version = Version("r0", 2, "1", NOW)
    document = make_document(assistant.id, "férias 中.md", embeddings_model="m", versions=(version,), attempts=3)
    filled = Filled(user, assistant, conversation, document, make_dataset(assistant.id), make_run(assistant.id))
    stores.users.add(user)
    stores.users.add(make_user("bia@example.com"))
    stores.assistants.add(assistant)
    stores.assistants.bump_index_version(assistant.id)
    stores.conversations.find_or_add(conversation)
    filled.chats = _chats(assistant.id, conversation.id)
    for chat in filled.chats:
        assert stores.chats.add(chat)
    stores.documents.add(document)
    stores.documents.add(make_document(assistant.id, "prompt.txt", type=DocumentType.PROMPT, lease_until=later(9)))
    stores.passages.add([make_passage(assistant.id, document.id, position) for position in range(3)])
    stores.vectors.add(assistant.id, document.id, "m", vectors(3))
    stores.datasets.add(filled.dataset, [ITEM, BARE])
    results = make_results(filled.run)
    stores.runs.add(filled.run, results)
    stores.runs.finish(replace(results[0], status=ResultStatus.DONE, scores={"contains": 0.1}, ended_at=NOW))
    filled.letters = [make_letter(), make_letter("resend_callback")]
    for letter in filled.letters:
        stores.dead_letters.add(letter)
    return filled


def _chats(assistant_id: str, conversation_id: str) -> list[Chat]:
    of = (assistant_id, conversation_id)
    odd = {"a.b": {"$gt": 2**80}, "\ud800": "\x00", "": [1.5, None, True]}
    delivery = Delivery("https://example.com/hook", DeliveryStatus.PENDING, "msg_1", 2, later(5), NOW)
    return [
        make_chat(*of, message="Olá\x00 中", response="Oi", metadata=odd, feedback=Feedback(1, new_id(), NOW, "bom")),
        make_chat(*of, status=ChatStatus.INACTIVE, message="later", active=False, paused_until=later(7)),
        make_chat(*of, status=ChatStatus.MERGED, merged_into=new_id(), request_digest="d" * 64),
        make_chat(*of, delivery=delivery),
        make_working_chat(*of, message="who answers?", burst=Burst(NOW, later(3))),
    ]


def everything(stores: Stores, filled: Filled) -> list[Any]:
    """Return what a store gives of everything, asked as a server asks."""
    assistant_id, document = filled.assistant.id, filled.document
    return [
        stores.users.find_by_email("ada@example.com"),
        [(one.email, one.founder) for one in stores.users.admins()],
        stores.users.count(),
        [stores.assistants.find_by_key_hash(key.sha256) for key in filled.assistant.keys],
        stores.conversations.list(None, _ALL),
        stores.chats.list(ChatFilter(), _ALL),
        stores.chats.list(ChatFilter(text="olá"), _ALL),
        stores.chats.undelivered(later(99), 9),
        stores.documents.list(None, None, _ALL),
        stores.documents.builds(assistant_id),
        list(stores.passages.of_document(assistant_id, document.id, "r1")),
        stores.vectors.of_document(assistant_id, document.id, "m"),
        stores.datasets.list(None, _ALL),
        stores.datasets.items(filled.dataset.id),
        stores.runs.list(None, _ALL),
        stores.runs.results(filled.run.id, _ALL),
        stores.runs.progress(filled.run.id),
        stores.dead_letters.list(_ALL),
        [stores.dead_letters.get(letter.id) for letter in filled.letters],
    ]


@dataclass(frozen=True)
class Move:
    """An embedded store and the database that it is to be copied into."""

    settings: Settings

    @property
    def path(self) -> Path:
        """Return the embedded store's file."""
        return self.settings.data_dir / SQLITE_FILE

    @contextmanager
    def source(self) -> Iterator[Stores]:
        """Open the embedded store as a server does."""
        with opened_sqlite(self.path) as stores:
            yield stores

    @contextmanager
    def database(self) -> Iterator[MongoDatabase]:
        """Open the database, whatever is in it."""
        with closing(MongoDatabase(self.settings.mongodb_uri, self.settings.mongodb_database)) as database:
            yield database

    @contextmanager
    def target(self) -> Iterator[Stores]:
        """Open the database's repositories."""
        with self.database() as database:
            yield stores_over(database)

    def run(self, copying: Progress | None = None, comparing: Progress | None = None) -> list[Compared]:
        """Migrate."""
        with open_migration(self.settings) as migration:
            return migration.run(copying or _silent, comparing or _silent)


@contextmanager
def move(folder: Path, uri: str, **more: str) -> Iterator[Move]:
    """Give a migration into a database of its own, which is dropped at the end."""
    name = f"orquestra_test_{new_id()}"
    env = {"DATA_DIR": str(folder / "var"), "MONGODB_URI": uri, "MONGODB_DATABASE": name, **more}
    try:
        yield Move(Settings.from_env(env))
    finally:
        client: MongoClient[dict[str, Any]] = MongoClient(uri)
        with client:
            client.drop_database(name)


def _silent(done: int, of: int, what: str) -> None:
    """Show nothing."""
