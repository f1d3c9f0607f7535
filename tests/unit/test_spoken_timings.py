"""What is measured of speech: how long listeners wait, once for each answer, and how many sentences are in work."""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.answers import Done, Replaying, Stored
from models.deadline import Deadline
from models.errors import CallCancelled, ProviderFailed
from routes.metrics import Metrics
from routes.spoken_timings import timed
from services.voice.slots import FairSlots, Owner
from services.voice.speaking import Audio, Spoken, SpokenEvent
from tests.contract.engine import wait_until
from tests.contract.stores import make_chat

CHAT = make_chat(response="Olá.")
SPOKEN = Spoken(70, 80)


class Notes:
    """Take notes as `SpokenReplies.note` does.

    Args:
        known: the chat has one already.
    """

    def __init__(self, known: bool = False) -> None:
        self.taken: list[tuple[str, Spoken]] = []
        self._known = known

    def __call__(self, chat_id: str, spoken: Spoken) -> bool:
        """Take a note."""
        self.taken.append((chat_id, spoken))
        return not self._known


def listen(events: Sequence[SpokenEvent | Exception], note: Notes) -> tuple[list[SpokenEvent], str]:
    """Return what came through, and what is measured."""
    measured = Metrics()

    def told() -> Generator[SpokenEvent, None, None]:
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event

    heard = list(timed(told(), note, measured))
    return heard, measured.exposition().decode()


def test_a_new_answers_wait_is_noted_and_measured() -> None:
    note = Notes()
    events: list[SpokenEvent] = [Stored(CHAT), Audio(b"a"), Done(CHAT), SPOKEN]
    heard, measured = listen(events, note)
    assert heard == events and note.taken == [(CHAT.id, SPOKEN)]
    assert 'orquestra_answer_stage_seconds_sum{stage="first_audio"} 0.08' in measured
    assert 'orquestra_answer_stage_seconds_count{stage="first_sentence"} 1.0' in measured


def test_what_is_noted_already_is_not_measured_again() -> None:
    _, measured = listen([Stored(CHAT), Done(CHAT), SPOKEN], Notes(known=True))
    assert "first_audio" not in measured


@pytest.mark.parametrize(
    "events",
    [
        [Replaying(), Stored(CHAT), Done(CHAT, replayed=True), SPOKEN],
        [Stored(CHAT), Done(CHAT, replayed=True), SPOKEN],
        [Audio(b"a"), SPOKEN],
        [Stored(CHAT), Done(CHAT)],
    ],
    ids=["replay", "another server's", "no chat", "unheard"],
)
def test_nothing_is_noted_of_what_was_not_waited_for(events: list[SpokenEvent]) -> None:
    note = Notes()
    _, measured = listen(events, note)
    assert note.taken == [] and "first_audio" not in measured


def test_a_failure_goes_through() -> None:
    note = Notes()
    with pytest.raises(ProviderFailed):
        listen([Stored(CHAT), ProviderFailed("It is down. Try again."), SPOKEN], note)
    assert note.taken == []


def test_sentences_that_are_synthesized_and_wait_are_shown() -> None:
    measured, slots, deadline = Metrics(), FairSlots(1), Deadline(10)
    slots.show(measured.show_synthesis)

    def shown() -> tuple[str, str]:
        lines = measured.exposition().decode().splitlines()
        values = {line.split()[0]: line.split()[1] for line in lines if line.startswith("orquestra_synthesis_")}
        return values["orquestra_synthesis_used"], values["orquestra_synthesis_waiting"]

    def wait() -> None:
        with slots.hold(Owner("b"), deadline):
            raise AssertionError("the slot is taken")

    with ThreadPoolExecutor(1) as pool:
        with slots.hold(Owner("a"), Deadline(10)):
            assert shown() == ("1.0", "0.0")
            waiting = pool.submit(wait)
            wait_until(lambda: shown() == ("1.0", "1.0"))
            deadline.cancel()
            with pytest.raises(CallCancelled):
                waiting.result(5)
            assert shown() == ("1.0", "0.0")
    assert shown() == ("0.0", "0.0")
