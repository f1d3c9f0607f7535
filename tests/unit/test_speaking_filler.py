"""Filler is spoken too, and gives way to the answer."""

import threading

import pytest

from models.answers import Done, Filler, Stored, TextDelta, ToolProgress, ToolStatus
from services.voice.slots import FairSlots
from services.voice.speaking import Audio, Spoken
from tests.contract.stores import make_chat
from tests.unit.speech import (
    ONE,
    SENTENCES,
    TEXT,
    Answer,
    Told,
    answered,
    heard,
    samples,
    scripted,
    speaking,
    spoken,
    until,
)

pytestmark = pytest.mark.usefixtures("no_speech_goes_on")


FILLER = "One moment, I am looking that up."


def test_filler_is_spoken_before_the_answer_although_nothing_follows_it() -> None:
    asked = threading.Event()
    told = answered(TEXT, ToolProgress("search", ToolStatus.RUNNING), Filler(FILLER), asked)
    answer = Answer(told)
    events = speaking(answer)
    next(events)
    assert next(events) == Audio(samples(FILLER))
    asked.set()
    assert heard(events) == SENTENCES


def test_filler_that_is_not_begun_and_an_unfinished_sentence_of_it_give_way_to_the_answer() -> None:
    filler = [Filler(f"Wait for number {number} of all. ") for number in range(4)]
    asked, goes_on = threading.Event(), threading.Event()
    answer = Answer(answered(TEXT, *filler, Filler("And then"), asked))
    synthesizer = scripted(lambda text: [goes_on, samples(text)])
    events = speaking(answer, synthesizer, slots=FairSlots(1))
    next(events)
    until(lambda: synthesizer.running == 1)
    asked.set()
    assert answer.over.wait(10)
    goes_on.set()
    assert heard(events) == ["Wait for number 0 of all.", *SENTENCES]


def test_filler_after_the_first_words_does_not_split_a_sentence() -> None:
    chat = make_chat(response=f"Let me see\n\n{ONE}")
    told: list[Told] = [
        Stored(chat),
        TextDelta("Let me "),
        TextDelta("see"),
        ToolProgress("search", ToolStatus.RUNNING),
        Filler(FILLER),
        TextDelta(f"\n\n{ONE}"),
        Done(chat),
    ]
    said = heard(iter(spoken(told)))
    assert [text for text in said if text != FILLER] == ["Let me see", ONE]
    assert said.index("Let me see") == 0


def test_timings_leave_filler_aside() -> None:
    chat = make_chat(response="")
    last = spoken([Stored(chat), Filler(FILLER), Done(chat)])[-1]
    assert last == Spoken(None, None)
