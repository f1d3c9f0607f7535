"""Answers are spoken while they are written: sentence by sentence, in order."""

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from models.answers import AnswerEvent, Done, TextDelta
from models.assistants import Assistant
from models.chats import Chat
from models.deadline import Deadline
from models.voice import SpeechFormat
from services.ports import SpeechSynthesizer
from services.voice.on_use import OnUse
from services.voice.script import Script
from services.voice.slots import FairSlots, Owner
from services.voice.spoken_answer import Speech, SpokenAnswer


@dataclass(frozen=True)
class Audio:
    """The next piece of sound: whole MP3 frames, or whole samples, with a header before the first of a WAV file."""

    data: bytes


@dataclass(frozen=True)
class Spoken:
    """How long it took from the stored message until there was something to hear of its answer.

    It is told once: as soon as the answer is stored and its first sound was there, else at the end.

    Attributes:
        first_sentence_ms: until the answer's first sentence was written; None if it has none.
        first_audio_ms: until the first sound of the answer itself was there, filler aside.
    """

    first_sentence_ms: int | None = None
    first_audio_ms: int | None = None


SpokenEvent = AnswerEvent | Audio | Spoken


class Speaker:
    """Speak answers, and other texts.

    Args:
        default_voice: the voice of assistants that name none; None for the synthesizer's choice.
    """

    def __init__(
        self, synthesizer: OnUse[SpeechSynthesizer], slots: FairSlots, default_voice: str | None = None
    ) -> None:
        self._synthesizer = synthesizer
        self._slots = slots
        self._default_voice = default_voice

    def speak(
        self,
        assistant: Assistant,
        events: Iterator[AnswerEvent],
        fmt: SpeechFormat,
        deadline: Deadline,
        language: str | None = None,
    ) -> Generator[SpokenEvent, None, None]:
        """Yield an answer's sound as it is written, `Stored`, `Replaying` and `Done` as they come, and once `Spoken`.

        The sound of a sentence comes at once when it is whole; MP3 that takes longer comes in pieces, samples come as
        they are. The events are read by a thread of their own. Cancelling the deadline stops that too, and so does
        closing the generator before its end: nobody listens any more. Where the synthesizer fails they are read to
        their end, so that the answer is stored.

        Args:
            language: BCP 47 tag of what the person said, if it was heard.

        Raises:
            OrquestraError: whatever the events raise, at once.
            Invalid, ProviderFailed: as `SpeechSynthesizer.synthesize`, when the turn of that sentence comes; code
                `speech_too_long` or `speech_empty`, the provider sends no sensible sound.
            DeadlineExceeded, CallCancelled: as `Deadline.check`.
        """
        script = Script(assistant.language, language)
        answer = SpokenAnswer(events, script, self._speech(assistant, fmt, None), deadline)
        try:
            yield from _timed(answer)
        except GeneratorExit:
            deadline.cancel()
            raise

    def say(
        self,
        assistant: Assistant,
        text: str,
        fmt: SpeechFormat,
        deadline: Deadline,
        *,
        language: str | None = None,
        voice: str | None = None,
    ) -> Generator[Audio, None, None]:
        """Yield the sound of a text that is there already; raises as `speak`.

        Args:
            language: BCP 47 tag of the text; None for the assistant's, or else to find it out.
            voice: a voice's id; None for the assistant's.
        """
        script = Script(language or assistant.language, None)
        script.answers(text)  # where its first sentence tells no language, the rest does
        yield from _read_aloud(text, script, self._speech(assistant, fmt, voice), deadline)

    def retell(
        self, assistant: Assistant, chat: Chat, fmt: SpeechFormat, deadline: Deadline
    ) -> Generator[Audio, None, None]:
        """Yield the sound of a stored answer, as if it were written now; raises as `speak`."""
        script = Script(assistant.language, chat.heard.language if chat.heard is not None else None)
        script.answers(chat.message or "")
        yield from _read_aloud(chat.response or "", script, self._speech(assistant, fmt, None), deadline)

    def _speech(self, assistant: Assistant, fmt: SpeechFormat, voice: str | None) -> Speech:
        chosen = voice or assistant.voice or self._default_voice
        return Speech(self._synthesizer, self._slots, Owner(assistant.id), chosen, fmt)


def _read_aloud(text: str, script: Script, speech: Speech, deadline: Deadline) -> Generator[Audio, None, None]:
    with contextlib.closing(_played(SpokenAnswer(iter((TextDelta(text),)), script, speech, deadline))) as played:
        yield from (item for item in played if isinstance(item, Audio))


def _timed(answer: SpokenAnswer) -> Generator[SpokenEvent, None, None]:
    stored = told = False
    with contextlib.closing(_played(answer)) as played:
        for item in played:
            yield item
            stored = stored or isinstance(item, Done)
            if stored and not told and answer.first_audio_ms is not None:
                told = True
                yield Spoken(answer.first_sentence_ms, answer.first_audio_ms)
    if not told:
        yield Spoken(answer.first_sentence_ms, answer.first_audio_ms)


def _played(answer: SpokenAnswer) -> Generator[AnswerEvent | Audio, None, None]:
    answer.start()
    try:
        while (item := answer.next()) is not None:
            yield Audio(item) if isinstance(item, bytes) else item
    finally:
        answer.close()
