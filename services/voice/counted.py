"""How the calls of what hears and speaks end, told in one place for all providers."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

from models.deadline import Deadline
from models.errors import CallCancelled, OrquestraError
from models.voice import AudioFormat, Codec, Manner, Recording, Transcript, Voice
from services.ports import SpeechSynthesizer, Transcriber
from services.voice.on_use import OnUse

Told = Callable[[str, str, float], None]
"""Is told the provider, the outcome, and how much of what providers bill was begun."""

OK, CANCELLED = "ok", "cancelled"


class SpeechCalls:
    """Have functions told of each call that ends: `ok`, `cancelled` if it was stopped before, or an error's code."""

    def __init__(self) -> None:
        self._transcribed: Told = _nobody
        self._synthesized: Told = _nobody

    def show(self, transcribed: Told, synthesized: Told) -> None:
        """Have functions told from now on; they have to be quick.

        Args:
            transcribed: is told seconds of sound.
            synthesized: is told characters.
        """
        self._transcribed, self._synthesized = transcribed, synthesized

    @contextmanager
    def transcription(self, provider: str, seconds: float, deadline: Deadline) -> Iterator[None]:
        """Tell how the block ends, a transcription of so much sound."""
        with _ending(deadline, lambda outcome: self._transcribed(provider, outcome, _begun(outcome, seconds))):
            yield

    @contextmanager
    def synthesis(self, provider: str, characters: int, deadline: Deadline) -> Iterator[None]:
        """Tell how the block ends, a synthesis of so many characters."""
        with _ending(deadline, lambda outcome: self._synthesized(provider, outcome, _begun(outcome, characters))):
            yield


class CountedTranscriber:
    """Implement `Transcriber` by another one, whose calls are told.

    Args:
        provider: its name in settings.
    """

    def __init__(self, provider: str, transcriber: OnUse[Transcriber], calls: SpeechCalls) -> None:
        self._provider = provider
        self._transcriber = transcriber
        self._calls = calls

    @property
    def name(self) -> str:
        """Return the other one's."""
        return self._transcriber().name

    def transcribe(self, recording: Recording, language: str | None, deadline: Deadline) -> Transcript:
        """Return what was said; raises as `Transcriber.transcribe`."""
        with self._calls.transcription(self._provider, recording.seconds, deadline):
            return self._transcriber().transcribe(recording, language, deadline)

    def close(self) -> None:
        """Close the other one."""
        self._transcriber.close()


class CountedSynthesizer:
    """Implement `SpeechSynthesizer` by another one, whose calls are told.

    Args:
        provider: its name in settings.
    """

    def __init__(self, provider: str, synthesizer: OnUse[SpeechSynthesizer], calls: SpeechCalls) -> None:
        self._provider = provider
        self._synthesizer = synthesizer
        self._calls = calls

    @property
    def name(self) -> str:
        """Return the other one's."""
        return self._synthesizer().name

    def format_of(self, codec: Codec) -> AudioFormat:
        """Return what `synthesize` yields for a codec."""
        return self._synthesizer().format_of(codec)

    def synthesize(self, text: str, manner: Manner, codec: Codec, deadline: Deadline) -> Generator[bytes, None, None]:
        """Yield the sound of a text as it comes; raises as `SpeechSynthesizer.synthesize`."""
        with self._calls.synthesis(self._provider, len(text), deadline):
            yield from self._synthesizer().synthesize(text, manner, codec, deadline)

    def voices(self, deadline: Deadline) -> Sequence[Voice]:
        """Return the voices to choose from; raises as `SpeechSynthesizer.voices`."""
        return self._synthesizer().voices(deadline)

    def close(self) -> None:
        """Close the other one."""
        self._synthesizer.close()


@contextmanager
def _ending(deadline: Deadline, told: Callable[[str], None]) -> Iterator[None]:
    outcome = OrquestraError.code
    try:
        yield
        outcome = OK
    except (GeneratorExit, CallCancelled):
        outcome = CANCELLED
        raise
    except OrquestraError as error:
        outcome = CANCELLED if deadline.cancelled else error.code
        raise
    finally:
        told(outcome)


def _begun(outcome: str, amount: float) -> float:
    return amount if outcome in {OK, CANCELLED} else 0


def _nobody(provider: str, outcome: str, amount: float) -> None:
    """Take no notice."""
