"""Answers are spoken while they are written: in order, in time, and to their end."""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from models.answers import Done, Replaying, Stored, TextDelta, Written
from models.chats import ChatStatus
from models.deadline import Deadline
from models.errors import Unavailable
from models.voice import Manner
from services.providers.scripted_voice import ScriptedSynthesizer
from services.voice.on_use import OnUse
from services.voice.slots import FairSlots
from services.voice.speaking import Audio, Speaker, Spoken
from tests.contract.stores import make_chat
from tests.unit.speech import (
    ASSISTANT,
    FOUR,
    ONE,
    PCM,
    SENTENCES,
    TEXT,
    THREE,
    TWO,
    Answer,
    Told,
    answered,
    flags,
    heard,
    ours,
    reader,
    samples,
    scripted,
    speaker,
    speaking,
    spoken,
    until,
)

pytestmark = pytest.mark.usefixtures("no_speech_goes_on")


def test_sentences_are_spoken_in_order_and_the_tail_without_a_full_stop_too() -> None:
    chance = random.Random(7)

    def speak(text: str) -> Iterator[bytes]:
        for at in range(0, len(text), 20):
            time.sleep(chance.uniform(0, 0.004))
            yield samples(text[at : at + 20])

    synthesizer = ScriptedSynthesizer(speak)
    assert "".join(heard(iter(spoken(answered(TEXT), synthesizer)))) == "".join(SENTENCES)
    assert sorted(text for text, _ in synthesizer.texts) == sorted(SENTENCES)
    assert synthesizer.most_running <= 2


def test_the_last_sentence_does_not_wait_until_the_answer_is_stored() -> None:
    stored = threading.Event()
    told: list[Told] = [
        Stored(make_chat()),
        TextDelta(FOUR),
        Written(),
        stored,
        Done(replace(make_chat(), response=FOUR)),
    ]
    answer = Answer(told)
    events = speaking(answer)
    assert [type(next(events)), next(events)] == [Stored, Audio(samples(FOUR))]
    stored.set()
    assert [type(event) for event in events] == [Done, Spoken]


def test_a_beginning_that_tells_no_language_is_spoken_in_that_of_the_question() -> None:
    synthesizer = reader()
    chat = make_chat(message="Quais são os prazos para o reembolso das despesas?")
    told: list[Told] = [Stored(chat), TextDelta("Tabela 2026"), Done(replace(chat, response="Tabela 2026"))]
    answer = Answer(told)
    assistant = replace(ASSISTANT, language=None)
    for _ in speaker(synthesizer).speak(assistant, answer.events(), PCM, answer.deadline):
        pass
    assert synthesizer.texts == [("Tabela 2026", Manner("pt-BR"))]


def test_the_first_sentence_is_heard_while_the_model_still_writes() -> None:
    more = threading.Event()
    answer = Answer([Stored(make_chat()), TextDelta(f"{ONE} The"), more, TextDelta(f"{TWO[3:]}")])
    events = speaking(answer)
    assert isinstance(next(events), Stored)
    assert next(events) == Audio(samples(ONE))
    assert not answer.over.is_set()
    more.set()
    assert heard(events) == [TWO]


def test_what_is_told_of_the_answer_is_passed_on_and_the_timings_come_as_soon_as_both_are_there() -> None:
    events = spoken(answered(TEXT))
    kinds = [type(event) for event in events if not isinstance(event, Audio)]
    assert kinds == [Stored, Done, Spoken]
    [last] = [event for event in events if isinstance(event, Spoken)]
    assert isinstance(events[-1], Audio), "a listener who leaves before the end is counted, too"
    assert last.first_sentence_ms is not None
    assert last.first_audio_ms is not None
    assert 0 <= last.first_sentence_ms <= last.first_audio_ms


def test_timings_begin_with_the_stored_message() -> None:
    stored, written, said = flags(3)
    synthesizer = scripted(lambda text: [said, samples(text)])
    answer = Answer([stored, *answered(ONE, written)])
    events = speaking(answer, synthesizer)
    began = time.monotonic()
    threading.Timer(0.2, stored.set).start()
    next(events)
    is_stored = time.monotonic()
    time.sleep(0.05)
    written.set()
    until(lambda: bool(synthesizer.texts))
    is_written = time.monotonic()
    time.sleep(0.05)
    said.set()
    last = list(events)[-1]
    assert isinstance(last, Spoken)
    assert last.first_sentence_ms is not None
    assert last.first_audio_ms is not None
    assert 50 <= last.first_sentence_ms <= 1000 * (is_written - began) - 199
    assert 1000 * (is_written - is_stored) + 49 <= last.first_audio_ms <= 1000 * (time.monotonic() - began) - 199


def test_a_replayed_answer_is_spoken_anew_with_look_ahead() -> None:
    chat = make_chat(response=TEXT)
    goes_on = threading.Event()
    synthesizer = scripted(lambda text: [goes_on, samples(text)])
    answer = Answer([Replaying(), Stored(chat), TextDelta(TEXT), Done(chat, replayed=True)])
    events = speaking(answer, synthesizer)
    assert [type(next(events)) for _ in range(3)] == [Replaying, Stored, Done]
    until(lambda: synthesizer.running == 2)
    goes_on.set()
    assert heard(events) == SENTENCES


def test_an_answer_that_another_server_gave_is_spoken_whole() -> None:
    chat = make_chat(response=TEXT)
    assert heard(iter(spoken([Stored(chat), Done(chat, replayed=True)]))) == SENTENCES


def test_an_answer_that_is_not_the_stored_one_ends_with_an_error() -> None:
    chat = make_chat(response="Something else.")
    with pytest.raises(Unavailable) as overtaken:
        spoken([Stored(chat), TextDelta(TEXT), Done(chat, replayed=True)])
    assert overtaken.value.code == "answer_overtaken"


@pytest.mark.parametrize("status", [ChatStatus.INACTIVE, ChatStatus.MERGED])
def test_what_is_no_answer_is_silent(status: ChatStatus) -> None:
    chat = make_chat(status=status)
    assert [type(event) for event in spoken([Stored(chat), Done(chat)])] == [Stored, Done, Spoken]


def test_what_a_human_overtook_is_not_spoken_further() -> None:
    chat, commits, goes_on = make_chat(status=ChatStatus.SUPPRESSED, response=TEXT), *flags(2)
    synthesizer = scripted(lambda text: [samples(text)] if text == ONE else [goes_on, samples(text)])
    answer = Answer([Stored(chat), TextDelta(TEXT), commits, Done(chat)])
    events = speaking(answer, synthesizer)
    next(events)
    assert next(events) == Audio(samples(ONE))
    commits.set()
    assert [type(event) for event in events] == [Done, Spoken]


def test_look_ahead_goes_no_further_than_the_next_sentence() -> None:
    synthesizer = reader()
    answer = Answer(answered(TEXT))
    events = speaking(answer, synthesizer)
    next(event for event in events if isinstance(event, Audio))
    assert answer.over.wait(10)
    until(lambda: ours() == 0)
    assert sorted(synthesizer.closed) == [ONE, TWO]
    next(event for event in events if isinstance(event, Audio))
    until(lambda: sorted(synthesizer.closed) == sorted([ONE, TWO, THREE]))
    assert heard(events) == [THREE, FOUR]


def test_no_more_sentences_than_the_limit_are_synthesized_in_a_process() -> None:
    synthesizer = reader()
    shared = speaker(synthesizer, FairSlots(3))
    said: list[list[str]] = []

    def speak() -> None:
        answer = Answer(answered(TEXT))
        said.append(heard(shared.speak(ASSISTANT, answer.events(), PCM, answer.deadline)))

    threads = [threading.Thread(target=speak) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert said == [SENTENCES] * 10
    assert synthesizer.most_running <= 3


def test_a_slow_listener_holds_no_slot() -> None:
    slots = FairSlots(1)
    shared = speaker(reader(), slots)
    slow, quick = Answer(answered(TEXT)), Answer(answered(TEXT))
    listening = shared.speak(ASSISTANT, slow.events(), PCM, slow.deadline)
    next(event for event in listening if isinstance(event, Audio))
    assert heard(shared.speak(ASSISTANT, quick.events(), PCM, quick.deadline)) == SENTENCES
    assert heard(listening) == SENTENCES[1:]
    until(lambda: slots.used == 0)


def test_a_sentence_that_says_nothing_is_skipped() -> None:
    assert heard(iter(spoken(answered(f"{ONE}\n---\n{TWO}")))) == [ONE, TWO]


def test_the_voice_is_the_assistants_else_the_servers() -> None:
    synthesizer = reader()
    made = Speaker(OnUse(lambda: synthesizer), FairSlots(1), "default")
    list(made.speak(replace(ASSISTANT, voice="own"), Answer(answered(ONE)).events(), PCM, Deadline(30)))
    list(made.speak(ASSISTANT, Answer(answered(ONE)).events(), PCM, Deadline(30)))
    assert [manner for _, manner in synthesizer.texts] == [Manner("en-US", "own"), Manner("en-US", "default")]


def test_the_language_is_the_assistants_else_found_in_the_text() -> None:
    synthesizer = reader()
    made, nobodys = speaker(synthesizer), replace(ASSISTANT, language=None)
    portuguese = "A resposta é falada em português, porque foi escrita assim."
    list(made.speak(nobodys, Answer(answered(portuguese)).events(), PCM, Deadline(30)))
    list(made.speak(replace(ASSISTANT, language="pt-PT"), Answer(answered(ONE)).events(), PCM, Deadline(30)))
    assert [manner.language for _, manner in synthesizer.texts] == ["pt-BR", "pt-PT"]
