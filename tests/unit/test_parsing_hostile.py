"""Hostile files end in an error that says what to do, and leave no process, no file and no memory behind."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import Invalid
from services.knowledge.parsing import DocumentParser
from tests.corpus import hostile
from tests.corpus.office import docx_of, packed, xlsx_of
from tests.corpus.policies import ENGLISH

ROOT = Path(__file__).parents[2]
PAGE = os.sysconf("SC_PAGE_SIZE")
GROWTH = 50 * 2**20  # bytes
UNREADABLE, LOCKED, SCANNED = "unreadable_document", "encrypted_document", "scanned_document"
COMPLEX, EMPTY = "document_too_complex", "empty_document"

FILES: dict[str, tuple[str, Callable[[], bytes], set[str]]] = {
    "zip bomb": ("a.docx", hostile.docx_bomb, {COMPLEX}),
    "lying zip bomb": ("a.docx", hostile.lying_docx_bomb, {COMPLEX, UNREADABLE}),
    "billion laughs": ("a.docx", hostile.billion_laughs_docx, {COMPLEX}),
    "tables in tables": ("a.docx", hostile.deep_docx, {COMPLEX, UNREADABLE, EMPTY}),
    "twenty million cells": ("a.xlsx", hostile.xlsx_bomb, {COMPLEX}),
    "half a PDF": ("a.pdf", hostile.truncated_pdf, {UNREADABLE}),
    "noise in a PDF": ("a.pdf", hostile.garbled_pdf, {UNREADABLE}),
    "locked PDF": ("a.pdf", lambda: hostile.encrypted_pdf("secret"), {LOCKED}),
    "scan": ("a.pdf", hostile.scanned_pdf, {SCANNED}),
    "picture in Word": ("a.docx", hostile.scanned_docx, {SCANNED}),
    "PDF in circles": ("a.pdf", hostile.looped_pdf, {UNREADABLE, COMPLEX, EMPTY}),
    "arrays in arrays": ("a.pdf", hostile.deep_pdf, {UNREADABLE, COMPLEX, EMPTY}),
    "PDF bomb": ("a.pdf", hostile.pdf_bomb, {COMPLEX, UNREADABLE, EMPTY}),
    "locked Word file": ("a.docx", hostile.encrypted_docx, {LOCKED}),
    "old Word file": ("a.docx", hostile.old_doc, {UNREADABLE}),
    "workbook named docx": ("a.docx", lambda: xlsx_of(ENGLISH), {UNREADABLE}),
    "archive named xlsx": ("a.xlsx", lambda: packed({"a.txt": "a"}), {UNREADABLE}),
    "half a Word file": ("a.docx", lambda: docx_of(ENGLISH)[:9000], {UNREADABLE}),
    "program": ("a.pdf", hostile.program, {UNREADABLE}),
    "tags in tags": ("a.html", lambda: b"<div>" * 100_000 + b"x", {COMPLEX}),
    "lists in lists": ("a.json", lambda: b"[" * 100_000 + b"]" * 100_000, {COMPLEX}),
    "one endless line": ("a.csv", lambda: b"a" * 30_000_000, {COMPLEX}),
    "endless columns": ("a.csv", lambda: b"a," * 10_000_000, {COMPLEX}),
    "broken JSON": ("a.json", lambda: b'{"a": 1,\n "b": }', {UNREADABLE}),
}


@pytest.fixture(scope="module")
def parser() -> DocumentParser:
    """Give a parser that has been used: what is loaded at the first use is not the fault of a file."""
    parser = DocumentParser()
    parser.parse("warm.txt", b"The language of these words is guessed by a model, which takes some memory.")
    return parser


def children(pid: int) -> set[str]:
    """Return the processes that a process has started and that are still there, dead ones included."""
    found: set[str] = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found |= set((thread / "children").read_text().split())
    return found


def has_begun(child: Path) -> bool:
    """Tell whether a child has taken its file in: its own time is a second by then."""
    spent = (child / "stat").read_text().rpartition(")")[2].split()[11]
    return int(spent) > os.sysconf("SC_CLK_TCK")


def wait_for(condition: Callable[[], object]) -> bool:
    """Wait until the condition is true, for half a minute at most."""
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def memory() -> int:
    """Return the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    """Give the files ready made: the time that a test has is the parser's alone."""
    return {name: build() for name, (_, build, _) in FILES.items()}


@pytest.mark.timeout(20, func_only=True)  # what each of the files above is promised to take at most
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_in_time_and_leaves_nothing(
    parser: DocumentParser, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    filename, _, codes = FILES[name]
    content = contents[name]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, held = children(os.getpid()), memory()
    with pytest.raises(Invalid) as caught:
        parser.parse(filename, content)
    assert caught.value.code in codes
    assert caught.value.detail.endswith(".")
    assert children(os.getpid()) == before
    assert memory() - held < GROWTH
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(20, func_only=True)
def test_two_that_hang_at_once_are_given_up_in_time(parser: DocumentParser) -> None:
    codes: list[str] = []

    def read() -> None:
        with pytest.raises(Invalid) as caught:
            parser.parse("a.pdf", hostile.looped_pdf())
        codes.append(caught.value.code)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [COMPLEX, COMPLEX]


def test_the_child_puts_its_temporary_files_where_the_server_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    thread = threading.Thread(target=DocumentParser().parse, args=("a.html", b"<p>text"))
    before = children(os.getpid())
    thread.start()
    while thread.is_alive():
        for pid in children(os.getpid()) - before:
            with contextlib.suppress(OSError):
                seen.append((Path("/proc") / pid / "environ").read_text())
    thread.join()
    assert f"TMPDIR={tmp_path}" in "".join(seen)


def test_a_file_for_which_only_changes_are_forbidden_is_read(parser: DocumentParser) -> None:
    assert "for strangers" in parser.parse("a.pdf", hostile.encrypted_pdf("")).text


def test_far_cells_are_found_without_filling_the_space_between(parser: DocumentParser) -> None:
    try:
        text = parser.parse("a.xlsx", hostile.far_cell_xlsx()).text
    except Invalid as fault:
        assert fault.code == COMPLEX
    else:
        assert "7" in text and len(text) < 1_000_000


def test_a_file_that_hangs_the_parser_is_given_up(parser: DocumentParser) -> None:
    before = children(os.getpid())
    with pytest.raises(Invalid) as caught:
        DocumentParser(seconds=2).parse("a.pdf", hostile.looped_pdf())
    assert caught.value.code == COMPLEX
    assert children(os.getpid()) == before


def test_a_file_that_takes_too_much_memory_is_given_up() -> None:
    with pytest.raises(Invalid) as caught:
        DocumentParser(memory=250 * 2**20).parse("a.json", b'"' + b" " * 100_000_000 + b'"')
    assert caught.value.code == COMPLEX  # with more memory it is read, and empty


def test_what_comes_after_a_hostile_file_is_read() -> None:
    parser = DocumentParser(seconds=2, children=1)
    for _ in range(2):
        with pytest.raises(Invalid):
            parser.parse("a.pdf", hostile.looped_pdf())
    assert "service desk" in DocumentParser().parse("a.docx", docx_of(ENGLISH)).text


def test_no_more_children_at_once_than_allowed() -> None:
    parser, before, seen = DocumentParser(children=1), children(os.getpid()), set()
    threads = [threading.Thread(target=parser.parse, args=("a.html", b"<p>Three of these")) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.add(len(children(os.getpid()) - before))
        time.sleep(0.01)
    assert max(seen) == 1


def test_a_killed_server_leaves_no_child() -> None:
    script = (
        "from services.knowledge.parsing import DocumentParser; from tests.corpus.hostile import looped_pdf; "
        "DocumentParser(seconds=100).parse('a.pdf', looped_pdf())"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as server:
        try:
            assert wait_for(lambda: children(server.pid))
            child = Path("/proc") / children(server.pid).pop()
            assert wait_for(lambda: has_begun(child))
        finally:
            server.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not child.exists() or "Z (zombie)" in (child / "status").read_text())
