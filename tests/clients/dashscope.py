"""The `dashscope` SDK in two versions, each in an environment of its own, and what it makes of our answers.

`python -m tests.clients.dashscope` makes the environments, in `DASHSCOPE_VENVS` or `~/.cache/orquestra/dashscope`.
Without them the tests are skipped.
"""

import json
import os
import subprocess
import sys
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


@dataclass(frozen=True)
class Sdk:
    """One version of the SDK."""

    version: str

    def call(self, base_url: str, *calls: dict[str, Any]) -> list[Answered]:
        """Make calls of `Application.call` with these arguments, one after the other in one process."""
        python = _FOLDER / self.version / "bin" / "python"
        if not python.is_file():
            missing("dashscope is not installed: run `.venv/bin/python -m tests.clients.dashscope`")
        # -P, because this file, which lies beside the script, has the SDK's name
        done = subprocess.run(
            [str(python), "-P", str(_SCRIPT)], input=json.dumps({"base_url": base_url, "calls": calls}).encode(),
            capture_output=True, timeout=_SECONDS, env={"PATH": os.defpath, "HOME": str(_FOLDER)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-4000:]
        return [Answered(**one) for one in json.loads(done.stdout)]


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
