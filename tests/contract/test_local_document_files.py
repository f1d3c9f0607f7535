"""Document files in a folder of this machine: durable, within their folder, and safe from what else lies there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import Unavailable
from repositories.document_files import LocalDocumentFiles
from tests.contract.document_stores import ASSISTANT, PATH, PROMPT, Folder, content_of
from tests.contract.stores import at_once

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Give a folder that is not there yet."""
    return Folder(tmp_path / "documents")


def limited(folder: Folder, call: str) -> tuple[str, str]:
    """Return what a process that may write files of 1,000 bytes prints when it makes the call."""
    program = f"""
import resource, sys
from pathlib import Path
from models.errors import Unavailable
from repositories.document_files import LocalDocumentFiles
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    LocalDocumentFiles(Path(sys.argv[1])).{call}
except Unavailable as error:
    print(error.code)
"""
    command = [sys.executable, "-c", program, str(folder.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.stdout.strip(), done.stderr


def test_a_full_disk_is_told_and_leaves_nothing(folder: Folder) -> None:
    folder.files.stage(PATH, "r1", b"one")
    folder.files.publish(PATH, "r1")
    folder.files.stage(PATH, "large", b"x" * 5000)
    before = folder.everything()
    told = ("storage_full", "the document store failed\n")
    assert limited(folder, f"stage({PATH!r}, 'r2', b'x' * 5000)") == told
    assert limited(folder, f"publish({PATH!r}, 'large')") == told
    assert folder.everything() == before
    assert not list(folder.root.rglob("publishing-*"))
    assert content_of(folder.files, PATH) == b"one"


def test_links_do_not_lead_out(folder: Folder, tmp_path: Path) -> None:
    files, root, outside = folder.files, folder.root, tmp_path / "outside"
    (outside / "knowledge").mkdir(parents=True)
    (outside / "r1").mkdir()
    (outside / "r1" / "prompt.txt").write_bytes(b"secret")
    (outside / "secret").write_bytes(b"secret")
    (root / ASSISTANT / "knowledge").mkdir(parents=True)
    (root / PATH).symlink_to(outside / "secret")
    (root / ASSISTANT / ".versions").symlink_to(outside)
    (root / ("a" * 24)).symlink_to(outside)
    for filepath in (PATH, f"{'a' * 24}/knowledge/x.md"):
        with pytest.raises(ValueError):
            files.open(filepath)
        with pytest.raises(ValueError):
            files.digest(filepath)
    with pytest.raises(ValueError):
        files.stage(PROMPT, "r1", b"x")
    with pytest.raises(ValueError):
        files.open(PROMPT, "r1")
    for use in (files.delete_of_assistant, files.published):
        with pytest.raises(ValueError):
            use("a" * 24)
    assert list(files.kept()) == []
    assert files.published(ASSISTANT) == {}
    assert (outside / "secret").read_bytes() == b"secret"


def test_what_is_no_file_is_not_there(folder: Folder) -> None:
    files, knowledge = folder.files, folder.root / ASSISTANT / "knowledge"
    (knowledge / "folder.md").mkdir(parents=True)
    os.mkfifo(knowledge / "pipe.md")
    (knowledge / "loop.md").symlink_to("loop.md")
    for name in ("folder.md", "pipe.md", "loop.md"):
        assert files.open(f"{ASSISTANT}/knowledge/{name}") is None
        assert files.digest(f"{ASSISTANT}/knowledge/{name}") is None
    assert files.published(ASSISTANT) == {}


def test_a_file_in_place_has_the_time_of_its_upload(folder: Folder) -> None:
    files = folder.files
    files.stage(PATH, "r1", b"one")
    [kept] = folder.root.rglob(".versions/r1/knowledge/*")
    os.utime(kept, (1_000_000, 1_000_000))
    files.publish(PATH, "r1")
    assert files.published(ASSISTANT)[PATH].modified_at.timestamp() == 1_000_000
    assert [one.age_seconds > 3600 for one in files.kept()] == [True]


def test_recovery_sees_a_publication_that_died_and_finishes_a_deletion_that_did(folder: Folder) -> None:
    died = f"{ASSISTANT}/.versions/publishing-0123/knowledge/a.md"
    folder.put(died, b"ha")
    folder.put(f".deleted-{ASSISTANT}-0123/knowledge/b.md", b"x")
    [found] = folder.files.kept()
    assert (found.filepath, found.revision) == (f"{ASSISTANT}/knowledge/a.md", "publishing-0123")
    assert folder.everything() == [died]
    folder.files.discard(found.filepath, found.revision)
    assert folder.everything() == []


def test_publishing_does_not_bring_a_deleted_folder_back(folder: Folder) -> None:
    files = folder.files
    files.stage(PATH, "r1", b"one")
    files.delete_of_assistant(ASSISTANT)
    files.publish(PATH, "r1")
    assert list(folder.root.iterdir()) == []


def test_a_folder_deleted_during_a_publication_stays_away(folder: Folder) -> None:
    files = folder.files
    acts = (lambda: files.publish(PATH, "r1"), lambda: files.delete_of_assistant(ASSISTANT))
    for _ in range(150):
        files.stage(PATH, "r1", b"one" * 100_000)
        at_once(2, lambda number: acts[number]())
        assert list(folder.root.iterdir()) == []


def test_readiness_names_the_folder_and_no_path(folder: Folder) -> None:
    assert re.fullmatch(r"folder documents, \d+ GiB free", folder.files.ping())


def test_a_root_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "documents").write_bytes(b"a file")
    files = LocalDocumentFiles(tmp_path / "documents")
    with pytest.raises(Unavailable):
        files.stage(PATH, "r1", b"x")
    with pytest.raises(Unavailable):
        files.ping()
