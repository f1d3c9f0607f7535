"""A basic voice without any key: espeak-ng in this process. It is robotic, at once there, and knows 140 languages."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from models.deadline import Deadline
from models.errors import Invalid
from models.voice import AudioFormat, Codec, Manner, Voice
from services.providers.espeak_library import EspeakLibrary, LibraryVoice
from services.voice.encoding import Mp3Encoder

_CHINESE = {"cmn": ("zh-cn", "zh-tw", "zh-sg"), "yue": ("zh-hk", "zh-mo")}
"""What the library calls by language only, people call by country."""

_MUTE = frozenset({"fo", "kaa", "xex"})
"""Listed by the library, but their dictionaries are missing in the wheel: whatever they are given, they say nothing."""


class EspeakSpeech:
    """Implement `SpeechSynthesizer`.

    A voice's id is the tag of its language, such as `pt-br`, or with one of the library's variants `pt-br+f3`. A chosen
    voice reads whatever it is given, as its language is read.

    Raises:
        ProviderFailed: code `offline_speech_missing`, the library is not installed.
    """

    name = "offline"

    def __init__(self) -> None:
        self._library = EspeakLibrary()
        self._voices = _by_id(self._library.voices())
        self._variants = {name.lower(): name for name in self._library.variants()}

    def format_of(self, codec: Codec) -> AudioFormat:
        """Return what `synthesize` yields for a codec."""
        return AudioFormat(codec, self._library.rate)

    def synthesize(self, text: str, manner: Manner, codec: Codec, deadline: Deadline) -> Generator[bytes, None, None]:
        """Yield the sound of a text; raises as `SpeechSynthesizer.synthesize`.

        The library is free for others before the first piece is yielded: it makes a sentence in milliseconds, and
        listeners are slow.
        """
        identifier = self._chosen(manner.voice) if manner.voice else self._fitting(manner.language)
        pieces = self._spoken(text, identifier, deadline)
        yield from _encoded(pieces, self._library.rate, deadline) if codec is Codec.MP3 else pieces

    def voices(self, deadline: Deadline) -> Sequence[Voice]:
        """Return the library's voices, without their variants."""
        deadline.check()
        return [Voice(id, voice.name, tuple(map(_written, voice.languages))) for id, voice in self._voices.items()]

    def _spoken(self, text: str, identifier: str, deadline: Deadline) -> list[bytes]:
        def is_wanted() -> bool:
            return not deadline.cancelled and deadline.remaining() > 0

        deadline.check()
        pieces = self._library.speak(text, identifier, is_wanted)
        deadline.check()
        return pieces

    def _chosen(self, voice: str) -> str:
        """Return the identifier of a voice by its id."""
        tag, _, variant = voice.lower().partition("+")
        if tag not in self._voices or (variant and variant not in self._variants):
            raise Invalid(
                f"The offline voice knows no {voice!r}. GET /voice/voices lists those that there are.",
                code="voice_unknown",
            )
        identifier = self._voices[tag].identifier
        return f"{identifier}+{self._variants[variant]}" if variant else identifier

    def _fitting(self, language: str) -> str:
        """Return the identifier of the voice that speaks a language best, or the language without its region."""
        tag = language.lower()
        while tag:
            speakers = [voice for voice in self._voices.values() if tag in voice.languages]
            if speakers:
                return min(speakers, key=lambda voice: voice.languages[tag]).identifier
            tag = tag.rpartition("-")[0]
        raise Invalid(
            f"The offline voice does not speak {language!r}. Set the assistant's language, or SPEECH to a provider.",
            code="voice_unknown",
        )


def _by_id(voices: Iterable[LibraryVoice]) -> dict[str, LibraryVoice]:
    """Return the voices by the tags of their own languages; where two have the same one, the second by its file."""
    found: dict[str, LibraryVoice] = {}
    for voice in voices:
        tag = next(iter(voice.languages))
        if tag in _MUTE:
            continue
        if tag in found:
            tag = PurePosixPath(voice.identifier).name.lower()
        countries = dict.fromkeys(_CHINESE.get(tag, ()), 1)
        found[tag] = replace(voice, languages={**voice.languages, **countries})
    return found


def _written(tag: str) -> str:
    """Return a tag in the letters that RFC 5646, section 2.1.1 recommends."""
    language, *rest = tag.split("-")
    return "-".join([language, *(part.upper() if len(part) == 2 else part for part in rest)])


def _encoded(pieces: Sequence[bytes], rate: int, deadline: Deadline) -> Iterator[bytes]:
    encoder = Mp3Encoder(rate)
    for piece in pieces:
        deadline.check()
        if frames := encoder.encode(piece):
            yield frames
    yield encoder.finish()
