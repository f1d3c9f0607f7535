"""Voice: what people say is answered, and answers are spoken while they are written."""

from collections.abc import Generator, Iterator, Sequence

from models.answers import AnswerEvent, Inbound
from models.assistants import Assistant
from models.deadline import Deadline
from models.voice import Heard, SpeechFormat, Upload, Voice
from services.ports import SpeechSynthesizer
from services.voice.hearing import Hearing
from services.voice.on_use import OnUse
from services.voice.recorded import RecordedMessages
from services.voice.speaking import Speaker, SpokenEvent


class VoiceService:
    """Hear messages, speak answers, and either without the other."""

    def __init__(
        self,
        hearing: Hearing,
        recorded: RecordedMessages,
        speaker: Speaker,
        synthesizer: OnUse[SpeechSynthesizer],
    ) -> None:
        self._hearing = hearing
        self._recorded = recorded
        self._speaker = speaker
        self._synthesizer = synthesizer

    def heard(
        self,
        message: Inbound,
        upload: Upload,
        deadline: Deadline,
        *,
        language: str | None = None,
        bare_rate: int | None = None,
    ) -> Inbound:
        """Return a message with what is said in its recording as its text.

        Args:
            language: BCP 47 tag of what is expected; None for the assistant's.
            bare_rate: samples a second of a recording that is no file at all, but bare samples; None if it has to be a
                file.

        Raises:
            Conflict, Invalid, TooLarge, ProviderFailed, DeadlineExceeded, CallCancelled: as `RecordedMessages.inbound`.
        """
        return self._recorded.inbound(message, upload, deadline, language, bare_rate)

    def spoken(
        self, message: Inbound, answer: Iterator[AnswerEvent], fmt: SpeechFormat, deadline: Deadline
    ) -> Generator[SpokenEvent, None, None]:
        """Speak a message's answer while it comes, in the assistant's language, else in the message's."""
        language = message.heard.language if message.heard is not None else None
        return self._speaker.speak(message.assistant, answer, fmt, deadline, language)

    def transcribe(
        self, assistant: Assistant, upload: Upload, language: str | None, deadline: Deadline
    ) -> tuple[str, Heard]:
        """Return what is said in a recording, which becomes no message.

        Raises:
            Invalid, TooLarge, ProviderFailed, DeadlineExceeded, CallCancelled: as `Hearing.hear`.
        """
        return self._hearing.hear(upload, language or assistant.language, deadline)

    def say(
        self,
        assistant: Assistant,
        text: str,
        fmt: SpeechFormat,
        deadline: Deadline,
        *,
        language: str | None = None,
        voice: str | None = None,
    ) -> Generator[SpokenEvent, None, None]:
        """Speak a text, in the assistant's language and voice where none is named."""
        return self._speaker.say(assistant, text, fmt, deadline, language=language, voice=voice)

    def rate_of(self, fmt: SpeechFormat) -> int:
        """Return how many samples a second speech has in a format."""
        return self._synthesizer().format_of(fmt.codec).rate

    def voices(self, language: str | None, deadline: Deadline) -> tuple[str, Sequence[Voice]]:
        """Return who speaks, and the voices to choose from.

        Args:
            language: only voices that speak it; `pt` is every Portuguese (RFC 4647, section 3.3.1). None for all.

        Raises:
            ProviderFailed, DeadlineExceeded, CallCancelled: as `SpeechSynthesizer.voices`.
        """
        synthesizer = self._synthesizer()
        voices = synthesizer.voices(deadline)
        return synthesizer.name, [one for one in voices if language is None or _speaks(one, language)]


def _speaks(voice: Voice, language: str) -> bool:
    wanted = language.lower()
    return any(tag.lower() == wanted or tag.lower().startswith(f"{wanted}-") for tag in voice.languages)
