"""Documents as a use case, on both stores and a real folder: whole or not at all, whatever comes between."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from models.documents import Document, DocumentStatus, DocumentType, ParsedText
from models.errors import Conflict, NotFound, OrquestraError, TooLarge, Unavailable
from models.paging import Page
from models.users import Principal, Role
from repositories.document_files import LocalDocumentFiles
from services.documents import DocumentService, Library
from services.knowledge.fts_index import FtsIndex
from services.knowledge.parsing import TextParser
from tests.contract.stores import Stores, make_assistant

ADMIN = Principal("0" * 24, Role.ADMIN)
OLD = b"# Deadline\n\nThe deadline is ten days.\n"
NEW = b"# Deadline\n\nThe deadline is twenty days.\n"
PAGE = Page(limit=1000)


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


@dataclass
class Meanwhile(TextParser):
    """A parser during whose work something else happens."""

    happens: list[Callable[[], object]] = field(default_factory=list)

    def parse(self, filename: str, content: bytes) -> ParsedText:
        """Let it happen, then parse."""
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


class House:
    """The documents service of one server over a store, a folder and an index."""

    def __init__(self, stores: Stores, folder: Path) -> None:
        self.stores, self.folder = stores, folder
        self.assistant = make_assistant()
        stores.assistants.add(self.assistant)
        self.parser = Meanwhile()
        self.service = self.server()

    def server(self, **broken: Any) -> DocumentService:
        """Return a server, some of whose ports may be broken."""
        index = FtsIndex(self.folder / "index", self.stores.documents, self.stores.passages)
        ports = {
            "documents": self.stores.documents,
            "passages": self.stores.passages,
            "files": LocalDocumentFiles(self.folder / "documents"),
            "index": index,
            "locks": FreeLocks(),
            **broken,
        }
        assistants = ports.pop("assistants", self.stores.assistants)
        library = Library(**ports)
        return DocumentService(assistants, library, self.parser, 2**20)

    def add(self, content: bytes, name: str = "a.md", type: DocumentType = DocumentType.RAG) -> Document:
        """Upload with a whole server."""
        return self.service.add(ADMIN, self.assistant.id, type, name, content)

    def state(self) -> tuple[list[str], list[str], list[str]]:
        """Return what answers would quote, what a download would give, and what lies in the folder."""
        found = self.service.search(ADMIN, self.assistant.id, "deadline", 10)
        listed = self.stores.documents.list([self.assistant.id], None, PAGE).items
        contents = []
        for document in listed:
            _, stream = self.service.open(ADMIN, document.id)
            with stream:
                contents.append(stream.read().decode())
            passages = self.stores.passages.of_document(self.assistant.id, document.id, document.revision)
            assert len(passages) == document.passages
        files = [path.name for path in (self.folder / "documents").rglob("*") if path.is_file()]
        return [one.passage.text for one in found], contents, files


@pytest.fixture
def house(stores: Stores, tmp_path: Path) -> House:
    """Give a house on each store."""
    return House(stores, tmp_path)


STEPS = [
    ("files", "stage", False, OLD),
    ("files", "stage", True, OLD),
    ("passages", "add", True, OLD),
    ("documents", "replace", False, OLD),
    ("documents", "replace", True, NEW),
    ("assistants", "bump_index_version", False, NEW),
    ("files", "publish", False, NEW),
    ("files", "publish", True, NEW),
    ("passages", "delete_of_document", False, NEW),
]


@pytest.mark.parametrize(("port", "method", "after", "expected"), STEPS)
def test_a_replacement_that_a_crash_cuts_off_is_finished_or_undone(
    house: House, port: str, method: str, after: bool, expected: bytes
) -> None:
    house.add(OLD)
    assert [text.strip() for text in house.state()[0]] == [OLD.decode().strip()]
    real = {
        "files": LocalDocumentFiles(house.folder / "documents"),
        "passages": house.stores.passages,
        "documents": house.stores.documents,
        "assistants": house.stores.assistants,
    }[port]
    dying = house.server(**{port: Breaking(real, method, Crash(), after=after)})
    with pytest.raises(Crash):
        dying.add(ADMIN, house.assistant.id, DocumentType.RAG, "a.md", NEW)
    house.server().recover()
    quoted, contents, files = house.state()
    assert [text.strip() for text in quoted] == [expected.decode().strip()]
    assert contents == [expected.decode()]
    assert "a.md" in files
    house.add(NEW)  # and it can be replaced again
    assert house.state()[1] == [NEW.decode()]


@pytest.mark.parametrize(("port", "method"), [("passages", "add"), ("documents", "replace"), ("files", "stage")])
def test_a_replacement_that_a_store_refuses_leaves_the_old_one_and_nothing_else(
    house: House, port: str, method: str
) -> None:
    house.add(OLD)
    real = {
        "files": LocalDocumentFiles(house.folder / "documents"),
        "passages": house.stores.passages,
        "documents": house.stores.documents,
    }[port]
    failing = house.server(**{port: Breaking(real, method, Unavailable("The disk is full."))})
    with pytest.raises(Unavailable):
        failing.add(ADMIN, house.assistant.id, DocumentType.RAG, "a.md", NEW)
    quoted, contents, files = house.state()
    assert (contents, files) == ([OLD.decode()], ["a.md"])
    assert [text.strip() for text in quoted] == [OLD.decode().strip()]


def test_a_deletion_that_is_cut_off_is_out_of_answers_and_can_be_repeated(house: House) -> None:
    document = house.add(OLD)
    dying = house.server(passages=Breaking(house.stores.passages, "delete_of_document", Crash()))
    with pytest.raises(Crash):
        dying.delete(ADMIN, document.id)
    assert house.service.search(ADMIN, house.assistant.id, "deadline", 10) == []
    left = house.service.get(ADMIN, document.id)
    assert left.status is DocumentStatus.FAILED and left.error
    house.service.delete(ADMIN, document.id)
    assert house.state() == ([], [], [])
    with pytest.raises(NotFound):
        house.service.delete(ADMIN, document.id)


def test_an_upload_during_a_reindex_stands(house: House) -> None:
    document = house.add(OLD)
    house.parser.happens.append(lambda: house.add(NEW))
    with pytest.raises(Conflict):
        house.service.reindex(ADMIN, document.id)
    assert house.state()[1] == [NEW.decode()]


def test_a_deletion_during_a_reindex_stands(house: House) -> None:
    document = house.add(OLD)
    house.parser.happens.append(lambda: house.service.delete(ADMIN, document.id))
    with pytest.raises(Conflict):
        house.service.reindex(ADMIN, document.id)
    assert house.state() == ([], [], [])


def test_a_reindex_that_reads_between_a_record_and_its_file_changes_nothing(house: House) -> None:
    document = house.add(OLD)
    (house.folder / "documents" / document.filepath).write_bytes(NEW)
    with pytest.raises(Conflict):
        house.service.reindex(ADMIN, document.id)
    assert [one.passage.text.strip() for one in house.service.search(ADMIN, house.assistant.id, "deadline", 9)] == [
        OLD.decode().strip()
    ]


def test_an_upload_into_an_assistant_that_is_deleted_meanwhile_leaves_nothing(house: House) -> None:
    house.parser.happens.append(lambda: house.stores.assistants.delete(house.assistant.id))
    with pytest.raises(NotFound):
        house.add(OLD)
    assert house.stores.documents.list([house.assistant.id], None, PAGE).items == []
    assert [path for path in (house.folder / "documents").rglob("*") if path.is_file()] == []


def test_without_the_lock_nothing_is_changed(house: House) -> None:
    document = house.add(OLD)
    unlocked = house.server(locks=FreeLocks(free=False))
    for change in (
        lambda: unlocked.add(ADMIN, house.assistant.id, DocumentType.RAG, "a.md", NEW),
        lambda: unlocked.delete(ADMIN, document.id),
        lambda: unlocked.reindex(ADMIN, document.id),
    ):
        with pytest.raises(OrquestraError) as refused:
            change()
        assert refused.value.code == "documents_busy"
    assert house.state()[1] == [OLD.decode()]


def test_a_prompt_is_bounded_and_kept_out_of_search(house: House) -> None:
    prompt = house.add(b"Mind the deadline.", "anything.txt", DocumentType.PROMPT)
    assert (prompt.filename, prompt.passages) == ("prompt.txt", 1)
    assert house.service.search(ADMIN, house.assistant.id, "deadline", 10) == []
    with pytest.raises(TooLarge):
        house.add(b"x" * 100_001, "prompt.txt", DocumentType.PROMPT)
