"""The documents of one server over a store, a folder and an index, with jobs that run when a test says so."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from models.documents import Document, DocumentType, ParsedText
from models.paging import Page
from models.users import Principal, Role
from services.documents import DocumentService
from services.indexing import IndexingService
from services.knowledge.fts_index import FtsIndex
from services.knowledge.parsing import DocumentParser
from services.leases import LeaseKeeper
from services.shelf import Library, Shelf
from tests.contract.document_stores import Folder, Place
from tests.contract.stores import Stores, make_assistant

ADMIN = Principal("0" * 24, Role.ADMIN)
PAGE = Page(limit=1000)
VERSIONS = 3
DYING = 0.1
"""Seconds that the leases of a server last which is going to die in a test."""


class Crash(BaseException):
    """The process dies here: nothing catches it."""


class FreeLocks:
    """Implement `Locks` for one thread: every lock is free, or none is."""

    def __init__(self, free: bool = True) -> None:
        self.free = free

    @contextmanager
    def hold(self, name: str, seconds: float, wait: float) -> Iterator[bool]:
        """Hold the lock if locks are free."""
        yield self.free


class Jobs:
    """Implement `JobQueue`: a job runs at once, or waits in `waiting` while `held`."""

    def __init__(self) -> None:
        self.handler: Callable[[str], None] = lambda argument: None
        self.held = False
        self.waiting: list[str] = []

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Run the job, or keep it."""
        if self.held:
            self.waiting.append(argument)
        else:
            self.handler(argument)


class Meanwhile(DocumentParser):
    """A parser during whose work something else happens."""

    def __init__(self) -> None:
        super().__init__()
        self.happens: list[Callable[[], object]] = []
        self.parsed = 0

    def parse(self, filename: str, content: bytes) -> ParsedText:
        """Let it happen, then parse."""
        self.parsed += 1
        while self.happens:
            self.happens.pop()()
        return super().parse(filename, content)


class Breaking:
    """Stand before a port and break one of its calls, before or after it is done."""

    def __init__(self, port: Any, method: str, error: BaseException, *, after: bool = False) -> None:
        self._port, self._method, self._error, self._after = port, method, error, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        if name != self._method:
            return real

        def broken(*args: Any, **kwargs: Any) -> Any:
            if self._after:
                real(*args, **kwargs)
            raise self._error

        return broken


class Interrupted:
    """Stand before a port and let something else happen before one of its calls, once."""

    def __init__(self, port: Any, method: str, happens: Callable[[], object]) -> None:
        self._port, self._method, self._happens = port, method, [happens]

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._happens:
            self._happens.pop()()
        return getattr(self._port, name)


@dataclass(frozen=True)
class Server:
    """What one server does with documents."""

    documents: DocumentService
    indexing: IndexingService
    shelf: Shelf
    jobs: Jobs
    ports: dict[str, Any]


@dataclass(frozen=True)
class State:
    """What can be seen of an assistant's documents.

    Attributes:
        quoted: the texts that a search finds.
        contents: what downloads give.
        files: the names that lie in the folder, kept revisions left out.
        kept: how many revisions (contents and texts of builds) are kept.
        passages: how many passages are stored, of whatever build.
    """

    quoted: list[str]
    contents: list[str]
    files: list[str]
    kept: int
    passages: int


class House:
    """An assistant, and servers over the same stores.

    `opened` holds the lease keepers of all houses; a fixture closes them after each test, or their threads add up.
    """

    opened: ClassVar[list[LeaseKeeper]] = []

    def __init__(self, stores: Stores, folder: Path, place: Place | None = None) -> None:
        self.stores, self.folder = stores, folder
        self.place: Place = place or Folder(folder / "documents")
        self.assistant = make_assistant()
        stores.assistants.add(self.assistant)
        self.parser = Meanwhile()
        self.main = self.server()

    def server(
        self, broken: Mapping[str, object] | None = None, *, at_once: float = 2.0, lease: float = 15.0
    ) -> Server:
        """Return a server, some of whose ports may be broken."""
        ports: dict[str, Any] = {
            "assistants": self.stores.assistants,
            "documents": self.stores.documents,
            "passages": self.stores.passages,
            "vectors": self.stores.vectors,
            "files": self.place.files,
            "index": FtsIndex(self.folder / "index", self.stores.documents, self.stores.passages),
            "locks": FreeLocks(),
            "parser": self.parser,
            **(broken or {}),
        }
        parser = ports.pop("parser")
        jobs, shelf = Jobs(), Shelf(Library(**ports), VERSIONS)
        self.opened.append(LeaseKeeper(lease))
        indexing = IndexingService(shelf, parser, jobs, self.opened[-1], None, backlog=lambda: len(jobs.waiting))
        jobs.handler = indexing.index
        service = DocumentService(shelf, indexing, parser, 2**20, at_once_seconds=at_once)
        return Server(service, indexing, shelf, jobs, {**ports, "parser": parser})

    def real(self, port: str) -> Any:
        """Return a whole port."""
        return self.main.ports[port]

    def add(self, content: bytes, name: str = "a.md", type: DocumentType = DocumentType.RAG) -> Document:
        """Upload with a whole server."""
        return self.main.documents.add(ADMIN, self.assistant.id, type, name, content)

    def upload(self, server: Server, content: bytes, name: str = "a.md") -> Document:
        """Upload with another server."""
        return server.documents.add(ADMIN, self.assistant.id, DocumentType.RAG, name, content)

    def recover(self) -> None:
        """Do what a server does by itself after another one has died, until nothing is left to do."""
        time.sleep(2 * DYING)
        self.main.shelf.recover()
        for document in self.documents():
            self.main.indexing.index(document.id)

    def documents(self) -> list[Document]:
        """Return every record."""
        return list(self.stores.documents.list([self.assistant.id], None, PAGE).items)

    def quoted(self) -> list[str]:
        """Return what a search finds."""
        found = self.main.documents.search(ADMIN, self.assistant.id, "deadline", 10)
        return [one.passage.text.strip() for one in found]

    def state(self) -> State:
        """Return what can be seen now."""
        contents, stored = [], 0
        for document in self.documents():
            _, stream = self.main.documents.open(ADMIN, document.id)
            with stream:
                contents.append(stream.read().decode())
            builds = {document.build, document.revision}
            stored += sum(
                len(self.stores.passages.of_document(self.assistant.id, document.id, one)) for one in builds - {""}
            )
        files = [name.rpartition("/")[2] for name in self.place.everything() if "/.versions/" not in name]
        return State(self.quoted(), contents, files, len(list(self.real("files").kept())), stored)
