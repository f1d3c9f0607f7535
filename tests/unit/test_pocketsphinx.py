"""pocketsphinx in its child process: what is heard in what, and that nothing of the child is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray

from bench.demo_voice import QUESTION
from bench.running import ROOT
from models.deadline import Deadline
from models.errors import CallCancelled, Invalid, ProviderFailed, Unavailable
from models.voice import RECORDING_RATE, Recording, Upload
from services.providers.pocketsphinx_transcriber import PocketsphinxTranscriber
from tests.leaving import SOON

WORDS = "can i buy additional vacation days"
_SILENCE = bytes(2 * RECORDING_RATE)
_A_LOT = 20
"""Hundredths of a second of work: more than reading a minute of sound takes, far less than hearing it."""
_CHILD = "services.providers.pocketsphinx_child"
_PARENT = """
import sys, time
from models.deadline import Deadline
from models.voice import Recording, Upload
from services.providers.pocketsphinx_transcriber import PocketsphinxTranscriber
samples = sys.stdin.buffer.read()
transcriber = PocketsphinxTranscriber()
transcriber.transcribe(Recording(bytes(100), Upload(b"")), None, Deadline(60))
print("warm", flush=True)
if samples:
    transcriber.transcribe(Recording(samples, Upload(b"")), None, Deadline(60))
time.sleep(60)
"""
"""A server that hears what comes on its standard input, if anything does, and goes on."""


@pytest.fixture(scope="module")
def transcriber() -> Iterator[PocketsphinxTranscriber]:
    with contextlib.closing(PocketsphinxTranscriber()) as made:
        yield made


@pytest.fixture(scope="module")
def question() -> NDArray[numpy.int16]:
    with wave.open(str(QUESTION), "rb") as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16)


@pytest.fixture(scope="module")
def minute(question: NDArray[numpy.int16]) -> bytes:
    """Give speech that keeps the child busy for ten seconds and more."""
    return numpy.tile(question, 24).tobytes()


def _heard(transcriber: PocketsphinxTranscriber, samples: bytes, seconds: float = 60) -> str:
    return transcriber.transcribe(Recording(samples, Upload(samples)), None, Deadline(seconds)).text


def _children(parent: int) -> list[int]:
    """Return the transcriber's processes that a process has started."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):  # a thread may end meanwhile
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(pid) for pid in children.read_text().split() if _CHILD in _command(int(pid))]
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _work(pid: int) -> int:
    """Return how much time of a processor a process has had, in hundredths of a second (proc(5): utime, stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _until(condition: Callable[[], object], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def test_silence_around_the_question_changes_nothing(
    transcriber: PocketsphinxTranscriber, question: NDArray[numpy.int16]
) -> None:
    assert _heard(transcriber, 2 * _SILENCE + question.tobytes() + 2 * _SILENCE) == WORDS


def test_what_was_heard_before_changes_nothing(
    transcriber: PocketsphinxTranscriber, question: NDArray[numpy.int16]
) -> None:
    noise = numpy.random.default_rng(7).normal(0, 60, 14_000)
    unclear = (0.2 * question[: len(noise)] + noise).astype(numpy.int16).tobytes()
    loud = numpy.random.default_rng(1).normal(0, 8000, 8_000).astype(numpy.int16).tobytes()
    first = _heard(transcriber, unclear)
    _heard(transcriber, loud)
    assert _heard(transcriber, unclear) == first != ""


@pytest.mark.parametrize(
    "samples", [b"", b"\0", bytes(100), _SILENCE, 60 * _SILENCE], ids=["none", "half", "50", "1 s", "1 min"]
)
def test_nobody_is_heard_in_silence(transcriber: PocketsphinxTranscriber, samples: bytes) -> None:
    assert _heard(transcriber, samples) == ""


def test_nobody_is_heard_in_noise_and_tones(transcriber: PocketsphinxTranscriber) -> None:
    hiss = numpy.random.default_rng(1).normal(0, 50, 2 * RECORDING_RATE)
    tone = 8000 * numpy.sin(numpy.arange(2 * RECORDING_RATE) * 2 * numpy.pi * 440 / RECORDING_RATE)
    assert [_heard(transcriber, sound.astype(numpy.int16).tobytes()) for sound in (hiss, tone)] == ["", ""]


@pytest.mark.parametrize("language", ["pt-BR", "zh", "enm"])
def test_other_languages_are_refused(language: str) -> None:
    with contextlib.closing(PocketsphinxTranscriber()) as transcriber, pytest.raises(Invalid) as caught:
        transcriber.transcribe(Recording(_SILENCE, Upload(b"")), language, Deadline(5))
    assert caught.value.code == "language_unsupported" and "TRANSCRIBER" in caught.value.detail


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with contextlib.closing(PocketsphinxTranscriber()) as transcriber, pytest.raises(ProviderFailed) as caught:
        _heard(transcriber, _SILENCE)
    assert caught.value.code == "offline_transcriber_missing" and "requirements-offline.txt" in caught.value.detail


def test_callers_are_heard_in_order_and_may_leave(transcriber: PocketsphinxTranscriber, minute: bytes) -> None:
    order: list[int] = []
    first, deadlines = Deadline(60), [Deadline(60) for _ in range(4)]

    def ask(number: int) -> None:
        with contextlib.suppress(CallCancelled):
            transcriber.transcribe(Recording(_SILENCE, Upload(b"")), None, deadlines[number])
            order.append(number)

    with ThreadPoolExecutor(5) as pool:
        busy = pool.submit(transcriber.transcribe, Recording(minute, Upload(b"")), None, first)
        assert _until(lambda: _children(os.getpid()))
        (child,) = _children(os.getpid())
        waiting = []
        for number in range(4):
            waiting.append(pool.submit(ask, number))
            assert _until(lambda expected=number: len(transcriber._queue) == expected + 2)  # type: ignore[misc]
        deadlines[1].cancel()
        waiting[1].result(SOON)
        assert not order
        first.cancel()
        assert isinstance(busy.exception(SOON), CallCancelled)
        assert _until(lambda: not _command(child), SOON), "it goes on with what nobody waits for"
    assert order == [0, 2, 3]


def test_a_child_that_died_is_replaced(transcriber: PocketsphinxTranscriber) -> None:
    assert _heard(transcriber, _SILENCE) == ""
    (child,) = _children(os.getpid())
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and is still there to be looked at
    assert _heard(transcriber, _SILENCE) == ""
    assert _children(os.getpid()) != [child]


def test_a_child_that_dies_at_its_work_is_an_error(transcriber: PocketsphinxTranscriber, minute: bytes) -> None:
    assert _heard(transcriber, _SILENCE) == ""
    (child,) = _children(os.getpid())
    worked = _work(child)
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(_heard, transcriber, minute)
        assert _until(lambda: _work(child) > worked + _A_LOT)
        os.kill(child, signal.SIGKILL)
        with pytest.raises(ProviderFailed) as caught:
            busy.result(SOON)
    assert caught.value.code == "provider_failed"
    assert _heard(transcriber, _SILENCE) == ""


def test_closing_ends_the_child_at_its_work(minute: bytes) -> None:
    with contextlib.closing(PocketsphinxTranscriber()) as transcriber, ThreadPoolExecutor(1) as pool:
        others = _children(os.getpid())
        assert _heard(transcriber, _SILENCE) == ""
        (child,) = set(_children(os.getpid())) - set(others)
        worked = _work(child)
        busy = pool.submit(_heard, transcriber, minute)
        assert _until(lambda: _work(child) > worked + _A_LOT)
        began = time.monotonic()
        transcriber.close()
        with pytest.raises((ProviderFailed, Unavailable)):
            busy.result(SOON)
        assert time.monotonic() - began < SOON
    with pytest.raises(Unavailable):
        _heard(transcriber, _SILENCE)


@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "idle"])
def test_the_child_ends_with_a_parent_that_is_killed(minute: bytes, is_busy: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdin.write(minute if is_busy else b"")
        parent.stdin.close()
        assert parent.stdout.readline() == b"warm\n"
        (child,) = _children(parent.pid)
        worked = _work(child)
        assert not is_busy or _until(lambda: _work(child) > worked + _A_LOT)
        parent.kill()
        parent.wait()
    assert _until(lambda: not _command(child), SOON)
