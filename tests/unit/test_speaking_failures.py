"""What becomes of a spoken answer when something fails, hangs or is not wanted any more."""

import math
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import cast

import pytest

from models.answers import AnswerEvent, Stored, TextDelta
from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, Invalid, OrquestraError, ProviderFailed
from services.providers.scripted_voice import ScriptedSynthesizer
from services.voice.on_use import OnUse
from services.voice.slots import FairSlots, Owner
from services.voice.speaking import Audio, Speaker
from tests.contract.stores import make_chat
from tests.leaving import SOON, leaving
from tests.unit.speech import (
    ASSISTANT,
    ONE,
    PCM,
    SENTENCES,
    TEXT,
    THREE,
    TWO,
    WAV,
    Answer,
    Told,
    answered,
    heard,
    ours,
    samples,
    scripted,
    speaker,
    speaking,
    spoken,
    until,
)

pytestmark = pytest.mark.usefixtures("no_speech_goes_on")


def test_a_failing_model_ends_it_at_once() -> None:
    goes_on = threading.Event()
    synthesizer = scripted(lambda text: [samples(text)] if text == ONE else [goes_on, samples(text)])
    fails = threading.Event()
    answer = Answer([Stored(make_chat()), TextDelta(f"{ONE} {TWO} {THREE}"), fails, ProviderFailed("It broke.")])
    events = speaking(answer, synthesizer)
    next(events)
    assert next(events) == Audio(samples(ONE))
    fails.set()
    with pytest.raises(ProviderFailed, match="It broke"):
        next(events)
    until(lambda: synthesizer.running == 0)
    assert THREE not in [text for text, _ in synthesizer.texts]


def test_a_model_that_fails_before_its_first_word_is_told_behind_the_stored_message() -> None:
    answer = Answer([Stored(make_chat()), ProviderFailed("It broke.")])
    events = speaking(answer, ScriptedSynthesizer())
    assert isinstance(next(events), Stored)
    with pytest.raises(ProviderFailed, match="It broke"):
        next(events)


@pytest.fixture
def faults() -> Iterator[list[object]]:
    """Give what threads die of in a test that has them do so."""
    seen: list[object] = []
    hook, threading.excepthook = threading.excepthook, lambda args: seen.append(args.exc_value)
    yield seen
    until(lambda: ours() == 0)
    threading.excepthook = hook


def test_a_fault_of_the_reader_ends_the_answer(faults: list[object]) -> None:
    answer = Answer([Stored(make_chat()), TextDelta(cast(str, None)), threading.Event()])
    with pytest.raises(OrquestraError, match="server failed"):
        list(speaking(answer))
    assert answer.over.wait(10) and not answer.ended_well
    until(lambda: [type(one) for one in faults] == [TypeError])


def test_a_fault_in_the_model_is_told_as_the_servers(faults: list[object]) -> None:
    with pytest.raises(OrquestraError, match="server failed") as failed:
        spoken([Stored(make_chat()), KeyError("a fault")])
    assert failed.value.status == 500
    until(lambda: [type(one) for one in faults] == [KeyError])


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("error", [ProviderFailed("No voice."), Invalid("No such voice.", code="voice_unknown")])
def test_a_failing_synthesizer_ends_it_and_the_answer_is_stored_all_the_same(
    failing: int, error: OrquestraError
) -> None:
    synthesizer = scripted(lambda text: [error] if text == SENTENCES[failing] else [samples(text)])
    rest = threading.Event()
    told = answered(TEXT)
    told.insert(-1, rest)
    answer = Answer(told)
    said: list[str] = []
    events = speaking(answer, synthesizer)
    if failing == 3:  # the tail is only known at the end
        rest.set()
    with pytest.raises(type(error)) as failed:
        for event in events:
            said += heard(iter([event]))
    assert failed.value is error
    assert said == SENTENCES[:failing]
    assert not answer.deadline.cancelled
    rest.set()
    assert answer.over.wait(10)
    assert answer.ended_well


def test_a_sentence_that_fails_half_way_ends_it() -> None:
    synthesizer = scripted(lambda text: [samples(text), ProviderFailed("No voice.")])
    with pytest.raises(ProviderFailed, match="No voice"):
        spoken(answered(TEXT), synthesizer)


def test_a_synthesizer_that_cannot_be_made_ends_it_and_the_answer_is_stored_all_the_same() -> None:
    def refuse() -> ScriptedSynthesizer:
        raise ProviderFailed("Nothing speaks here.")

    answer = Answer(answered(TEXT))
    events = Speaker(OnUse(refuse), FairSlots(1)).speak(ASSISTANT, answer.events(), WAV, answer.deadline)
    with pytest.raises(ProviderFailed, match="Nothing speaks"):
        list(events)
    assert answer.over.wait(10)
    assert answer.ended_well


def test_sound_without_end_is_refused() -> None:
    def endless(text: str) -> Iterator[bytes]:
        while True:
            yield bytes(2**16)

    with pytest.raises(ProviderFailed) as refused:
        spoken(answered(ONE), ScriptedSynthesizer(endless))
    assert refused.value.code == "speech_too_long"


def test_a_synthesizer_without_any_sound_is_a_failure() -> None:
    with pytest.raises(ProviderFailed) as silent:
        spoken(answered(ONE), scripted(lambda text: [b""]))
    assert silent.value.code == "speech_empty"


PLACES = ["model", "slot", "synthesis", "listener"]


@pytest.mark.parametrize("ending", ["cancel", "close"])
@pytest.mark.parametrize("place", PLACES)
def test_a_listener_who_leaves_stops_everything(place: str, ending: str) -> None:
    never, slots = threading.Event(), FairSlots(1)
    stuck = scripted(lambda text: [never] if place == "synthesis" else [samples(text)])
    told: list[Told] = (
        [Stored(make_chat()), never] if place == "model" else [Stored(make_chat()), TextDelta(TEXT), never]
    )
    answer = Answer(told)
    with slots.hold(Owner("other"), Deadline(30)) if place == "slot" else closing(_nothing()):
        events = speaking(answer, stuck, slots=slots)
        next(events)
        if place == "listener":
            next(events)
        if place in ("slot", "synthesis"):
            until(lambda: slots.waiting + stuck.running >= 1)
        left = time.monotonic()
        if ending == "close":
            events.close()
        else:
            with pytest.raises(CallCancelled), leaving(answer.deadline, lambda: True):
                list(events)
        assert answer.over.wait(SOON)
        until(lambda: ours() == 0)
        assert time.monotonic() - left < SOON
    assert answer.deadline.cancelled
    assert not answer.ended_well
    assert slots.used == slots.waiting == stuck.running == 0


def test_a_listener_who_leaves_is_let_go_although_the_model_does_not_notice() -> None:
    notices = threading.Event()

    def deaf() -> Iterator[AnswerEvent]:
        yield Stored(make_chat())
        notices.wait(30)

    deadline = Deadline(30)
    events = speaker(ScriptedSynthesizer()).speak(ASSISTANT, deaf(), PCM, deadline)
    next(events)
    with pytest.raises(CallCancelled), leaving(deadline, lambda: True):
        next(events)
    notices.set()


def _nothing() -> Generator[None, None, None]:
    yield


def test_no_answer_in_time() -> None:
    never = threading.Event()
    deadline = Deadline(0.1)
    answer = Answer([Stored(make_chat()), never], deadline)
    with pytest.raises(DeadlineExceeded):
        list(speaker(ScriptedSynthesizer()).speak(ASSISTANT, answer.events(), PCM, deadline))


def test_a_synthesizer_that_hangs_at_the_first_sentence_ends_with_the_answers_deadline() -> None:
    never = threading.Event()
    answer = Answer(answered(TEXT), Deadline(0.1))
    with pytest.raises(DeadlineExceeded):
        list(speaking(answer, scripted(lambda text: [never])))


class Ending(Deadline):
    """A deadline that is up as soon as a test says so, and so are those of its parts."""

    def __init__(self, up: threading.Event) -> None:
        super().__init__(30)
        self._up = up

    def remaining(self) -> float:
        """Return half a minute or nothing."""
        return 0.0 if self._up.is_set() else super().remaining()

    def child(self, seconds: float = math.inf) -> "Ending":
        """Return one that is up at the same moment."""
        child = Ending(self._up)
        self.on_cancel(child.cancel)
        return child


def test_an_answer_that_takes_longer_to_be_said_than_to_be_made_is_said_to_its_end() -> None:
    up = threading.Event()
    answer = Answer(answered(TEXT), Ending(up))
    events = speaking(answer)
    next(event for event in events if isinstance(event, Audio))
    until(lambda: ours() == 0)
    up.set()
    assert heard(events) == SENTENCES[1:]
