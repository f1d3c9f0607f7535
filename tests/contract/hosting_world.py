"""An assistant whose documents are at our fake of OpenAI, and servers over the same stores that may die at any call."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.documents import Document, DocumentType
from models.errors import OrquestraError
from models.hosting import HostedShelf
from models.paging import Page
from models.users import Principal, Role
from repositories.document_files import LocalDocumentFiles
from repositories.redis.database import RedisDatabase
from repositories.redis.hosted_files import RedisFileRegistry
from repositories.redis.locks import RedisLocks
from services.documents import DocumentService
from services.hosting.documents import HostedDocuments
from services.hosting.library import HostedLibrary, HostingRule, HostingStores
from services.hosting.names import build_of, store_name
from services.hosting.nudges import CHECK_ASSISTANT, SYNC_ASSISTANT, HostingNudges
from services.hosting.service import HostingService
from services.hosting.sync import HostingSync
from services.hosting.uploads import HostedUploads
from services.indexing import INDEX_DOCUMENT, IndexingService
from services.knowledge.fts_index import FtsIndex
from services.knowledge.parsing import DocumentParser
from services.leases import LeaseKeeper
from services.ownership import Ownership
from services.providers.openai_chat import build_client
from services.providers.openai_files import OpenAIFiles
from services.shelf import Library, Shelf
from tests.contract.house import Crash, House
from tests.contract.stores import Stores, make_assistant, opened_sqlite
from tests.emulators.provider import Asked, FakeProvider, provider

ADMIN = Principal("0" * 24, Role.ADMIN)
LEASE = 0.1
"""Seconds that the lease of a server lasts which is going to die in a test."""
_MOST_JOBS = 60
_TRIES = 8


@dataclass
class Fate:
    """When a server dies: at which call, counted from 0, and whether before or after the call is done."""

    at: int | None = None
    after: bool = False
    calls: int = 0


class Fated:
    """Stand before a port whose every call may be the last."""

    def __init__(self, port: Any, fate: Fate, among: frozenset[str] | None = None) -> None:
        self._port, self._fate, self._among = port, fate, among

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        if not callable(real) or (self._among is not None and name not in self._among):
            return real

        def fated(*args: Any, **kwargs: Any) -> Any:
            number, self._fate.calls = self._fate.calls, self._fate.calls + 1
            if number == self._fate.at and not self._fate.after:
                raise Crash
            result = real(*args, **kwargs)
            if isinstance(result, Iterator):
                result = iter(list(result))
            if number == self._fate.at:
                raise Crash
            return result

        return fated


class Welcome:
    """Implement `Appointments`: every job is welcome. tests/contract/test_appointments.py has those that are not."""

    def make(self, purpose: str, token: str, delay: float) -> bool:
        """Appoint the job."""
        return True

    def keep(self, purpose: str, token: str) -> bool:
        """Begin the job."""
        return True


class Queue:
    """Implement `JobQueue`: jobs wait until a test runs them, whatever their delay and their token."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, str]] = []
        self.delays: list[float] = []

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Keep the job."""
        self.waiting.append((job, argument.partition(":")[0]))
        self.delays.append(delay)


@dataclass(frozen=True)
class Server:
    """What one server does."""

    documents: DocumentService
    indexing: IndexingService
    library: HostedLibrary
    hosted: HostedDocuments
    uploads: HostedUploads
    sync: HostingSync
    service: HostingService
    stores: HostingStores
    queue: Queue

    def run(self) -> None:
        """Run the jobs that wait, and those that they ask for, until none is left; what fails is tried again."""
        handlers = {
            INDEX_DOCUMENT: self.indexing.index,
            SYNC_ASSISTANT: self.sync.sync,
            CHECK_ASSISTANT: self.sync.check,
        }
        for _ in range(_MOST_JOBS):
            if not self.queue.waiting:
                return
            job, argument = self.queue.waiting.pop(0)
            for left in reversed(range(_TRIES)):
                try:
                    handlers[job](argument)
                    break
                except OrquestraError:
                    if not left:
                        raise
        raise AssertionError(f"jobs without end: {self.queue.waiting}")


class World:
    """An assistant, the stores and the provider.

    Attributes:
        grace, linger: of the servers that are made from now on.
        watch: what the servers that are made from now on have before their ports.
    """

    def __init__(self, stores: Stores, folder: Path, redis: RedisDatabase, openai: FakeProvider) -> None:
        self.stores, self.folder, self.redis, self.openai = stores, folder, redis, openai
        self.registry = RedisFileRegistry(redis)
        self.texts = LocalDocumentFiles(folder / "documents")
        self.index = FtsIndex(folder / "index", stores.documents, stores.passages)
        self.client = build_client("sk-test-0123456789abcdef", openai.base_url, 8)
        self.parser = DocumentParser()
        self.grace, self.linger = 0.0, 0.0
        self.watch: Callable[[Any], Any] = lambda port: port
        self.assistant = make_assistant(provider="openai")
        stores.assistants.add(self.assistant)

    def server(self, fate: Fate | None = None, *, lease: float = 15.0) -> Server:
        """Return a server that is fated to die at some call to the provider or write to the registry."""
        fate, queue = fate or Fate(), Queue()
        writes = frozenset({"register", "note_upload", "change", "unregister", "set_store", "mark_deleted", "forget"})
        files: Any = Fated(self.watch(OpenAIFiles(self.client)), fate)
        registry: Any = Fated(self.watch(self.registry), fate, writes)
        held = replace(self.stores, documents=self.watch(self.stores.documents))
        locks, nudges = RedisLocks(self.redis), HostingNudges(queue, Welcome())
        places = HostingStores(files, registry, held.assistants, held.documents, self.texts, locks)
        rule = HostingRule(("openai",), "offline", self.grace, self.linger)
        uploads = HostedUploads(places, nudges)
        hosted = HostedDocuments(places, rule, uploads, nudges)
        library = Library(held.assistants, held.documents, held.passages, held.vectors, self.texts, self.index, locks)
        shelf = Shelf(library, 3)
        House.opened.append(LeaseKeeper(lease))
        indexing = IndexingService(shelf, self.parser, queue, House.opened[-1], None, hosted)
        return Server(
            DocumentService(shelf, indexing, self.parser, 2**20, at_once_seconds=0.0),
            indexing,
            HostedLibrary(registry, held.documents, nudges),
            hosted,
            uploads,
            HostingSync(places, rule, uploads, nudges),
            HostingService(Ownership(held.assistants), places, rule, nudges),
            places,
            queue,
        )

    def add(self, content: str, name: str = "a.md", server: Server | None = None) -> Document:
        """Upload a document and have it indexed."""
        server = server or self.server()
        added = server.documents.add(ADMIN, self.assistant.id, DocumentType.RAG, name, content.encode())
        server.run()
        return self.document(added.id)

    def document(self, document_id: str) -> Document:
        """Return a record."""
        found = self.stores.documents.get(document_id)
        assert found is not None
        return found

    def use(self, provider_name: str) -> None:
        """Change the assistant's provider."""
        self.stores.assistants.update(self.assistant.id, {"provider": provider_name}, self.assistant.updated_at)

    def recover(self) -> Server:
        """Do what a server does by itself after another one has died, until nothing is left to do."""
        time.sleep(1.2 * LEASE)
        server = self.server()
        for document in self.stores.documents.list([self.assistant.id], None, Page(limit=1000)).items:
            server.indexing.index(document.id)
        server.queue.enqueue(SYNC_ASSISTANT, self.assistant.id)
        server.run()
        return server

    def shelf(self) -> HostedShelf:
        """Return what is registered."""
        return self.registry.shelf(self.assistant.id)

    def texts_there(self) -> list[str]:
        """Return the texts of the account's files, whoever's they are."""
        return sorted(file.content.decode() for file in self.openai.account.files.values())

    def require_order(self, *texts: str) -> None:
        """Require that exactly these texts are at the provider, each found by an answer that begins now."""
        account, shelf = self.openai.account, self.shelf()
        assert self.texts_there() == sorted(texts)
        stores = [store for store in account.stores.values() if store.name == store_name(self.assistant.id)]
        assert [store.id for store in stores] == ([shelf.store_id] if shelf.store_id else [])
        attached = stores[0].files if stores else {}
        assert attached.keys() == account.files.keys() == {file.file_id for file in shelf.files}
        for file in shelf.files:
            assert file.searchable and file.retired_at is None
            assert attached[file.file_id].attributes == {"number": file.number, "document": file.document_id}
            assert build_of(account.files[file.file_id].filename, self.assistant.id) == file.build
            assert self.document(file.document_id).build == file.build
        search = self.server().library.view(self.assistant.id).search
        assert (search is not None) == bool(texts)
        assert search is None or search.without == ()


@contextmanager
def opened_world(folder: Path, redis_url: str) -> Iterator[World]:
    """Give a world of its own; the registry is emptied first."""
    with (
        closing(RedisDatabase(redis_url)) as redis,
        opened_sqlite(folder / "orquestra.sqlite") as stores,
        provider() as openai,
    ):
        redis.client.flushdb()
        world = World(stores, folder, redis, openai)
        with closing(world.client), closing(world.index):
            yield world


def executed(openai: FakeProvider, operation: str) -> list[Asked]:
    """Return the requests of an operation that changed something."""
    return [asked for asked in openai.asked(operation) if asked.executed]
