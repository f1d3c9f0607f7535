"""Several commands of `python main.py` in one process, as most of a short command's time is its start."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.running import ROOT

_SCRIPT = """
import contextlib, io, json, sys
from main import commands, run
ended = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run(lambda: commands(arguments))
        except SystemExit as exit:
            code = exit.code
    ended.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(ended))
"""


def one_after_another(
    env: Mapping[str, str], folder: Path, *commands: Sequence[object]
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands in a folder, and return how each of them ended."""
    lines = [[str(argument) for argument in command] for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(lines)],
        env={**env, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    ended = zip(lines, json.loads(done.stdout), strict=True)
    return [subprocess.CompletedProcess(line, code, out, err) for line, (code, out, err) in ended]
