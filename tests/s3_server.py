"""A server that speaks S3's protocol, of a test's own: moto's."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import free_port

_ROOT = Path(__file__).parent.parent
_START_WITHIN = 30.0
_STOP_WITHIN = 10.0


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Run moto's server on a free port of 127.0.0.1, all in memory but its log; give its URL.

    It is no S3, but answers as one, and takes any key. Without it the test is skipped; in CI it fails.
    """
    if any(importlib.util.find_spec(name) is None for name in ("moto", "flask_cors")):
        missing = "moto's server is not installed: pip install -r requirements-dev.txt"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.emulators.moto_in_turn", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=_ROOT,
        )
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_WITHIN
    while True:
        assert process.poll() is None, "moto's server ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "moto's server does not listen"
            time.sleep(0.05)
        else:
            return
