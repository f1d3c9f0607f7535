"""What hears and speaks."""

from collections.abc import Generator, Sequence
from typing import Protocol

from models.deadline import Deadline
from models.voice import AudioFormat, Codec, Manner, Recording, Transcript, Upload, Voice


class AudioDecoder(Protocol):
    """What reads files of sound."""

    def decode(self, upload: Upload, deadline: Deadline) -> Recording:
        """Return the sound of an upload, as far as it can be read.

        Raises:
            Invalid: code `audio_unreadable`, there is no sound in it that can be read.
            TooLarge: code `audio_too_long`, it is longer than MAX_AUDIO_SECONDS.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """


class Transcriber(Protocol):
    """What writes down what is said."""

    @property
    def name(self) -> str:
        """Return its name in `X-Transcriber`."""

    def transcribe(self, recording: Recording, language: str | None, deadline: Deadline) -> Transcript:
        """Return what was said; cancelling the deadline stops the work.

        Args:
            language: BCP 47 tag of what is expected; None to find it out.

        Raises:
            Invalid: code `language_unsupported`, it does not know the language.
            ProviderFailed: after bounded retries of what may pass.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """


class SpeechSynthesizer(Protocol):
    """What speaks."""

    @property
    def name(self) -> str:
        """Return its name in `X-Speech`."""

    def format_of(self, codec: Codec) -> AudioFormat:
        """Return what `synthesize` yields for a codec; it is the same for all voices."""

    def synthesize(self, text: str, manner: Manner, codec: Codec, deadline: Deadline) -> Generator[bytes, None, None]:
        """Yield the sound of a text of at most 500 characters as it comes.

        MP3 comes as any pieces of a file, tags and all; samples as any pieces of a row of them. Closing the generator
        or cancelling the deadline stops the work.

        Raises:
            Invalid: code `voice_unknown`, there is no such voice, or none for the language.
            ProviderFailed: after bounded retries of what may pass; none once there was sound.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """

    def voices(self, deadline: Deadline) -> Sequence[Voice]:
        """Return the voices to choose from; none where the provider does not tell.

        Raises:
            ProviderFailed, DeadlineExceeded, CallCancelled: as `synthesize`.
        """
