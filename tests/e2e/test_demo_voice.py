"""`make demo-voice` for real, and its MP3 in three decoders: PyAV, ffmpeg and a browser."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest

from bench.demo_voice import seconds_of
from bench.running import ROOT
from tests.clients.browser_sounds import in_browser
from tests.corpus.sounds import ffmpeg
from tests.e2e.conftest import BROWSER
from tests.servers import missing

_RATE = 24_000
_SAME = 0.15  # seconds that decoders may differ in
_CHARACTERS_A_SECOND = (10, 25)
"""How fast people speak, and espeak-ng."""


@dataclass(frozen=True)
class Run:
    """What the demo printed, and what it saved."""

    said: str
    answer: bytes

    def line(self, name: str) -> str:
        """Return what stands behind a name."""
        found = re.search(rf"^{name}: +(.*)$", self.said, re.MULTILINE)
        assert found, self.said
        return found[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the target in an empty folder, with what is installed here as what it would install."""
    folder, make = tmp_path_factory.mktemp("demo"), which("make") or missing("install make")
    installed = f"{sys.prefix}/.installed"
    command = [make, "-f", str(ROOT / "Makefile"), f"--old-file={installed}", f"VENV={sys.prefix}", "demo-voice"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    saved = Path("var", "answer.mp3")
    assert f"Saved as {saved}" in done.stdout
    return Run(done.stdout, (folder / saved).read_bytes())


def _by_ffmpeg(mp3: bytes) -> float:
    command = [ffmpeg(), "-v", "error", "-xerror", "-i", "-", "-f", "s16le", "-ac", "1", "-ar", str(_RATE), "-"]
    return len(subprocess.run(command, input=mp3, capture_output=True, check=True).stdout) / (2 * _RATE)


def test_the_question_is_heard_and_answered(run: Run) -> None:
    assert run.line("Transcript") == "can i buy additional vacation days"
    assert run.line("Transcriber") == "pocketsphinx"
    assert re.fullmatch(r"[0-9a-f]{24}", run.line("Chat"))
    assert "up to 4 additional days" in run.line("Answer")


def test_the_answer_is_spoken_to_its_end(run: Run) -> None:
    slow, fast = _CHARACTERS_A_SECOND
    characters = len(run.line("Answer"))
    assert characters / fast < seconds_of(run.answer) < characters / slow
    assert f"{seconds_of(run.answer):.2f} s of speech" in run.said


def test_ffmpeg_hears_the_same(run: Run) -> None:
    assert _by_ffmpeg(run.answer) == pytest.approx(seconds_of(run.answer), abs=_SAME)


def test_a_browser_hears_the_same(run: Run, tmp_path: Path) -> None:
    browser = BROWSER or missing("install chromium")
    heard = in_browser(browser, tmp_path, {"answer.mp3": run.answer}, ["answer.mp3"], [])
    assert heard.decoded["answer.mp3"] == pytest.approx(seconds_of(run.answer), abs=_SAME)
