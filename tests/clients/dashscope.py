"""The `dashscope` SDK in two versions, each in an environment of its own, and what it makes of our answers.

`python -m tests.clients.dashscope` makes the environments, in `DASHSCOPE_VENVS` or `~/.cache/orquestra/dashscope`.
Without them the tests are skipped.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import missing

VERSIONS = ("1.25.2", "2.0.2")
"""The one that xiaozhi asks for, and the newest."""

_FOLDER = Path(os.environ.get("DASHSCOPE_VENVS") or Path.home() / ".cache" / "orquestra" / "dashscope")
_SCRIPT = Path(__file__).with_name("dashscope_calls.py")
_SECONDS = 60.0


@dataclass(frozen=True)
class Answered:
    """What a call of the SDK came to.

    Attributes:
        items: the responses: one, or those of a stream.
        raised: the name of the exception that ended it; "" without one.
    """

    items: list[dict[str, Any]]
    raised: str

    @property
    def texts(self) -> list[str | None]:
        """Return the text of each response that is a success."""
        return [item["text"] for item in self.items if item["status_code"] == 200]

    @property
    def last(self) -> dict[str, Any]:
        """Return the last response."""
        assert not self.raised, self.raised
        return self.items[-1]


class Sdk:
    """One version of the SDK, in a process of its own, which makes all the calls: loading it takes most of a second."""

    def __init__(self, version: str, process: "subprocess.Popen[str]", errors: Path) -> None:
        self.version = version
        self._process = process
        self._errors = errors

    def call(self, base_url: str, *calls: dict[str, Any]) -> list[Answered]:
        """Make calls of `Application.call` with these arguments, one after the other."""
        assert self._process.stdin is not None and self._process.stdout is not None
        given_up = threading.Timer(_SECONDS, self._process.kill)
        given_up.start()
        try:
            self._process.stdin.write(json.dumps({"base_url": base_url, "calls": calls}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            given_up.cancel()
        assert line, self._errors.read_text()[-4000:]
        return [Answered(**one) for one in json.loads(line)]


@contextlib.contextmanager
def opened(version: str, folder: Path) -> Iterator[Sdk]:
    """Run a version of the SDK; `folder` keeps what it writes to standard error."""
    python = _FOLDER / version / "bin" / "python"
    if not python.is_file():
        missing("dashscope is not installed: run `.venv/bin/python -m tests.clients.dashscope`")
    # -P, because this file, which lies beside the script, has the SDK's name
    command = [str(python), "-P", str(_SCRIPT)]
    variables = {"PATH": os.defpath, "HOME": str(_FOLDER)}
    errors = folder / "errors"
    with (
        errors.open("w") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=variables
        ) as process,
    ):
        yield Sdk(version, process, errors)


def install() -> None:
    """Make the environments, as far as they are not there."""
    for version in VERSIONS:
        place = _FOLDER / version
        if not (place / "installed").is_file():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, f"dashscope=={version}"], check=True)
            (place / "installed").touch()


if __name__ == "__main__":
    install()
