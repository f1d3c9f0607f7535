"""Importing a folder: what becomes a document, what a second run does, and what stopping leaves."""

import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from models.clock import now
from models.documents import Document, DocumentStatus, DocumentType, Drift, ListedDocument
from models.errors import Invalid, NotFound, Unavailable, UnsupportedFormat
from models.ids import new_id
from models.paging import Listing, Page
from models.users import Principal, Role
from services.importing.documents import FolderImport, ImportLimits, ImportSummary
from services.importing.folder import Remark
from tests.contract.house import ADMIN, House
from tests.contract.stores import Stores

_CALLER = Principal(new_id(), Role.ADMIN)
_READY, _FAILED = DocumentStatus.READY, DocumentStatus.FAILED
_LIMITS = ImportLimits(frozenset({"md", "txt"}), 1000, patience_seconds=0.5)


class Cabinet:
    """Implement `Documents` in memory; `indexing` says what a look at an uploaded document finds."""

    def __init__(self) -> None:
        self.assistant_id = new_id()
        self.held: dict[str, ListedDocument] = {}
        self.uploads: list[str] = []
        self.pages = 0
        self.indexing: Callable[[ListedDocument], ListedDocument] = lambda document: replace(document, status=_READY)
        self.arrived: Callable[[str], None] = lambda filename: None
        self._lock = threading.Lock()

    def add(
        self,
        caller: Principal,
        assistant_id: str,
        type: DocumentType,
        filename: str,
        content: bytes,
        *,
        wait: bool = False,
    ) -> Document:
        """Store a document, not ready yet; refuse empty ones and those whose first line says so."""
        if assistant_id != self.assistant_id:
            raise NotFound("There is no such assistant.")
        if not content:
            raise Invalid("The document has no text. Upload one that has.")
        if content.startswith(b"odd"):
            raise UnsupportedFormat("It is something else.")
        if content.startswith(b"busy"):
            raise Unavailable("Try again.")
        with self._lock:
            self.uploads.append(filename)
            before = [held for held in self.held.values() if (held.type, held.filename) == (type, filename)]
            at, sha256 = now(), hashlib.sha256(content).hexdigest()
            document = ListedDocument(
                id=before[0].id if before else new_id(),
                assistant_id=assistant_id,
                type=type,
                filename=filename,
                filepath=f"{assistant_id}/{filename}",
                revision=new_id(),
                size=len(content),
                sha256=sha256,
                status=DocumentStatus.STORED,
                created_at=at,
                updated_at=at,
            )
            self.held[document.id] = document
        self.arrived(filename)
        return document

    def get(self, caller: Principal, document_id: str) -> Document:
        """Return a document after a little more of its indexing."""
        with self._lock:
            self.held[document_id] = self.indexing(self.held[document_id])
            return self.held[document_id]

    def list(
        self, caller: Principal, assistant_id: str | None, type: DocumentType | None, page: Page
    ) -> Listing[ListedDocument]:
        """List the documents in pages of two, newest first."""
        self.pages += 1
        ids = sorted((one for one in self.held if page.after is None or one < page.after), reverse=True)
        return Listing([self.held[one] for one in ids[:2]], len(self.held), len(ids) > 2)

    def change(self, **fields: object) -> None:
        """Set fields of every document."""
        self.held = {key: replace(held, **fields) for key, held in self.held.items()}  # type: ignore[arg-type]


@pytest.fixture
def cabinet() -> Cabinet:
    """Give an empty cabinet."""
    return Cabinet()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an empty folder."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


def _write(folder: Path, **files: str) -> None:
    """Write files; `__` in a name stands for a slash, `_` for a dot."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _run(cabinet: Cabinet, folder: Path, limits: ImportLimits = _LIMITS) -> ImportSummary:
    return FolderImport(cabinet, _CALLER, cabinet.assistant_id, limits).run(folder, lambda done, total, path: None)


def _failed(summary: ImportSummary) -> dict[str, str]:
    return {remark.path: remark.reason for remark in summary.failed}


def _skipped(summary: ImportSummary) -> dict[str, str]:
    return {remark.path: remark.reason for remark in summary.skipped}


def test_folders_become_part_of_the_names(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, a_md="a", contracts__2026__a_MD="b", prompt_txt="Be brief.", sub__prompt_txt="no prompt")
    summary = _run(cabinet, folder)
    assert summary == ImportSummary(added=("a.md", "contracts/2026/a.MD", "prompt.txt", "sub/prompt.txt"))
    assert {(held.type.value, held.filename) for held in cabinet.held.values()} == {
        ("rag", "a.md"),
        ("rag", "contracts - 2026 - a.MD"),
        ("prompt", "prompt.txt"),
        ("rag", "sub - prompt.txt"),
    }


def test_a_second_run_uploads_only_what_has_changed(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, a_md="a", b_md="b", c__d_md="d", prompt_txt="Be brief.")
    _run(cabinet, folder)
    cabinet.uploads.clear()
    assert _run(cabinet, folder) == ImportSummary(unchanged=("a.md", "b.md", "c/d.md", "prompt.txt"))
    _write(folder, b_md="B", e_md="e")
    assert _run(cabinet, folder) == ImportSummary(added=("b.md", "e.md"), unchanged=("a.md", "c/d.md", "prompt.txt"))
    assert sorted(cabinet.uploads) == ["b.md", "e.md"]
    assert cabinet.pages > 3


def test_what_failed_or_lies_changed_in_its_place_is_uploaded_again(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, a_md="a")
    _run(cabinet, folder)
    for fields in ({"status": _FAILED}, {"drift": Drift.MISSING}, {"drift": Drift.CHANGED}):
        cabinet.change(**fields)
        assert _run(cabinet, folder) == ImportSummary(added=("a.md",))
    assert len(cabinet.uploads) == 4 and len(cabinet.held) == 1


def test_what_is_on_its_way_is_waited_for_and_not_uploaded_again(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, a_md="a")
    _run(cabinet, folder)
    for status in (DocumentStatus.STORED, DocumentStatus.INDEXING):
        cabinet.change(status=status)
        assert _run(cabinet, folder) == ImportSummary(added=("a.md",))
    assert len(cabinet.uploads) == 1


def test_a_document_counts_when_its_indexing_has_ended(cabinet: Cabinet, folder: Path) -> None:
    steps = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]

    def indexing(document: ListedDocument) -> ListedDocument:
        progress = steps.pop(0)
        return replace(document, progress=progress, status=_READY if progress == 1 else DocumentStatus.INDEXING)

    cabinet.indexing = indexing
    _write(folder, a_md="a")
    assert _run(cabinet, folder) == ImportSummary(added=("a.md",))  # in more time than its patience with each step
    assert steps == []


def test_each_failure_is_reported_and_stops_nothing(cabinet: Cabinet, folder: Path) -> None:
    _write(
        folder, a_md="a", bad_md="bad", busy_md="busy", empty_md="", big_md="x" * 1001, odd_md="odd", fits_md="x" * 1000
    )
    unreadable = "It cannot be read. Save it again."

    def indexing(document: ListedDocument) -> ListedDocument:
        if document.filename == "bad.md":
            return replace(document, status=_FAILED, error=unreadable)
        return replace(document, status=_READY)

    cabinet.indexing = indexing
    summary = _run(cabinet, folder)
    assert (summary.added, summary.skipped) == (("a.md", "fits.md"), (Remark("odd.md", "It is something else."),))
    assert [remark.path for remark in summary.failed] == ["bad.md", "big.md", "busy.md", "empty.md"]
    assert _failed(summary)["bad.md"] == unreadable
    assert "MAX_UPLOAD_MB" in _failed(summary)["big.md"]
    assert "no text" in _failed(summary)["empty.md"]


def test_a_document_that_nobody_indexes_is_reported(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, a_md="a")
    cabinet.indexing = lambda document: document
    assert "Start a server or worker" in _failed(_run(cabinet, folder))["a.md"]


def test_a_document_that_is_deleted_meanwhile_is_reported(cabinet: Cabinet, folder: Path) -> None:
    def gone(document: ListedDocument) -> ListedDocument:
        raise NotFound("There is no such document.")

    cabinet.indexing = gone
    _write(folder, a_md="a")
    assert _failed(_run(cabinet, folder)) == {"a.md": "There is no such document."}


def test_what_is_no_document_is_passed_over(cabinet: Cabinet, folder: Path, tmp_path: Path) -> None:
    _write(tmp_path, outside_md="secret")
    _write(folder, a_md="a", b_zip="zip", noextension="x", git__config_md="x")
    (folder / ".hidden.md").write_text("x")
    (folder / "~$a.md").write_text("x")
    (folder / "git").rename(folder / ".git")
    (folder / "inside.md").symlink_to(folder / "a.md")
    (folder / "leading.md").symlink_to(tmp_path / "outside.md")
    (folder / "broken.md").symlink_to(folder / "nothing.md")
    (folder / "round.md").symlink_to(folder / "round.md")
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.md")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket.md"))  # the whole path may be too long for a socket
        summary = _run(cabinet, folder)
    assert (summary.added, summary.failed) == (("a.md", "inside.md"), ())
    reasons = _skipped(summary)
    assert list(reasons) == [
        ".git", ".hidden.md", "b.zip", "broken.md", "leading.md", "noextension", "pipe.md", "round.md", "socket.md",
        "up", "~$a.md",
    ]  # fmt: skip
    assert reasons["b.zip"] == "Files of this kind are not read, only md, txt."
    assert reasons["leading.md"] == "It is a link that leads out of the folder."
    assert "secret" not in {held.sha256 for held in cabinet.held.values()}


def test_a_link_to_the_folder_itself_is_followed(cabinet: Cabinet, folder: Path, tmp_path: Path) -> None:
    _write(folder, a_md="a")
    (tmp_path / "link").symlink_to(folder)
    assert _run(cabinet, tmp_path / "link").added == ("a.md",)


def test_files_that_would_become_the_same_document_are_not_taken(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, a__b_md="1", c_md="2")
    (folder / "a - b.md").write_text("3")
    (folder / "cafe\u0301.md").write_text("4")  # as macOS writes it
    (folder / "café.md").write_text("5")
    (folder / ("x" * 210 + "1.md")).write_text("6")
    (folder / ("x" * 210 + "2.md")).write_text("7")  # the same once they are cut
    summary = _run(cabinet, folder)
    assert summary.added == ("c.md",)
    reasons = _failed(summary)
    assert len(reasons) == 6
    assert "a/b.md" in reasons["a - b.md"] and "a - b.md" in reasons["a/b.md"]


def test_names_that_cannot_be_kept_or_printed(cabinet: Cabinet, folder: Path) -> None:
    (folder / "a\n\x1b[2J.md").write_text("steers a terminal")
    (folder / os.fsdecode(b"caf\xe9.md")).write_text("Latin-1")
    assert _run(cabinet, folder) == ImportSummary(added=("a??[2J.md", "caf?.md"))
    assert sorted(held.filename for held in cabinet.held.values()) == ["a [2J.md", "caf.md"]


def test_what_cannot_be_read_is_reported(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, a_md="a", b_md="b", closed__c_md="c")
    cabinet.arrived = lambda filename: (folder / "b.md").unlink(missing_ok=True)
    summary = _run(cabinet, folder, replace(_LIMITS, threads=1))
    assert summary.added == ("a.md", "closed/c.md")
    assert "cannot be read" in _failed(summary)["b.md"]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up the rights of root, who reads everything, for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_folders_that_cannot_be_read_are_reported(cabinet: Cabinet) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        _write(folder, a_md="a", closed__c_md="c")
        (folder / "closed").chmod(0)
        with as_nobody():
            summary = _run(cabinet, folder)
        (folder / "closed").chmod(0o700)
    assert summary.added == ("a.md",)
    assert "permissions" in _failed(summary)["closed"]


def test_nothing_is_taken_from_nowhere_or_for_nobody(cabinet: Cabinet, folder: Path) -> None:
    for place in (folder / "nothing", folder / "a.md"):
        _write(folder, a_md="a")
        with pytest.raises(Invalid):
            _run(cabinet, place)
    with pytest.raises(NotFound):
        FolderImport(cabinet, _CALLER, new_id(), _LIMITS).run(folder, lambda done, total, path: None)
    assert cabinet.held == {}


def test_progress_is_told_in_the_callers_thread(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, **{f"f{number}_md": str(number) for number in range(20)})
    told: list[tuple[int, int, str]] = []
    threads = set()

    def progress(done: int, total: int, path: str) -> None:
        told.append((done, total, path))
        threads.add(threading.current_thread())

    FolderImport(cabinet, _CALLER, cabinet.assistant_id, _LIMITS).run(folder, progress)
    assert told[0] == (0, 20, "")
    assert [done for done, _, _ in told] == list(range(21)) and {total for _, total, _ in told} == {20}
    assert sorted(path for _, _, path in told[1:]) == sorted(f"f{number}.md" for number in range(20))
    assert threads == {threading.current_thread()}


def test_a_run_that_is_stopped_is_continued_by_the_next_one(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, **{f"f{number:02}_md": str(number) for number in range(20)})

    def interrupt(done: int, total: int, path: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FolderImport(cabinet, _CALLER, cabinet.assistant_id, _LIMITS).run(folder, interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("import")]
    assert 3 <= len(cabinet.uploads) <= 3 + 2 * _LIMITS.threads
    summary = _run(cabinet, folder)
    assert len(summary.added) + len(summary.unchanged) == 20 and not summary.failed
    assert len(cabinet.uploads) == len(set(cabinet.uploads)) == 20  # nothing twice


def test_stopping_does_not_wait_for_what_is_being_indexed(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, f1_md="1", f2_md="2", f3_md="3")
    looks = [0]

    def indexing(document: ListedDocument) -> ListedDocument:
        looks[0] += 1
        is_done = document.filename == "f1.md" or looks[0] > 50
        return replace(document, status=_READY if is_done else DocumentStatus.INDEXING)

    def interrupt(done: int, total: int, path: str) -> None:
        if done:
            raise KeyboardInterrupt

    cabinet.indexing = indexing
    with pytest.raises(KeyboardInterrupt):
        FolderImport(cabinet, _CALLER, cabinet.assistant_id, replace(_LIMITS, patience_seconds=60)).run(
            folder, interrupt
        )
    assert _READY not in {held.status for held in cabinet.held.values() if held.filename != "f1.md"}


def test_no_more_files_are_under_way_than_threads(cabinet: Cabinet, folder: Path) -> None:
    _write(folder, **{f"f{number}_md": str(number) for number in range(10)})
    under_way, most = set(), [0]

    def arrived(filename: str) -> None:
        under_way.add(filename)
        most[0] = max(most[0], len(under_way))

    def indexing(document: ListedDocument) -> ListedDocument:
        under_way.discard(document.filename)
        return replace(document, status=_READY)

    cabinet.arrived, cabinet.indexing = arrived, indexing
    assert len(_run(cabinet, folder, replace(_LIMITS, threads=2)).added) == 10
    assert most[0] == 2


def test_the_documents_of_a_server(stores: Stores, tmp_path: Path, folder: Path) -> None:
    house = House(stores, tmp_path)
    parser = house.real("parser")
    importing = FolderImport(
        house.main.documents, ADMIN, house.assistant.id, ImportLimits(parser.extensions, 2**20, patience_seconds=10)
    )

    def run() -> ImportSummary:
        return importing.run(folder, lambda done, total, path: None)

    _write(
        folder,
        leave__rules_md="The deadline is Friday.",
        empty_md="",
        big_txt="x" * (2**20 + 1),
        photo_jpg="x",
        prompt_txt="You are {{ assistant }}. {{ nobody }}",
    )
    summary = run()
    assert summary.added == ("leave/rules.md",) and _skipped(summary).keys() == {"photo.jpg"}
    assert _failed(summary).keys() == {"big.txt", "empty.md", "prompt.txt"}
    assert "no value 'nobody'" in _failed(summary)["prompt.txt"]
    assert house.quoted() == ["The deadline is Friday."]
    _write(folder, leave__rules_md="The deadline is Monday.", prompt_txt="You are {{ assistant }}.")
    assert run().added == ("leave/rules.md", "prompt.txt")
    assert house.quoted() == ["The deadline is Monday."]
    assert run().unchanged == ("leave/rules.md", "prompt.txt")
    assert [document.filename for document in house.documents()] == ["prompt.txt", "leave - rules.md"]
