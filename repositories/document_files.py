"""The bytes of documents in a local folder; document_keys.py says which lies where.

A revision is put in the file's place as a copy, by one rename. A hard link would save that copy, but then an editor
that writes in place would change the revision as well, mode 0444 or not (root, vim's `:w!`, `cp` and `>>` in a
container), and nothing would be left to restore. Every step is made durable (file and folder) before the next: POSIX,
rename(2) and fsync(2).
"""

import errno
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import file_digest
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO

from models.documents import PublishedFile, StoredVersion
from models.errors import Unavailable
from models.prompts import PROMPT_FILENAMES
from repositories.document_keys import (
    VERSIONS,
    kept_key,
    parse_kept_key,
    require_assistant_id,
    require_filepath,
)

logger = logging.getLogger("orquestra.documents")

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DELETED = ".deleted-"
_TRIES = 5
_CHUNK = 1 << 20
_GIB = 1 << 30


class LocalDocumentFiles:
    """Documents under one folder of this machine, or of a file system that all servers share."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def ping(self) -> str:
        """Return the folder's name and how much room there is.

        Raises:
            Unavailable: it cannot be made or written to.
        """
        with _explained():
            _make_folder(self._root)
            if not os.access(self._root, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return f"folder {self._root.name}, {shutil.disk_usage(self._root).free // _GIB} GiB free"

    def stage(self, filepath: str, revision: str, content: bytes) -> None:
        """Keep the bytes of a revision durably, not yet visible in the file's place."""
        kept = self._kept_path(filepath, revision)
        with _explained():
            try:
                _write(kept, content)
            except OSError:
                _remove(kept)
                raise

    def publish(self, filepath: str, revision: str) -> None:
        """Put a kept revision in the file's place, atomically; it is kept all the same. Without it, do nothing.

        The draft lies among the revisions, under a name that no record has: so a deletion of the folder takes it
        along, and recovery finds it after a crash.
        """
        kept, target = self._kept_path(filepath, revision), self._path(filepath)
        draft = self._kept_path(filepath, f"publishing-{secrets.token_hex(8)}")
        with _explained():
            try:
                with kept.open("rb") as source:
                    _place(source, draft, target)
            except FileNotFoundError:
                if kept.exists():
                    raise
                return  # it is not kept, or was deleted meanwhile, perhaps with the whole folder
            finally:
                _remove(draft)

    def discard(self, filepath: str, revision: str) -> None:
        """Drop a kept revision; an absent one is no error."""
        kept = self._kept_path(filepath, revision)
        with _explained():
            _remove(kept)

    def open(self, filepath: str, revision: str | None = None) -> BinaryIO | None:
        """Open a kept revision for reading, or the file in its place for None; None if it is not there."""
        path = self._path(filepath) if revision is None else self._kept_path(filepath, revision)
        with _explained():
            if not path.is_file():  # opening a pipe would wait for ever
                return None
            try:
                return path.open("rb")
            except FileNotFoundError:
                return None

    def delete(self, filepath: str, revisions: Iterable[str]) -> None:
        """Delete the file and these revisions; absent ones are no error."""
        path, kept = self._path(filepath), [self._kept_path(filepath, revision) for revision in revisions]
        with _explained():
            for one in kept:
                _remove(one)
            with suppress(FileNotFoundError):
                path.unlink()
                _sync_folder(path.parent)

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete the whole folder of an assistant."""
        folder = self._folder(assistant_id)
        doomed = self._root / f"{_DELETED}{assistant_id}-{secrets.token_hex(4)}"
        with _explained():
            try:
                folder.rename(doomed)  # at once, so that an upload that goes on does not fill what is being emptied
            except FileNotFoundError:
                return
            with suppress(FileNotFoundError):  # recovery is at it too
                shutil.rmtree(doomed)
            _sync_folder(self._root)

    def kept(self) -> Iterator[StoredVersion]:
        """Yield every kept revision, for recovery after a crash; finish deletions that were cut short."""
        with _explained():
            for assistant in _entries(self._root):
                if assistant.startswith(_DELETED):
                    shutil.rmtree(self._root / assistant, ignore_errors=True)
                for key in self._kept_keys(assistant):
                    if (found := parse_kept_key(key)) and (about := self._stat(key)):
                        yield StoredVersion(*found, age_seconds=max(0.0, time.time() - about.st_mtime))

    def published(self, assistant_id: str) -> Mapping[str, PublishedFile]:
        """Return filepath -> file of everything that lies in its place for an assistant, whoever put it there."""
        folder = self._folder(assistant_id)
        found: dict[str, PublishedFile] = {}
        with _explained():
            for name in (*PROMPT_FILENAMES, *(f"knowledge/{name}" for name in _entries(folder / "knowledge"))):
                filepath = f"{assistant_id}/{name}"
                if "/." not in filepath and (about := self._stat(filepath)):
                    found[filepath] = PublishedFile(about.st_size, datetime.fromtimestamp(about.st_mtime, UTC))
        return found

    def digest(self, filepath: str) -> str | None:
        """Return the SHA-256 of the file in its place, in hex; None if there is none."""
        file = self.open(filepath)
        if file is None:
            return None
        with _explained(), file:
            return file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants a narrower file

    def _kept_keys(self, assistant_id: str) -> Iterator[str]:
        versions = f"{assistant_id}/{VERSIONS}"
        for revision in _entries(self._root / versions):
            for name in _entries(self._root / versions / revision):
                yield f"{versions}/{revision}/{name}"
            for name in _entries(self._root / versions / revision / "knowledge"):
                yield f"{versions}/{revision}/knowledge/{name}"

    def _path(self, filepath: str) -> Path:
        """Return where a file lies.

        Raises:
            ValueError: it is no document's path, or a symbolic link leads out of the assistant's folder.
        """
        return self._inside(self._root / require_filepath(filepath))

    def _kept_path(self, filepath: str, revision: str) -> Path:
        return self._inside(self._root / kept_key(filepath, revision))

    def _folder(self, assistant_id: str) -> Path:
        folder = self._root / require_assistant_id(assistant_id)
        if os.path.realpath(folder) != str(folder):
            raise ValueError(f"a link leads out of the folder: {assistant_id!r}")
        return folder

    def _inside(self, path: Path) -> Path:
        folder = self._folder(path.relative_to(self._root).parts[0])
        if not Path(os.path.realpath(path)).is_relative_to(folder):
            raise ValueError(f"a link leads out of the folder: {path.name!r}")
        return path

    def _stat(self, key: str) -> os.stat_result | None:
        """Return what the system knows of a file; None for anything else, and for what lies outside."""
        with suppress(ValueError, FileNotFoundError, NotADirectoryError):
            path = self._inside(self._root / key)
            return path.stat() if path.is_file() else None
        return None


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        logger.warning("the document store failed", extra={"error": errno.errorcode.get(error.errno or 0, "unknown")})
        if error.errno in _FULL:
            raise Unavailable(
                "The document store is full. Free some space, then send the file again.", code="storage_full"
            ) from error
        raise Unavailable("The document store cannot be used now. Try again later.") from error


def _write(path: Path, content: bytes) -> None:
    """Write a new file and make it durable."""
    with _create(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def _create(path: Path) -> BinaryIO:
    """Open a new file; another process may drop the empty folder between its making and that."""
    for _ in range(_TRIES):
        _make_folder(path.parent)
        try:
            return path.open("wb")
        except FileNotFoundError:
            continue
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _place(source: BinaryIO, draft: Path, target: Path) -> None:
    """Copy an open file to the draft and rename that to the target, with the time at which the source was written.

    Raises:
        FileNotFoundError: the assistant's folder was deleted meanwhile; it is not made again.
    """
    below = list(takewhile(lambda folder: folder.name != VERSIONS, draft.parents))
    for folder in (*reversed(below), target.parent):
        folder.mkdir(exist_ok=True)
    with draft.open("xb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
        file.flush()
        os.fsync(file.fileno())
        os.replace(draft, target)
        written = os.fstat(source.fileno()).st_mtime_ns
        os.utime(file.fileno(), ns=(written, written))  # only now: a draft that looked old would be put away
    _sync_folder(target.parent)
    _sync_folder(target.parent.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it durably."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _remove(kept: Path) -> None:
    """Delete a kept file and the folders of its revision that are empty now."""
    kept.unlink(missing_ok=True)
    folder = kept.parent
    while folder.name != VERSIONS:
        try:
            folder.rmdir()
        except OSError:
            return  # another file of the same revision is there, or somebody else was faster
        folder = folder.parent


def _entries(folder: Path) -> list[str]:
    """Return the names of what is in a folder, sorted; none when it is not there (any more)."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
