"""Child processes that talk to us over their standard input and output, and see nothing of our settings."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from models.errors import Unavailable

_ROOT = Path(__file__).resolve().parents[1]


def start_child(command: Sequence[str], purpose: str) -> "subprocess.Popen[bytes]":
    """Start a program in a session of its own, in the project's folder.

    Args:
        purpose: what the caller is told that it was for, such as "to read the file".

    Raises:
        Unavailable: no process could be started.
    """
    try:
        return subprocess.Popen(
            command,
            cwd=_ROOT,
            env={"TMPDIR": tempfile.gettempdir()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"No process could be started {purpose}. Try again in a moment.") from error
