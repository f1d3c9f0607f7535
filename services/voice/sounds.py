"""The sound of one sentence, on its way from the synthesizer to the listener."""

import time
from dataclasses import dataclass
from typing import Protocol

from models.deadline import Deadline
from models.errors import OrquestraError, ProviderFailed
from models.voice import Codec
from services.voice.mp3 import Mp3Joiner
from services.voice.samples import WholeSamples

_MOST_BYTES = 4 * 2**20
"""500 characters are 40 s of speech: 2 MB of samples at 24 kHz. More than this is no speech."""

_PASSED_ON_AFTER = 0.2
"""Seconds that an MP3 is waited for to be whole; from then on it goes out as it comes, in pieces of that length."""


@dataclass(frozen=True)
class Sentence:
    """Something to say.

    Attributes:
        language: BCP 47 tag.
        is_filler: it is said while tools run, and no part of the answer.
    """

    text: str
    language: str
    is_filler: bool = False


class Packer(Protocol):
    """What makes pieces of sound that can be played from any bytes of it."""

    def feed(self, piece: bytes) -> bytes:
        """Return what can be played by now."""

    def finish(self) -> bytes:
        """Return the rest."""


def packer(codec: Codec) -> Packer:
    """Return what packs the sound of one sentence."""
    return Mp3Joiner() if codec is Codec.MP3 else WholeSamples()


class Sound:
    """Keep a sentence's sound until the listener takes it; whoever uses it holds the lock of the answer.

    Attributes:
        deadline: of its synthesis.
        is_first: nothing of the answer can be heard before.
        begun: the synthesizer works on it, or has.
        ended: all of its sound is here.
        error: why it ended early.
    """

    def __init__(self, sentence: Sentence, deadline: Deadline, codec: Codec, *, is_first: bool) -> None:
        self.sentence = sentence
        self.deadline = deadline
        self.is_first = is_first
        self.begun = False
        self.ended = False
        self.error: OrquestraError | None = None
        self._whole = codec is Codec.MP3
        self._ready = bytearray()
        self._bytes = 0
        self._since: float | None = None

    def put(self, data: bytes) -> None:
        """Add what can be played.

        Raises:
            ProviderFailed: code `speech_too_long`, it is more than any sentence's.
        """
        if self._since is None:
            self._since = time.monotonic()
        self._bytes += len(data)
        if self._bytes > _MOST_BYTES:
            raise ProviderFailed(
                "The speech provider sent far more sound than a sentence has. Try again, or use another voice.",
                code="speech_too_long",
            )
        self._ready += data

    def end(self, error: OrquestraError | None) -> None:
        """Say that no more comes."""
        self.ended, self.error = True, error

    @property
    def is_silent(self) -> bool:
        """Tell whether no sound has come."""
        return self._bytes == 0

    def ready_in(self) -> float | None:
        """Return the seconds after which the listener may take what is here; None while there is nothing."""
        if not self._ready or self._since is None:
            return None
        if self.ended or not self._whole:
            return 0.0
        return max(0.0, self._since + _PASSED_ON_AFTER - time.monotonic())

    def take(self) -> bytes:
        """Return what is ready; it is the listener's from now on."""
        data = bytes(self._ready)
        self._ready.clear()
        self._since = time.monotonic()
        return data
