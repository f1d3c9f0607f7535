"""A transcriber and a synthesizer that do what a test tells them to; users can test against them too."""

import threading
from collections.abc import Callable, Generator, Iterable, Sequence

from models.deadline import Deadline
from models.voice import AudioFormat, Codec, Manner, Recording, Transcript, Voice

_GLANCE_SECONDS = 0.01

Spoken = Iterable[bytes | BaseException | threading.Event]
"""Pieces of sound, errors to raise, events of threading to wait for."""


class ScriptedTranscriber:
    """Answer each recording with the next transcript, or raise it.

    Attributes:
        recordings: what the calls brought, in order, with the language that was expected.
    """

    name = "scripted"

    def __init__(self, transcripts: Iterable[Transcript | BaseException] = ()) -> None:
        self.recordings: list[tuple[Recording, str | None]] = []
        self._transcripts = list(transcripts)
        self._lock = threading.Lock()

    def transcribe(self, recording: Recording, language: str | None, deadline: Deadline) -> Transcript:
        """Return the next transcript.

        Raises:
            AssertionError: nothing is planned for this call.
        """
        deadline.check()
        with self._lock:
            self.recordings.append((recording, language))
            if len(self.recordings) > len(self._transcripts):
                raise AssertionError(f"nothing is planned for call {len(self.recordings)}")
            planned = self._transcripts[len(self.recordings) - 1]
        if isinstance(planned, BaseException):
            raise planned
        return planned


class ScriptedSynthesizer:
    """Speak each text as a function says; without one, as its own bytes in UTF-8.

    Args:
        speak: returns what comes of a text.

    Attributes:
        texts: what was to be spoken, in the order of the calls, with the manner.
        closed: the texts whose calls have ended, however they did.
        running: how many calls go on.
        most_running: how many went on at once at most.
    """

    name = "scripted"

    def __init__(self, speak: Callable[[str], Spoken] | None = None) -> None:
        self.texts: list[tuple[str, Manner]] = []
        self.closed: list[str] = []
        self.running = 0
        self.most_running = 0
        self._speak = speak or (lambda text: [text.encode()])
        self._lock = threading.Lock()

    def format_of(self, codec: Codec) -> AudioFormat:
        """Return the codec at 24,000 samples a second."""
        return AudioFormat(codec, 24_000)

    def synthesize(self, text: str, manner: Manner, codec: Codec, deadline: Deadline) -> Generator[bytes, None, None]:
        """Yield what the function says; waiting for an event ends with the deadline."""
        with self._lock:
            self.texts.append((text, manner))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            for item in self._speak(text):
                deadline.check()
                if isinstance(item, BaseException):
                    raise item
                if isinstance(item, bytes):
                    yield item
                    continue
                while not item.wait(_GLANCE_SECONDS):
                    deadline.check()
        finally:
            with self._lock:
                self.running -= 1
                self.closed.append(text)

    def voices(self, deadline: Deadline) -> Sequence[Voice]:
        """Return one voice."""
        deadline.check()
        return (Voice("scripted", "Scripted", ("en-US", "pt-BR", "zh-CN")),)
