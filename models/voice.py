"""Speech: what people say into a message, and how answers are spoken."""

from dataclasses import dataclass
from enum import StrEnum

RECORDING_RATE = 16_000
"""Samples a second of every decoded recording: what transcribers expect."""


class Codec(StrEnum):
    """How a synthesizer writes sound: MP3 frames, or bare samples (signed 16 bit, little endian, mono)."""

    MP3 = "mp3"
    PCM = "pcm"


class SpeechFormat(StrEnum):
    """What a client may have an answer's speech in."""

    MP3 = "mp3"
    PCM = "pcm"
    WAV = "wav"

    @property
    def codec(self) -> Codec:
        """Return what a synthesizer has to write for it."""
        return Codec.MP3 if self is SpeechFormat.MP3 else Codec.PCM


@dataclass(frozen=True)
class AudioFormat:
    """What comes out of a synthesizer, always mono.

    Attributes:
        rate: samples a second.
    """

    codec: Codec
    rate: int


@dataclass(frozen=True)
class Upload:
    """Sound as it arrived.

    Attributes:
        filename: as the client calls it; only a hint.
        mimetype: as the client calls it, without parameters; only a hint.
        sample_rate: samples a second of bare ones (signed 16 bit, little endian, mono); None for a file of sound.
    """

    content: bytes
    filename: str = ""
    mimetype: str = ""
    sample_rate: int | None = None


@dataclass(frozen=True)
class Recording:
    """Sound that was decoded.

    Attributes:
        samples: signed 16 bit, little endian, mono, `RECORDING_RATE` a second.
        upload: what it was decoded from.
    """

    samples: bytes
    upload: Upload

    @property
    def seconds(self) -> float:
        """Return how long it is."""
        return len(self.samples) / (2 * RECORDING_RATE)


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording; "" if nobody spoke.

    Attributes:
        language: BCP 47 tag of what was spoken, None where the transcriber does not tell.
    """

    text: str
    language: str | None = None


@dataclass(frozen=True)
class Heard:
    """How a message came to be text.

    Attributes:
        transcriber: the name of what transcribed it.
        language: BCP 47 tag of what was spoken, None if it is not known.
        seconds: how long the recording was.
        sha256: of the bytes as they arrived, in hex: another delivery of the same message brings the same ones.
        decode_ms: how long the decoding took.
        transcribe_ms: how long the transcription took.
    """

    transcriber: str
    language: str | None
    seconds: float
    sha256: str
    decode_ms: int
    transcribe_ms: int


@dataclass(frozen=True)
class Voice:
    """A voice that a synthesizer has.

    Attributes:
        id: what an assistant's `voice` names it.
        languages: BCP 47 tags, its own language first.
        gender: "female" or "male", None where it is neither or not known.
    """

    id: str
    name: str
    languages: tuple[str, ...]
    gender: str | None = None


@dataclass(frozen=True)
class Manner:
    """How a text is to be spoken.

    Attributes:
        language: BCP 47 tag of the text.
        voice: a voice's id; None for the synthesizer's choice for the language.
    """

    language: str
    voice: str | None = None
