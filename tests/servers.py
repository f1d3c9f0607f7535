"""A MongoDB-like server of a test's own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

_START_WITHIN = 30.0
_STOP_WITHIN = 20.0


def secantus_binary() -> str | None:
    """Return the path of SecantusDB's launcher, beside this Python or on the PATH."""
    return shutil.which("secantusd-py", path=str(Path(sys.executable).parent)) or shutil.which("secantusd-py")


@contextmanager
def secantus_server(folder: Path) -> Iterator[str]:
    """Run SecantusDB on a free port of 127.0.0.1 with its files in the folder; give its URI.

    It is no MongoDB, but speaks its protocol. Without it the test is skipped; in CI it fails.
    """
    binary = secantus_binary()
    if binary is None:
        missing = "SecantusDB is not installed: pip install -r requirements-dev.txt"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    address = ["--host", "127.0.0.1", "--port", str(port)]
    with (folder / "secantus.log").open("wb") as log:
        process = subprocess.Popen(
            [binary, *address, "--storage-path", str(folder / "data"), "--log-level", "WARNING"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            _wait_for(port, process)
            yield f"mongodb://127.0.0.1:{port}/?w=1&journal=true"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def missing(what: str) -> NoReturn:
    """Skip the test that needs something which is not installed here; under CI it fails."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_WITHIN
    while True:
        assert process.poll() is None, "SecantusDB ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "SecantusDB does not listen"
            time.sleep(0.05)
        else:
            return
