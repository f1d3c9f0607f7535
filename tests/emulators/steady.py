"""Check requests against OpenAI's own description of its API, by Steady (`@stdy/cli`), which tests OpenAI's SDKs too.

Steady answers at random and keeps nothing: it is a witness of the shape of what we send, and of nothing else. The
description is the one that OGX is developed against; it is in OGX's source archive on PyPI. It is kept outside of the
project, in `OPENAI_SPEC` (default `~/.cache/orquestra/openai-spec-2.3.0.yml`), where `python -m tests.emulators.steady`
puts it. Without it, or without Steady, the tests are skipped.
"""

import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.emulators.ogx_archive import take
from tests.emulators.openai_wire import Recorded
from tests.servers import free_port, missing

_MEMBER = "docs/static/openai-spec-2.3.0.yml"
_SHA256 = "0cdb353dd22b3df487da972137f3e1c7ec55d03045cd2e830ff22674e39a4477"
_SPEAKING = {"CI", "GITHUB_ACTIONS"}
"""With these it writes for a CI system, and not that it is ready."""
_SPEC = Path(os.environ.get("OPENAI_SPEC") or Path.home() / ".cache" / "orquestra" / "openai-spec-2.3.0.yml")
_FAULT = """
            oneOf:
              - $ref: '#/components/schemas/ComparisonFilter'
              - $recursiveRef: '#'
            discriminator:
              propertyName: type
"""
_CORRECTION = """
            oneOf:
              - $ref: '#/components/schemas/ComparisonFilter'
              - $ref: '#/components/schemas/CompoundFilter'
"""
"""The description's discriminator has no mapping, so it would want names of schemas where `lte` and `and` stand."""
_MODULES = Path(__file__).parent / "node_modules" / "@stdy"
_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}
_CHECKED_HEADERS = frozenset({"authorization", "content-type"})
_START_SECONDS = 30.0


@dataclass(frozen=True)
class SteadyServer:
    """A running checker."""

    url: str

    def problems(self, request: Recorded) -> list[str]:
        """Return what the description says against a request, each with its place; empty if nothing."""
        path = request.path.removeprefix("/v1")  # the description's paths begin behind it
        headers = {name: value for name, value in request.headers.items() if name in _CHECKED_HEADERS}
        answer = httpx2.request(
            request.method, f"{self.url}{path}", content=request.content, headers=headers, timeout=20
        )
        said = answer.headers
        assert "x-steady-error-count" in said or "x-steady-request-valid" in said, f"{path}: {answer.text}"
        found = range(1, int(said.get("x-steady-error-count", "0")) + 1)
        return [f"{said.get(f'x-steady-error-{n}-path')}: {said.get(f'x-steady-error-{n}-message')}" for n in found]


@contextlib.contextmanager
def steady() -> Iterator[SteadyServer]:
    """Run a checker on a free port of the loopback address and end it afterwards.

    Without the program or the description the test is skipped; under CI it fails.
    """
    program = _program()
    if not program.is_file():
        missing("Steady is not installed: run `npm ci --ignore-scripts` in tests/emulators")
    if not _SPEC.is_file():
        missing("OpenAI's API description is not there: run `.venv/bin/python -m tests.emulators.steady`")
    with tempfile.TemporaryDirectory(prefix="steady") as folder:
        port, log, spec = free_port(), Path(folder, "log"), Path(folder, "openapi.yml")
        faulty = _SPEC.read_text(encoding="utf-8")
        assert faulty.count(_FAULT) == 1
        spec.write_text(faulty.replace(_FAULT, _CORRECTION), encoding="utf-8")
        command = [str(program), "--port", str(port), "--no-color", str(spec)]
        with log.open("wb") as output:
            env = {name: value for name, value in os.environ.items() if name not in _SPEAKING}
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=env)
        try:
            _wait(process, log)
            yield SteadyServer(f"http://127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()


def install() -> None:
    """Fetch the description, unless it is there."""
    take(_MEMBER, _SHA256, _SPEC)


def _program() -> Path:
    """Return the program itself: ending the script that starts it would leave it running."""
    machine = platform.machine()
    return _MODULES / f"cli-{sys.platform}-{_ARCHITECTURES.get(machine, machine)}" / "bin" / "steady"


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if "accept requests" in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.05)
    raise RuntimeError(f"Steady did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")


if __name__ == "__main__":
    install()
