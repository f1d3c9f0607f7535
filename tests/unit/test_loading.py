"""What a start loads: nothing that its settings do not ask for, each time in a process of its own."""

import subprocess
import sys

import pytest

from bench.running import ROOT

SPEECH = ("av", "espeakng_loader", "pocketsphinx", "websockets")


@pytest.mark.parametrize(
    ("started", "unneeded"),
    [
        ("main", ("mcp", "mcp_types", "openai", "pydantic", "bs4", "py3langid", "boto3", *SPEECH)),
        ("services.knowledge.reading", ("openai", "xberg", "py3langid", "numpy")),
    ],
)
def test_what_only_some_need_is_not_loaded_by_all(started: str, unneeded: tuple[str, ...]) -> None:
    script = f"import {started}, sys; print([one for one in {unneeded} if one in sys.modules])"
    assert output_of(script) == "[]\n"


def test_garbage_is_looked_for_again_once_a_server_is_loaded() -> None:
    assert output_of("import gc, main; print(gc.isenabled())") == "True\n"


def output_of(script: str) -> str:
    """Return what a Python program writes."""
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
