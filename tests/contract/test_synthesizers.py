"""What every synthesizer does alike: whole sound of a sentence's length in both codecs, deadlines, leaving listeners.

The emulators of providers do not speak: they answer with sound that espeak-ng made of the same sentence.
"""

import base64
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from bench.demo_voice import seconds_of
from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, Invalid
from models.voice import Codec, Manner
from services.ports import SpeechSynthesizer
from services.providers.aws_account import AwsAccount
from services.providers.aws_polly import PollySpeech
from services.providers.aws_polly import build_client as build_polly
from services.providers.espeak_speech import EspeakSpeech
from services.providers.openai_chat import build_client
from services.providers.openai_speech import OpenAISpeech
from tests.emulators.aimock import Fixture, aimock
from tests.emulators.aws_polly import polly

SENTENCES = {
    Codec.MP3: "The office opens at nine in the morning.",
    Codec.PCM: "The office closes at six in the evening.",
}
"""Two of about the same length, by which an emulator knows the codec that is asked for."""
UNHEARD_OF = "nobody"
"""No provider has a voice of this name."""
REFUSED = "Nobody says this."
"""What is said with it."""
_SHORTEST, _LONGEST = 1.5, 4.0  # seconds
_LISTENERS = 4


@contextlib.contextmanager
def _offline() -> Iterator[tuple[SpeechSynthesizer, str | None]]:
    yield EspeakSpeech(), None


@contextlib.contextmanager
def _openai() -> Iterator[tuple[SpeechSynthesizer, str | None]]:
    refusal = {"message": "Input should be 'alloy' or 'echo'", "type": "invalid_request_error", "param": "voice"}
    fixtures: list[Fixture] = [
        {"match": {"userMessage": text}, "response": {"audio": _espeak(text, codec), "format": codec.value}}
        for codec, text in SENTENCES.items()
    ]
    fixtures.append(
        {"match": {"userMessage": REFUSED, "endpoint": "speech"}, "response": {"error": refusal, "status": 400}}
    )
    with (
        aimock(fixtures) as server,
        contextlib.closing(build_client("sk-test-0123456789", server.base_url, 4)) as client,
    ):
        yield OpenAISpeech(client, "speech-any"), "alloy"


def _espeak(text: str, codec: Codec) -> str:
    """Return what espeak-ng says, at a rate of 22,050, in base 64."""
    return base64.b64encode(b"".join(EspeakSpeech().synthesize(text, Manner("en-US"), codec, Deadline(10)))).decode()


@contextlib.contextmanager
def _aws() -> Iterator[tuple[SpeechSynthesizer, str | None]]:
    sounds = {text: base64.b64decode(_espeak(text, codec)) for codec, text in SENTENCES.items()}
    with polly(lambda members: sounds[members["Text"]]) as url:
        yield PollySpeech(build_polly(AwsAccount("us-east-1", "key", "secret"), url, _LISTENERS), "neural"), None


_MAKERS: dict[str, Callable[[], AbstractContextManager[tuple[SpeechSynthesizer, str | None]]]] = {
    "aws": _aws,
    "offline": _offline,
    "openai": _openai,
}
"""Each gives a synthesizer, and a voice if it needs one to be named."""


@pytest.fixture(scope="module", params=sorted(_MAKERS))
def speaking(request: pytest.FixtureRequest) -> Iterator[tuple[SpeechSynthesizer, str | None]]:
    with _MAKERS[request.param]() as made:
        yield made


@pytest.fixture
def synthesizer(speaking: tuple[SpeechSynthesizer, str | None]) -> SpeechSynthesizer:
    return speaking[0]


@pytest.fixture
def manner(speaking: tuple[SpeechSynthesizer, str | None]) -> Manner:
    return Manner("en-US", speaking[1])


def _seconds(synthesizer: SpeechSynthesizer, manner: Manner, codec: Codec) -> float:
    """Have the codec's sentence spoken, and return how long it is."""
    sound = b"".join(synthesizer.synthesize(SENTENCES[codec], manner, codec, Deadline(10)))
    if codec is Codec.MP3:
        return seconds_of(sound)
    assert len(sound) % 2 == 0
    return len(sound) / (2 * synthesizer.format_of(codec).rate)


@pytest.mark.parametrize("codec", list(Codec))
def test_a_sentence_is_spoken_to_its_end(synthesizer: SpeechSynthesizer, manner: Manner, codec: Codec) -> None:
    assert synthesizer.format_of(codec).codec is codec
    assert _SHORTEST < _seconds(synthesizer, manner, codec) < _LONGEST


def test_several_listeners_hear_the_whole_sentence_at_once(synthesizer: SpeechSynthesizer, manner: Manner) -> None:
    with ThreadPoolExecutor(_LISTENERS) as pool:
        heard = list(pool.map(lambda _: _seconds(synthesizer, manner, Codec.PCM), range(_LISTENERS)))
    assert max(heard) - min(heard) < 0.05
    assert min(heard) > _SHORTEST


def test_a_listener_may_leave_in_the_middle(synthesizer: SpeechSynthesizer, manner: Manner) -> None:
    speech = synthesizer.synthesize(SENTENCES[Codec.PCM], manner, Codec.PCM, Deadline(10))
    assert next(speech)
    speech.close()
    assert _seconds(synthesizer, manner, Codec.PCM) > _SHORTEST


def test_nothing_is_spoken_to_a_listener_who_left(synthesizer: SpeechSynthesizer, manner: Manner) -> None:
    deadline = Deadline(10)
    deadline.cancel()
    with pytest.raises(CallCancelled):
        list(synthesizer.synthesize(SENTENCES[Codec.MP3], manner, Codec.MP3, deadline))


def test_nothing_is_spoken_after_the_deadline(synthesizer: SpeechSynthesizer, manner: Manner) -> None:
    with pytest.raises(DeadlineExceeded):
        list(synthesizer.synthesize(SENTENCES[Codec.MP3], manner, Codec.MP3, Deadline(0)))


def test_an_unknown_voice_is_refused(synthesizer: SpeechSynthesizer) -> None:
    with pytest.raises(Invalid) as caught:
        list(synthesizer.synthesize(REFUSED, Manner("en-US", UNHEARD_OF), Codec.MP3, Deadline(10)))
    assert caught.value.code == "voice_unknown"
    assert UNHEARD_OF in caught.value.detail


def test_voices_have_ids_of_their_own_and_speak_something(synthesizer: SpeechSynthesizer) -> None:
    voices = synthesizer.voices(Deadline(10))
    assert len({voice.id for voice in voices}) == len(voices)
    assert all(voice.id and voice.name and voice.languages for voice in voices)
