"""What we make of speech, played by three decoders: PyAV, ffmpeg and a browser; and what the browser records, heard."""

import io
import subprocess
from itertools import groupby
from pathlib import Path
from shutil import which

import av
import pytest

from models.deadline import Deadline
from models.voice import RECORDING_RATE, Upload
from services.voice.decoding import PyAvDecoder
from services.voice.encoding import Mp3Encoder
from services.voice.mp3 import Mp3Joiner
from services.voice.wav import wav_header
from tests.clients.browser_sounds import BrowserSounds, in_browser
from tests.corpus.sounds import NOTES, SECONDS, ffmpeg, melody, notes_in
from tests.servers import missing

RATE = 24_000
LENGTHS = (0.5, 1.3, 0.9)
PADDING = 0.1
"""Seconds at most that an encoder puts around a sentence."""


def ours(seconds: float) -> bytes:
    """Return a sentence as our encoder writes it."""
    encoder = Mp3Encoder(RATE)
    return encoder.encode(melody(RATE)[: 2 * int(RATE * seconds)]) + encoder.finish()


def theirs(seconds: float, folder: Path) -> bytes:
    """Return a sentence as ffmpeg writes it, without its tags."""
    file = folder / "sentence.mp3"
    command = f"-v error -y -f lavfi -i sine=500:r={RATE}:d={seconds} -b:a 48k -metadata title=x".split()
    subprocess.run([ffmpeg(), *command, str(file)], check=True)
    content = file.read_bytes()
    assert content.startswith(b"ID3") and (b"Info" in content or b"Xing" in content)
    joiner = Mp3Joiner()
    return joiner.feed(content) + joiner.finish()


def melody_in(samples: bytes) -> list[int]:
    """Return the notes one after the other, wherever in the samples they begin and however long they last."""
    window, step = RECORDING_RATE, RECORDING_RATE // 10 * 2  # bytes: half a second, a tenth
    heard = [notes_in(samples[at : at + window])[0] for at in range(0, len(samples) - window, step)]
    return [note for note, _ in groupby(note for note in heard if note in NOTES)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give sentences, what they are together, and a WAV of which the header tells no length."""
    folder = tmp_path_factory.mktemp("speech")
    made = {"ours": list(map(ours, LENGTHS)), "theirs": [theirs(seconds, folder) for seconds in LENGTHS]}
    alone = {
        f"{maker} {seconds}.mp3": sentence
        for maker, sentences in made.items()
        for seconds, sentence in zip(LENGTHS, sentences, strict=True)
    }
    together = {f"{maker}.mp3": b"".join(sentences) for maker, sentences in made.items()}
    return alone | together | {"speech.wav": wav_header(RATE) + melody(RATE)}


@pytest.fixture(scope="module")
def browser(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> BrowserSounds:
    path = which("chromium") or which("chromium-browser") or which("google-chrome") or missing("install chromium")
    sentences = [f"ours {seconds}.mp3" for seconds in LENGTHS]
    return in_browser(path, tmp_path_factory.mktemp("browser"), files, sentences, ["speech.wav", "ours.mp3"])


def by_pyav(file: bytes) -> float:
    with av.open(io.BytesIO(file), "r") as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def by_ffmpeg(file: bytes) -> float:
    command = [ffmpeg(), "-v", "error", "-i", "-", "-f", "s16le", "-ac", "1", "-ar", str(RATE), "-"]
    run = subprocess.run(command, input=file, capture_output=True, check=True)
    assert run.stderr == b""
    return len(run.stdout) / 2 / RATE


@pytest.mark.parametrize("maker", ["ours", "theirs"])
def test_sentences_are_as_long_alone_as_together(files: dict[str, bytes], browser: BrowserSounds, maker: str) -> None:
    for seconds in LENGTHS:
        name = f"{maker} {seconds}.mp3"
        found = by_pyav(files[name]), by_ffmpeg(files[name]), browser.decoded[name]
        assert all(seconds <= length < seconds + PADDING for length in found), found
    together = by_pyav(files[f"{maker}.mp3"]), by_ffmpeg(files[f"{maker}.mp3"]), browser.decoded[f"{maker}.mp3"]
    alone = sum(by_pyav(files[f"{maker} {seconds}.mp3"]) for seconds in LENGTHS)
    assert together[0] == pytest.approx(alone, abs=0.001)
    assert all(sum(LENGTHS) <= length <= alone + 0.05 for length in together), together


def test_a_wav_of_unknown_length_is_played_to_its_end(files: dict[str, bytes], browser: BrowserSounds) -> None:
    found = by_pyav(files["speech.wav"]), by_ffmpeg(files["speech.wav"]), browser.decoded["speech.wav"]
    assert found == pytest.approx((SECONDS,) * 3, abs=0.01)
    assert browser.played["speech.wav"] == pytest.approx(SECONDS, abs=0.1)


def test_a_browser_plays_sentences_as_they_come(browser: BrowserSounds) -> None:
    assert browser.streamed["ranges"] == 1
    assert browser.streamed["seconds"] == pytest.approx(browser.decoded["ours.mp3"], abs=0.1)
    assert browser.played["ours.mp3"] == pytest.approx(browser.decoded["ours.mp3"], abs=0.15)


def test_what_a_browser_records_is_heard(browser: BrowserSounds) -> None:
    assert "audio/webm;codecs=opus" in browser.recordings
    for content in browser.recordings.values():
        recording = PyAvDecoder(60).decode(Upload(content), Deadline(20))
        assert recording.seconds > SECONDS - 0.2, "a busy browser begins early and ends late"
        assert melody_in(recording.samples) == list(NOTES)
