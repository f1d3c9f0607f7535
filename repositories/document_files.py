"""The bytes of documents in a local folder: `<assistant id>/knowledge/<name>` and `<assistant id>/prompt.txt` below it.

A new revision waits in `<assistant id>/.staged/<revision>/`, on the same file system, and takes the file's place by
one rename. Every step is made durable (file and folder) before the next: POSIX, rename(2) and fsync(2).
"""

import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from models.documents import StagedFile
from models.errors import Unavailable

logger = logging.getLogger("orquestra.documents")

_FILEPATH = re.compile(r"[0-9a-f]{24}/(?:prompt\.txt|knowledge/[^./\\\0][^/\\\0]*)")
_REVISION = re.compile(r"[A-Za-z0-9_-]{1,100}")
_STAGED = ".staged"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TRIES = 5


class LocalDocumentFiles:
    """Documents under one folder of this machine, or of a file system that all servers share."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def stage(self, filepath: str, revision: str, content: bytes) -> None:
        """Write the bytes of a revision durably beside the file, not yet visible in its place."""
        target = self._staged_path(filepath, revision)
        with _explained():
            try:
                _write(target, content)
            except OSError:
                _remove(target)
                raise

    def publish(self, filepath: str, revision: str) -> None:
        """Put a staged revision in the file's place, atomically. Without a staged one, do nothing."""
        staged, target = self._staged_path(filepath, revision), self._path(filepath)
        with _explained():
            if not staged.is_file():
                return
            _make_folder(target.parent)
            try:
                os.replace(staged, target)
            except FileNotFoundError:
                if staged.exists():
                    raise
                return  # somebody else has just published it
            _sync_folder(target.parent)
            _remove(staged)

    def discard(self, filepath: str, revision: str) -> None:
        """Drop a staged revision."""
        staged = self._staged_path(filepath, revision)
        with _explained():
            _remove(staged)

    def open(self, filepath: str) -> BinaryIO | None:
        """Open the published bytes for reading; None if there are none."""
        path = self._path(filepath)
        with _explained():
            try:
                return path.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def delete(self, filepath: str) -> None:
        """Delete the published bytes; absent ones are no error."""
        path = self._path(filepath)
        with _explained():
            path.unlink(missing_ok=True)

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete the whole folder of an assistant."""
        folder = self._path(f"{assistant_id}/prompt.txt").parent
        doomed = self._root / f".deleted-{assistant_id}-{secrets.token_hex(4)}"
        with _explained():
            try:
                folder.rename(doomed)  # at once, so that an upload that goes on does not fill what is being emptied
            except FileNotFoundError:
                return
            shutil.rmtree(doomed)
            _sync_folder(self._root)

    def staged(self) -> Iterator[StagedFile]:
        """Yield everything that is staged, for recovery after a crash."""
        with _explained():
            for path in sorted(self._root.glob(f"*/{_STAGED}/*/**/*")):
                try:
                    written = path.stat().st_mtime
                except FileNotFoundError:
                    continue
                assistant_id, _, revision, *rest = path.relative_to(self._root).parts
                filepath = "/".join((assistant_id, *rest))
                if path.is_file() and _FILEPATH.fullmatch(filepath) and _REVISION.fullmatch(revision):
                    yield StagedFile(filepath, revision, max(0.0, time.time() - written))

    def _path(self, filepath: str) -> Path:
        """Return where a file lies.

        Raises:
            ValueError: it is not one of the two kinds of paths, or a symbolic link leads out of the assistant's folder.
        """
        if not _FILEPATH.fullmatch(filepath) or len(os.fsencode(filepath.rpartition("/")[2])) > 255:
            raise ValueError(f"not the path of a document: {filepath!r}")
        return self._inside(self._root / filepath)

    def _staged_path(self, filepath: str, revision: str) -> Path:
        self._path(filepath)
        if not _REVISION.fullmatch(revision):
            raise ValueError(f"not a revision: {revision!r}")
        assistant_id, _, rest = filepath.partition("/")
        return self._inside(self._root / assistant_id / _STAGED / revision / rest)

    def _inside(self, path: Path) -> Path:
        folder = self._root / path.relative_to(self._root).parts[0]
        if folder.resolve() != folder or not path.resolve().is_relative_to(folder):
            raise ValueError(f"a link leads out of the folder: {path.name!r}")
        return path


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


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it durably."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _remove(staged: Path) -> None:
    """Delete a staged file and the folders of its revision that are empty now."""
    staged.unlink(missing_ok=True)
    folder = staged.parent
    while folder.name != _STAGED:
        try:
            folder.rmdir()
        except OSError:
            return  # another file of the same revision is there, or somebody else was faster
        folder = folder.parent


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
