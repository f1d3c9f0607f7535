"""The servers below ours in a chaos run, to be killed and started again: Redis, the store's server."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pymongo
import pymongo.errors
import redis

from repositories.embedded_redis_keeper import READY_WITHIN

_FIRST_PORT, _LAST_PORT = 20_000, 30_000
"""Below the ports that outgoing connections get, so that none takes one while its server is away."""

_LOOK_SECONDS = 0.05


class Backend:
    """A server of our own on a port of its own; a context manager that starts it and ends it.

    Args:
        command: starts it.
        answers: tells whether it does.
    """

    def __init__(self, command: Sequence[str], folder: Path, answers: Callable[[], bool]) -> None:
        self._command = command
        self._folder = folder
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Backend":
        """Start it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._end()

    def bounce(self) -> None:
        """Kill it, start it again, and return when it answers."""
        self._end()
        self._start()

    def _start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self._folder
            )
        wait_until(self._answers, f"{self._command[0]} does not answer; see {self._folder / 'log'}")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def redis_backend(folder: Path, port: int) -> Backend:
    """Return a Redis whose data outlive it."""
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    options = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
    return Backend([*command, *options], folder, lambda: redis_answers(f"redis://127.0.0.1:{port}/0"))


def store_backend(folder: Path, port: int) -> Backend:
    """Return a SecantusDB with its journal."""
    binary = shutil.which("secantusd-py", path=str(Path(sys.executable).parent)) or "secantusd-py"
    command = [binary, "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder / "data")]
    return Backend([*command, "--log-level", "WARNING"], folder, lambda: _mongo_answers(port))


def redis_process(url: str) -> int | None:
    """Return the process id of the Redis that answers at a URL; None while none does."""
    with contextlib.closing(redis.Redis.from_url(url, socket_timeout=1)) as client:
        try:
            return int(client.info("server")["process_id"])
        except redis.RedisError:
            return None


def redis_answers(url: str) -> bool:
    """Tell whether there is a Redis at a URL."""
    return redis_process(url) is not None


def wait_until(answers: Callable[[], bool], otherwise: str) -> None:
    """Return when something answers.

    Raises:
        RuntimeError: it does not for too long.
    """
    end = time.monotonic() + READY_WITHIN
    while not answers():
        if time.monotonic() > end:
            raise RuntimeError(otherwise)
        time.sleep(_LOOK_SECONDS)


def free_port(chance: Random) -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on, and that no outgoing connection will get."""
    while True:
        port = chance.randrange(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def _mongo_answers(port: int) -> bool:
    with pymongo.MongoClient[dict[str, object]]("127.0.0.1", port, serverSelectionTimeoutMS=300) as client:
        try:
            client.admin.command("ping")
        except pymongo.errors.PyMongoError:
            return False
    return True
