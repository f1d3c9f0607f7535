"""Answers for tests of what speaks: scripted events, a scripted synthesizer whose sound is the text itself."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace

from models.answers import AnswerEvent, Done, Stored, TextDelta
from models.chats import ChatStatus
from models.deadline import Deadline
from models.voice import SpeechFormat
from services.providers.scripted_voice import ScriptedSynthesizer
from services.voice.on_use import OnUse
from services.voice.slots import FairSlots
from services.voice.speaking import Audio, Speaker, SpokenEvent
from tests.contract.stores import make_assistant, make_chat

PCM, MP3, WAV = SpeechFormat.PCM, SpeechFormat.MP3, SpeechFormat.WAV
ASSISTANT = replace(make_assistant(), language="en-US")
ONE = "The first of all sentences is spoken."
TWO = "The second one comes right behind it."
THREE = "Nobody has to wait long for a third."
FOUR = "The fourth one is there for the tests"
TEXT = f"{ONE} {TWO} {THREE} {FOUR}"
SENTENCES = [ONE, TWO, THREE, FOUR]
OURS = {"speech", "sentence"}

Told = AnswerEvent | BaseException | threading.Event


@dataclass
class Answer:
    """Events as `ConversationService.answer` tells them; an event of threading is waited for.

    Attributes:
        over: set once they are read to their end, or have failed.
        ended_well: they were read to their end.
    """

    told: list[Told]
    deadline: Deadline = field(default_factory=lambda: Deadline(30))
    over: threading.Event = field(default_factory=threading.Event)
    ended_well: bool = False

    def events(self) -> Iterator[AnswerEvent]:
        """Yield them."""
        try:
            for item in self.told:
                if isinstance(item, threading.Event):
                    while not item.wait(0.01):
                        self.deadline.check()
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item
            self.ended_well = True
        finally:
            self.over.set()


def samples(text: str) -> bytes:
    """Return what stands for the sound of a text: whole samples."""
    return text.encode("utf-16-le")


def answered(text: str, *before: Told) -> list[Told]:
    """Return how an answer is told that comes word by word."""
    words = [TextDelta(f" {word}" if number else word) for number, word in enumerate(text.split(" "))]
    chat = make_chat()
    return [Stored(replace(chat, status=ChatStatus.RECEIVED)), *before, *words, Done(replace(chat, response=text))]


def speaker(synthesizer: ScriptedSynthesizer, slots: FairSlots | None = None) -> Speaker:
    """Return what speaks with it."""
    return Speaker(OnUse(lambda: synthesizer), slots or FairSlots(8))


def scripted(speak: Callable[[str], list[bytes | BaseException | threading.Event]]) -> ScriptedSynthesizer:
    """Return a synthesizer that does what a function says."""
    return ScriptedSynthesizer(speak)


def reader() -> ScriptedSynthesizer:
    """Return a synthesizer that makes the sound of every text at once."""
    return scripted(lambda text: [samples(text)])


def heard(events: Iterator[SpokenEvent]) -> list[str]:
    """Return the texts that the sound stands for."""
    return [event.data.decode("utf-16-le") for event in events if isinstance(event, Audio)]


def speaking(
    answer: Answer,
    synthesizer: ScriptedSynthesizer | None = None,
    fmt: SpeechFormat = PCM,
    slots: FairSlots | None = None,
) -> Generator[SpokenEvent, None, None]:
    """Yield what comes of an answer, as it comes."""
    return speaker(synthesizer or reader(), slots).speak(ASSISTANT, answer.events(), fmt, answer.deadline)


def spoken(
    told: list[Told], synthesizer: ScriptedSynthesizer | None = None, fmt: SpeechFormat = PCM
) -> list[SpokenEvent]:
    """Return all that comes of an answer."""
    return list(speaking(Answer(told), synthesizer, fmt))


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def ours() -> int:
    """Return how many threads of spoken answers there are."""
    return sum(thread.name in OURS for thread in threading.enumerate())


def flags(count: int) -> list[threading.Event]:
    """Return events of threading."""
    return [threading.Event() for _ in range(count)]
