"""The bytes of documents on a local disk: atomic, durable, and never outside their folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import Unavailable
from repositories.document_files import LocalDocumentFiles

ROOT = Path(__file__).parents[2]
ASSISTANT = "0123456789abcdef01234567"
PATH = f"{ASSISTANT}/knowledge/férias 年假.md"
PROMPT = f"{ASSISTANT}/prompt.txt"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "documents"


@pytest.fixture
def files(root: Path) -> LocalDocumentFiles:
    return LocalDocumentFiles(root)


def content_of(files: LocalDocumentFiles, filepath: str = PATH) -> bytes | None:
    """Return the published bytes."""
    file = files.open(filepath)
    if file is None:
        return None
    with file:
        return file.read()


def everything(root: Path) -> list[str]:
    """Return the files below a folder."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("filepath", [PATH, PROMPT])
def test_a_staged_file_is_seen_once_it_is_published(files: LocalDocumentFiles, root: Path, filepath: str) -> None:
    files.stage(filepath, "r1", b"one")
    assert content_of(files, filepath) is None
    files.publish(filepath, "r1")
    assert content_of(files, filepath) == b"one"
    assert everything(root) == [filepath]
    assert list(files.staged()) == []


def test_the_old_content_stays_until_the_new_is_published(files: LocalDocumentFiles) -> None:
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    files.stage(PATH, "r2", b"two")
    assert content_of(files) == b"one"
    file = files.open(PATH)
    files.publish(PATH, "r2")
    assert content_of(files) == b"two"
    assert file is not None
    with file:
        assert file.read() == b"one"


def test_publishing_twice_or_nothing_changes_nothing(files: LocalDocumentFiles) -> None:
    files.publish(PATH, "r1")
    assert content_of(files) is None
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    files.publish(PATH, "r1")
    assert content_of(files) == b"one"


def test_a_discarded_revision_is_gone(files: LocalDocumentFiles, root: Path) -> None:
    files.stage(PATH, "r1", b"one")
    files.discard(PATH, "r1")
    files.discard(PATH, "r1")
    files.publish(PATH, "r1")
    assert content_of(files) is None
    assert everything(root) == []


def test_one_revision_may_name_two_files(files: LocalDocumentFiles) -> None:
    files.stage(PATH, "r1", b"one")
    files.stage(PROMPT, "r1", b"two")
    files.publish(PATH, "r1")
    files.publish(PROMPT, "r1")
    assert (content_of(files), content_of(files, PROMPT)) == (b"one", b"two")


def test_staged_files_tell_their_age(files: LocalDocumentFiles, root: Path) -> None:
    files.stage(PATH, "r1", b"one")
    files.stage(PROMPT, "r2", b"two")
    old = next(path for path in root.rglob("prompt.txt"))
    os.utime(old, (1, 1))
    found = {(staged.filepath, staged.revision): staged.age_seconds for staged in files.staged()}
    assert set(found) == {(PATH, "r1"), (PROMPT, "r2")}
    assert 0 <= found[PATH, "r1"] < 60 and found[PROMPT, "r2"] > 3600


def test_deleting(files: LocalDocumentFiles, root: Path) -> None:
    files.delete(PATH)
    files.delete_of_assistant(ASSISTANT)
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    files.delete(PATH)
    assert content_of(files) is None
    files.stage(PATH, "r1", b"one")
    files.stage(f"{'f' * 24}/prompt.txt", "r1", b"other")
    files.delete_of_assistant(ASSISTANT)
    assert everything(root) == [f"{'f' * 24}/.staged/r1/prompt.txt"]


@pytest.mark.parametrize(
    "filepath",
    [
        "", "/etc/passwd", "../x", f"{ASSISTANT}", f"{ASSISTANT}/", f"{ASSISTANT}/x.txt", f"{ASSISTANT}/knowledge/",
        f"{ASSISTANT}/knowledge/..", f"{ASSISTANT}/knowledge/.hidden", f"{ASSISTANT}/knowledge/a/b",
        f"{ASSISTANT}/knowledge/a\\b", f"{ASSISTANT}/knowledge/a\0", f"{ASSISTANT}/../x/prompt.txt",
        f"{ASSISTANT[:-1]}/prompt.txt", f"{ASSISTANT.upper()}/prompt.txt", f"/{PROMPT}", f"{PROMPT}\n",
        f"{ASSISTANT}/.staged/r1/prompt.txt", f"{ASSISTANT}/knowledge/{'a' * 256}",
    ],
)  # fmt: skip
def test_other_paths_are_refused(files: LocalDocumentFiles, root: Path, filepath: str) -> None:
    for use in (files.open, files.delete):
        with pytest.raises(ValueError):
            use(filepath)
    with pytest.raises(ValueError):
        files.stage(filepath, "r1", b"x")
    assert not root.exists()


@pytest.mark.parametrize("revision", ["", ".", "..", "a/b", "a" * 101, "é", "r1\n"])
def test_other_revisions_are_refused(files: LocalDocumentFiles, revision: str) -> None:
    with pytest.raises(ValueError):
        files.stage(PATH, revision, b"x")


def test_links_do_not_lead_out(files: LocalDocumentFiles, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "knowledge").mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    (root / ASSISTANT / "knowledge").mkdir(parents=True)
    (root / PATH).symlink_to(outside / "secret")
    (root / ASSISTANT / ".staged").symlink_to(outside)
    (root / ("a" * 24)).symlink_to(outside)
    for filepath in (PATH, f"{'a' * 24}/knowledge/x.md"):
        with pytest.raises(ValueError):
            files.open(filepath)
    with pytest.raises(ValueError):
        files.stage(PROMPT, "r1", b"x")
    with pytest.raises(ValueError):
        files.delete_of_assistant("a" * 24)
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_full_disk_is_told_and_leaves_nothing(files: LocalDocumentFiles, root: Path) -> None:
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    program = f"""
import resource, sys
from pathlib import Path
from models.errors import Unavailable
from repositories.document_files import LocalDocumentFiles
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    LocalDocumentFiles(Path(sys.argv[1])).stage({PATH!r}, "r2", b"x" * 5000)
except Unavailable as error:
    print(error.code)
"""
    command = [sys.executable, "-c", program, str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("storage_full", "the document store failed\n")
    assert everything(root) == [PATH]
    assert content_of(files) == b"one"


def test_a_root_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "documents").write_bytes(b"a file")
    with pytest.raises(Unavailable):
        LocalDocumentFiles(tmp_path / "documents").stage(PATH, "r1", b"x")
