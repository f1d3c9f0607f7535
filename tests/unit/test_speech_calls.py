"""What is told of the calls of what hears and speaks: each once, with how it ended."""

import threading
from collections.abc import Callable, Iterable

import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, Invalid, OrquestraError, ProviderFailed
from models.voice import RECORDING_RATE, Codec, Manner, Recording, Transcript, Upload
from routes.metrics import Metrics
from services.ports import SpeechSynthesizer, Transcriber
from services.providers.scripted_voice import ScriptedSynthesizer, ScriptedTranscriber
from services.voice.counted import CountedSynthesizer, CountedTranscriber, SpeechCalls
from services.voice.on_use import OnUse
from services.voice.slots import FairSlots
from services.voice.speaking import Audio, Speaker
from tests.unit.speech import ASSISTANT, PCM, samples, until

SOUND = Recording(bytes(2 * RECORDING_RATE * 3), Upload(b""))
MANNER = Manner("en-US")


class Desk:
    """A transcriber and a synthesizer whose calls are told to `/metrics`."""

    def __init__(
        self,
        planned: Iterable[Transcript | BaseException] = (),
        speak: Callable[[str], Iterable[bytes | BaseException | threading.Event]] | None = None,
    ) -> None:
        self._metrics, calls = Metrics(), SpeechCalls()
        calls.show(self._metrics.count_transcription, self._metrics.count_synthesis)
        self.synthesizer_alone = ScriptedSynthesizer(speak)
        transcriber: OnUse[Transcriber] = OnUse(lambda: ScriptedTranscriber(planned))
        synthesizer: OnUse[SpeechSynthesizer] = OnUse(lambda: self.synthesizer_alone)
        self.transcriber = CountedTranscriber("aws", transcriber, calls)
        self.synthesizer = CountedSynthesizer("openai", synthesizer, calls)

    def told(self) -> dict[str, float]:
        """Return what `/metrics` has of them that is not 0."""
        told = {}
        for line in self._metrics.exposition().decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith(("orquestra_trans", "orquestra_synthes")) and "{" in name and "_created" not in name:
                told[name.removeprefix("orquestra_")] = float(value)
        return {name: value for name, value in told.items() if value}


def transcriptions(outcome: str) -> str:
    return f'transcriptions_total{{outcome="{outcome}",provider="aws"}}'


def syntheses(outcome: str) -> str:
    return f'syntheses_total{{outcome="{outcome}",provider="openai"}}'


SECONDS = 'transcribed_seconds_total{provider="aws"}'
CHARACTERS = 'synthesized_characters_total{provider="openai"}'


def test_what_is_heard_and_spoken_is_counted_with_what_providers_bill() -> None:
    desk = Desk([Transcript("a"), Transcript("")])
    for _ in range(2):
        desk.transcriber.transcribe(SOUND, None, Deadline(5))
    for text in ("Olá.", "多少天"):
        assert list(desk.synthesizer.synthesize(text, MANNER, Codec.PCM, Deadline(5))) == [text.encode()]
    assert desk.told() == {transcriptions("ok"): 2, SECONDS: 6, syntheses("ok"): 2, CHARACTERS: 7}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ProviderFailed("It is down.", code="provider_unreachable"), "provider_unreachable"),
        (Invalid("No.", code="language_unsupported"), "language_unsupported"),
        (DeadlineExceeded("Too late."), "deadline_exceeded"),
        (AssertionError("a fault of ours"), "internal_error"),
    ],
)
def test_failures_are_counted_by_their_code_and_bill_nothing(error: Exception, outcome: str) -> None:
    desk = Desk([error], lambda text: [b"a", error])
    with pytest.raises(type(error)):
        desk.transcriber.transcribe(SOUND, None, Deadline(5))
    with pytest.raises(type(error)):
        list(desk.synthesizer.synthesize("Hello.", MANNER, Codec.PCM, Deadline(5)))
    assert desk.told() == {transcriptions(outcome): 1, syntheses(outcome): 1}


@pytest.mark.parametrize("error", [CallCancelled("Gone."), ProviderFailed("The connection was cut.")])
def test_a_call_that_is_cancelled_is_no_failure_whatever_it_raises(error: OrquestraError) -> None:
    class Leaving(ScriptedTranscriber):
        def transcribe(self, recording: Recording, language: str | None, deadline: Deadline) -> Transcript:
            deadline.cancel()
            raise error

    calls, metrics = SpeechCalls(), Metrics()
    calls.show(metrics.count_transcription, metrics.count_synthesis)
    leaving: OnUse[Transcriber] = OnUse(Leaving)
    with pytest.raises(type(error)):
        CountedTranscriber("aws", leaving, calls).transcribe(SOUND, None, Deadline(5))
    told = metrics.exposition().decode()
    assert f"orquestra_{transcriptions('cancelled')} 1.0" in told and f"orquestra_{SECONDS} 3.0" in told
    assert told.count("orquestra_transcriptions_total{") == 1


def test_a_listener_who_closes_the_sound_has_cancelled_it_once() -> None:
    desk = Desk(speak=lambda text: [b"a", b"b"])
    sound = desk.synthesizer.synthesize("Hello.", MANNER, Codec.PCM, Deadline(5))
    assert desk.told() == {}
    assert next(sound) == b"a"
    sound.close()
    sound.close()
    assert desk.told() == {syntheses("cancelled"): 1, CHARACTERS: 6}
    assert desk.synthesizer_alone.closed == ["Hello."]


@pytest.mark.usefixtures("no_speech_goes_on")
def test_a_listener_who_leaves_an_answer_cancels_each_sentence_once() -> None:
    never = threading.Event()
    desk = Desk(speak=lambda text: [samples(text)] if text.startswith("The first") else [samples(text), never])
    synthesizer: OnUse[SpeechSynthesizer] = OnUse(lambda: desk.synthesizer)
    text = "The first sentence is whole. The second one never ends. The third one neither. The fourth never begins."
    deadline = Deadline(30)
    sound = Speaker(synthesizer, FairSlots(8)).say(ASSISTANT, text, PCM, deadline)
    assert next(sound) == Audio(samples("The first sentence is whole."))
    assert next(sound) == Audio(samples("The second one never ends."))
    until(lambda: desk.synthesizer_alone.running == 2)
    sound.close()
    until(lambda: len(desk.synthesizer_alone.closed) == 3)
    until(lambda: sum(count for name, count in desk.told().items() if name.startswith("syntheses")) == 3)
    told = desk.told()
    assert (told[syntheses("ok")], told[syntheses("cancelled")]) == (1, 2)


def test_what_cannot_be_loaded_is_counted_too() -> None:
    def refuse() -> SpeechSynthesizer:
        raise ProviderFailed("Install it.", code="voice_missing")

    calls, told = SpeechCalls(), list[tuple[str, str, float]]()
    calls.show(lambda *_: None, lambda *one: told.append(one))
    broken: OnUse[SpeechSynthesizer] = OnUse(refuse)
    with pytest.raises(ProviderFailed):
        list(CountedSynthesizer("offline", broken, calls).synthesize("Hi.", MANNER, Codec.MP3, Deadline(5)))
    assert told == [("offline", "voice_missing", 0)]


def test_everything_else_is_what_it_is_without_counting() -> None:
    desk = Desk()
    alone = desk.synthesizer_alone
    assert (desk.transcriber.name, desk.synthesizer.name) == ("scripted", "scripted")
    assert desk.synthesizer.format_of(Codec.MP3) == alone.format_of(Codec.MP3)
    assert desk.synthesizer.voices(Deadline(5)) == alone.voices(Deadline(5))
    assert desk.told() == {}
