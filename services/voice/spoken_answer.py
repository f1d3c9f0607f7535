"""One answer while it is spoken: a thread reads what the model writes, at most two have sentences synthesized."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from models.answers import AnswerEvent, Done, Filler, Replaying, Stored, TextDelta, ToolProgress, Written
from models.chats import Chat, ChatStatus
from models.deadline import Deadline
from models.errors import OrquestraError, ProviderFailed
from models.voice import Codec, Manner, SpeechFormat
from services.drafts import ms_since
from services.ports import SpeechSynthesizer
from services.voice.on_use import OnUse
from services.voice.script import Script
from services.voice.slots import FairSlots, Owner
from services.voice.sounds import Sentence, Sound, packer
from services.voice.wav import wav_header

LOOK_AHEAD = 2
"""Sentences of an answer that are being synthesized or ready: the one that is spoken, and the next."""

_SENTENCE_SECONDS = 30.0
"""A sentence behind the first has this time, also when the answer's own is over: long answers take long to be said."""


@dataclass(frozen=True)
class Speech:
    """How sentences become sound.

    Attributes:
        owner: who takes the slots.
        voice: a voice's id; None for the synthesizer's choice.
    """

    synthesizer: OnUse[SpeechSynthesizer]
    slots: FairSlots
    owner: Owner
    voice: str | None
    format: SpeechFormat

    def pieces(self, sentence: Sentence, deadline: Deadline) -> Generator[bytes, None, None]:
        """Yield what can be played of a sentence; raises as `SpeechSynthesizer.synthesize`."""
        codec, manner = self.format.codec, Manner(sentence.language, self.voice)
        packed = packer(codec)
        with contextlib.closing(self.synthesizer().synthesize(sentence.text, manner, codec, deadline)) as pieces:
            for piece in pieces:
                yield packed.feed(piece)
        yield packed.finish()

    def header(self) -> bytes:
        """Return what stands before the first sound."""
        if self.format is not SpeechFormat.WAV:
            return b""
        return wav_header(self.synthesizer().format_of(Codec.PCM).rate)


class SpokenAnswer:
    """Speak the answer that some events tell.

    The events are read to their end whatever becomes of the sound, so that the answer is stored. `_news` guards
    everything that the threads share, and wakes the listener.

    Args:
        deadline: of the answer; cancelling it stops the speech.

    Attributes:
        first_sentence_ms: from the stored message until the answer's first sentence was there, None before that.
        first_audio_ms: from the stored message until the answer's first sound was there, None before that.
    """

    def __init__(self, events: Iterator[AnswerEvent], script: Script, speech: Speech, deadline: Deadline) -> None:
        self._events = events
        self._script = script
        self._speech = speech
        self._deadline = deadline
        self._synthesis = deadline.child()
        self._news = threading.Condition()
        self._passed: deque[AnswerEvent] = deque()
        self._written: deque[Sentence] = deque()
        self._line: deque[Sound] = deque()
        self._read_to_the_end = False
        self._failure: OrquestraError | None = None
        self._heard = False
        self._silent = False
        self._stored_at = time.monotonic()
        self.first_sentence_ms: int | None = None
        self.first_audio_ms: int | None = None

    def start(self) -> None:
        """Begin to read the events."""
        self._deadline.on_cancel(self._wake)
        threading.Thread(target=self._read, name="speech", daemon=True).start()

    def next(self) -> AnswerEvent | bytes | None:
        """Return what comes next: sound, or what is told of the answer itself; None behind the last.

        Raises:
            OrquestraError: the model failed, or the synthesizer did with the sentence whose turn it is.
            ProviderFailed: code `speech_empty`, no sound came of all the sentences.
            DeadlineExceeded, CallCancelled: as `Deadline.check`.
        """
        with self._news:
            while True:
                if self._deadline.cancelled:
                    self._deadline.check()
                if self._passed:
                    return self._passed.popleft()
                if self._failure is not None:
                    raise self._failure
                self._drop_what_was_heard()
                sound = self._line[0] if self._line else None
                if sound is None and self._read_to_the_end:
                    self._check_heard()
                    return None
                ready_in = sound.ready_in() if sound is not None else None
                if sound is not None and ready_in == 0:
                    return self._audio(sound)
                self._news.wait(self._patience(sound) if ready_in is None else ready_in)

    def close(self) -> None:
        """Stop synthesizing; what the model still says is stored, not spoken."""
        self._synthesis.cancel()

    def _patience(self, sound: Sound | None) -> float:
        """Return for how many seconds the sound, or the next word of the answer, may still be waited for."""
        limit = self._deadline if sound is None else sound.deadline
        limit.check()
        return limit.remaining()

    def _drop_what_was_heard(self) -> None:
        """Forget the sentences whose sound was taken; the listener asks for more, so the next ones may begin.

        Raises:
            OrquestraError: the sentence whose turn it is has failed.
        """
        while self._line and self._line[0].ended:
            sound = self._line[0]
            if sound.error is not None:
                raise sound.error
            if sound.ready_in() is not None:
                return
            self._silent = self._silent or sound.is_silent
            self._line.popleft()
            self._go_on()

    def _audio(self, sound: Sound) -> bytes:
        header = b"" if self._heard else self._speech.header()
        self._heard = True
        if self.first_audio_ms is None and not sound.sentence.is_filler:
            self.first_audio_ms = ms_since(self._stored_at)
        return header + sound.take()

    def _check_heard(self) -> None:
        if self._silent and not self._heard:
            raise ProviderFailed(
                "The speech provider sent no sound. Try again, or use another voice.", code="speech_empty"
            )

    def _wake(self) -> None:
        with self._news:
            self._news.notify_all()

    def _read(self) -> None:
        """Read the events to their end."""
        ending: OrquestraError | None = OrquestraError("The server failed. Its log says why.")
        try:
            for event in self._events:
                self._take(event)
            self._say(self._script.finish())
            ending = None
        except OrquestraError as error:
            ending = error
        finally:
            with self._news:
                self._read_to_the_end, self._failure = True, ending
                self._news.notify_all()
            self._let_go()

    def _let_go(self) -> None:
        """Stop the answer where the reading broke off: else its model waits, and its lease is renewed, for nobody."""
        close = getattr(self._events, "close", None)
        if close is not None:
            close()

    def _take(self, event: AnswerEvent) -> None:
        match event:
            case Stored() | Replaying():
                if isinstance(event, Stored):
                    self._stored_at = time.monotonic()
                    self._script.answers(event.chat.message or "")
                self._pass_on(event)
            case TextDelta(text):
                if self._script.ends_filler():
                    self._drop(lambda sentence, begun: sentence.is_filler and not begun)
                self._say(self._script.answer(text))
            case Filler() | ToolProgress() | Written():
                self._say(self._sentences_of(event))
            case Done(chat):
                self._settle(chat)
                self._pass_on(event)

    def _sentences_of(self, event: Filler | ToolProgress | Written) -> Sequence[Sentence]:
        match event:
            case Filler(text):
                return self._script.filler(text)
            case ToolProgress():
                return self._script.pause()
            case Written():
                return self._script.finish()

    def _settle(self, chat: Chat) -> None:
        """Make sure that what is spoken is the answer; where a human came first, nobody is to hear the rest."""
        if chat.status is ChatStatus.ANSWERED:
            self._say(self._script.settle(chat.response or ""))
        else:
            self._script.forget()
            self._drop(lambda sentence, begun: True)

    def _pass_on(self, event: AnswerEvent) -> None:
        with self._news:
            self._passed.append(event)
            self._news.notify_all()

    def _say(self, sentences: Sequence[Sentence]) -> None:
        """Queue sentences."""
        if not sentences:
            return
        with self._news:
            for sentence in sentences:
                if self.first_sentence_ms is None and not sentence.is_filler:
                    self.first_sentence_ms = ms_since(self._stored_at)
                self._written.append(sentence)
            self._go_on()

    def _drop(self, is_unwanted: Callable[[Sentence, bool], bool]) -> None:
        """Forget sentences.

        Args:
            is_unwanted: is given a sentence and whether the synthesizer has begun with it.
        """
        with self._news:
            self._written = deque(sentence for sentence in self._written if not is_unwanted(sentence, False))
            for sound in [one for one in self._line if is_unwanted(one.sentence, one.begun)]:
                self._line.remove(sound)
                sound.deadline.cancel()

    def _go_on(self) -> None:
        """Begin with the next sentences, as far as looking ahead is allowed."""
        while self._written and len(self._line) < LOOK_AHEAD and not self._synthesis.cancelled:
            sentence = self._written.popleft()
            first = not self._heard and not self._line
            sound = Sound(sentence, self._time_of(first), self._speech.format.codec, is_first=first)
            self._line.append(sound)
            threading.Thread(target=self._synthesize, args=(sound,), name="sentence", daemon=True).start()

    def _time_of(self, first: bool) -> Deadline:
        if first:
            return self._synthesis.child()
        deadline = Deadline(max(self._deadline.remaining(), _SENTENCE_SECONDS))
        self._synthesis.on_cancel(deadline.cancel)
        return deadline

    def _synthesize(self, sound: Sound) -> None:
        """Gather the sound of a sentence; the listener's pace does not matter, so a slot is never held for long."""
        ending: OrquestraError | None = OrquestraError("The server failed. Its log says why.")
        speech = self._speech
        try:
            with speech.slots.hold(speech.owner, sound.deadline, first=sound.is_first):
                with self._news:
                    sound.begun = True
                with contextlib.closing(speech.pieces(sound.sentence, sound.deadline)) as pieces:
                    for piece in pieces:
                        with self._news:
                            sound.put(piece)
                            self._news.notify_all()
            ending = None
        except OrquestraError as error:
            ending = error
        finally:
            with self._news:
                sound.end(ending)
                self._news.notify_all()
