"""Start `@copilotkit/aimock`, an OpenAI emulator that this project did not write, as a child process."""

import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.emulators.node import node
from tests.servers import missing

_FOLDER = Path(__file__).parent
_PROGRAM = _FOLDER / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
_START_SECONDS = 15.0

Fixture = Mapping[str, Any]
"""`{"match": {"userMessage": ...}, "response": {"content": ...} | {"error": ..., "status": ...}}`, and so on."""


@dataclass(frozen=True)
class AimockServer:
    """A running emulator.

    Attributes:
        url: its root; `base_url` is what an OpenAI client wants.
    """

    url: str

    @property
    def base_url(self) -> str:
        """Return the address for `openai.OpenAI(base_url=...)`."""
        return f"{self.url}/v1"

    def fail_next(self, status: int, message: str = "injected failure") -> None:
        """Answer the next request with this status."""
        self._control("POST", "error", {"status": status, "body": {"message": message}})

    def chaos(self, **rates: float) -> None:
        """Set `dropRate`, `malformedRate`, `disconnectRate`, `rateLimitRate` (0 to 1) or `latencyMs`."""
        self._control("POST", "chaos", dict(rates))

    def add_fixtures(self, *fixtures: Fixture) -> None:
        """Teach it more answers."""
        self._control("POST", "fixtures", {"fixtures": list(fixtures)})

    def reset(self) -> None:
        """Forget fixtures, errors and the journal."""
        self._control("POST", "reset", {})
        self._control("DELETE", "chaos", None)

    def journal(self) -> list[dict[str, Any]]:
        """Return the requests so far, oldest first, each with its `body` and `headers`."""
        return list(self._control("GET", "journal", None))

    def _control(self, method: str, what: str, body: object) -> Any:
        response = httpx2.request(method, f"{self.url}/__aimock/{what}", json=body, timeout=5.0)
        assert response.is_success, response.text
        return response.json()


@contextlib.contextmanager
def aimock(fixtures: Sequence[Fixture] = (), *, chunk_size: int = 8) -> Iterator[AimockServer]:
    """Run an emulator on a free port of the loopback address and end it afterwards.

    Without node or the installed package the test is skipped; under CI it fails.
    """
    command = [node(), str(_program()), "--port", "0", "--chunk-size", str(chunk_size)]
    with tempfile.TemporaryDirectory(prefix="aimock") as folder:
        path = Path(folder, "fixtures.json")
        path.write_text(json.dumps({"fixtures": list(fixtures) or [_UNASKED]}), encoding="utf-8")
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen([*command, "--fixtures", str(path)], stdout=output, stderr=output, cwd=folder)
        try:
            yield AimockServer(_address(process, log))
        finally:
            process.kill()
            process.wait()


_UNASKED: Fixture = {"match": {"userMessage": "a question that no test asks"}, "response": {"content": "unasked"}}


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the line that names the address."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"listening on (http://\S+)", log.read_text(encoding="utf-8"))
        if found:
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"aimock did not start:\n{log.read_text(encoding='utf-8')}")


def _program() -> Path:
    if not _PROGRAM.is_file():
        missing("aimock is not installed: run `npm ci --ignore-scripts` in tests/emulators")
    return _PROGRAM
