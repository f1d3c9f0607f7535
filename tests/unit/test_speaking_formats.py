"""The formats of speech, and texts that are no answers."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from models.deadline import Deadline
from models.voice import Manner
from services.providers.scripted_voice import ScriptedSynthesizer
from services.voice.speaking import Audio
from tests.unit.speech import (
    ASSISTANT,
    MP3,
    ONE,
    PCM,
    SENTENCES,
    TEXT,
    WAV,
    Answer,
    answered,
    heard,
    reader,
    samples,
    scripted,
    speaker,
    speaking,
    spoken,
    until,
)

pytestmark = pytest.mark.usefixtures("no_speech_goes_on")


def test_samples_are_never_cut_in_the_middle() -> None:
    synthesizer = scripted(lambda text: [b"\x01", b"\x02\x03", b"\x04", b"\x05"])
    sound = [event.data for event in spoken(answered(ONE), synthesizer) if isinstance(event, Audio)]
    assert b"".join(sound) == b"\x01\x02\x03\x04"
    assert [len(data) % 2 for data in sound] == [0] * len(sound)


def test_a_wav_file_begins_with_one_header() -> None:
    sound = [event.data for event in spoken(answered(TEXT), fmt=WAV) if isinstance(event, Audio)]
    assert sound[0][:4] == b"RIFF"
    assert sound[0][24:28] == (24_000).to_bytes(4, "little")
    assert sound[0][44:] + b"".join(sound[1:]) == samples("".join(SENTENCES))


FRAME = b"\xff\xf3\x84\xc0" + bytes(188)
"""MPEG 2, layer III, 64 kbit/s, 24 kHz, mono."""


def test_an_mp3_sentence_comes_whole_and_without_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.voice.sounds._PASSED_ON_AFTER", 30)

    def speak(text: str) -> Iterator[bytes]:
        yield b"ID3\x04\x00\x00\x00\x00\x00\x05hello"
        yield FRAME * 2 + FRAME[:10]
        time.sleep(0.02)  # whoever takes what there is takes it now
        yield FRAME[10:]
        yield FRAME

    told = spoken(answered(TEXT), ScriptedSynthesizer(speak), MP3)
    sound = [event.data for event in told if isinstance(event, Audio)]
    assert sound == [FRAME * 4] * 4


def test_slow_mp3_is_passed_on_in_whole_frames() -> None:
    goes_on = threading.Event()
    synthesizer = scripted(lambda text: [FRAME * 2 + FRAME[:50], goes_on, FRAME[50:] + FRAME])
    answer = Answer(answered(ONE))
    events = speaking(answer, synthesizer, MP3)
    sound = next(event.data for event in events if isinstance(event, Audio))
    goes_on.set()
    rest = b"".join(event.data for event in events if isinstance(event, Audio))
    assert len(sound) % len(FRAME) == len(rest) % len(FRAME) == 0
    assert sound + rest == FRAME * 4


def test_a_text_is_said_in_a_voice_and_language_of_choice() -> None:
    synthesizer = reader()
    sound = speaker(synthesizer).say(ASSISTANT, TEXT, PCM, Deadline(30), language="pt-BR", voice="chosen")
    assert heard(sound) == SENTENCES
    assert {manner for _, manner in synthesizer.texts} == {Manner("pt-BR", "chosen")}


def test_a_text_whose_beginning_tells_no_language_is_said_in_that_of_the_rest() -> None:
    synthesizer = reader()
    text = "# Férias\n\nVocê tem 30 dias de férias por ano."
    list(speaker(synthesizer).say(replace(ASSISTANT, language=None), text, PCM, Deadline(30)))
    assert {manner.language for _, manner in synthesizer.texts} == {"pt-BR"}


def test_a_text_that_nobody_listens_to_any_more_is_said_no_further() -> None:
    never = threading.Event()
    synthesizer = scripted(lambda text: [samples(text)] if text == ONE else [never])
    said = speaker(synthesizer).say(ASSISTANT, TEXT, PCM, Deadline(30))
    assert next(said) == Audio(samples(ONE))
    said.close()
    until(lambda: synthesizer.running == 0)
