"""The voices of Amazon Polly, and which of them speaks a language."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.deadline import Deadline
from models.errors import Invalid
from models.voice import Manner, Voice
from services.providers.aws_calls import AwsService
from services.providers.aws_languages import common_tag, nearest

if TYPE_CHECKING:
    from mypy_boto3_polly.client import PollyClient
    from mypy_boto3_polly.literals import EngineType, LanguageCodeType, VoiceIdType
    from mypy_boto3_polly.type_defs import DescribeVoicesInputTypeDef, VoiceTypeDef


@dataclass(frozen=True)
class Speaking:
    """Who speaks, and in what language.

    Attributes:
        language: Polly's code where it is not the voice's own language.
    """

    voice: "VoiceIdType"
    language: "LanguageCodeType | None" = None


class PollyVoices:
    """Know the voices of an engine; they are asked for once, with the first use."""

    def __init__(self, client: "PollyClient", engine: "EngineType", service: AwsService) -> None:
        self._client = client
        self._engine = engine
        self._service = service
        self._found: tuple[VoiceTypeDef, ...] = ()

    def choose(self, manner: Manner, deadline: Deadline) -> Speaking:
        """Return who speaks in a manner: the voice it names, else the first one of its language.

        A voice that is named speaks whatever it is given, as Polly has it: the language of a short text is easily
        mistaken, and an accent is better than silence.

        Raises:
            Invalid: code `voice_unknown`.
            ProviderFailed, DeadlineExceeded, CallCancelled: as `AwsService.open`.
        """
        found = self._voices(deadline)
        if manner.voice is not None:
            return _in_language(self._named(manner.voice, found), manner.language)
        own = [one["LanguageCode"] for one in found]
        language = nearest(manner.language, own + [code for one in found for code in _additional(one)])
        speakers = [one for one in found if one["LanguageCode"] == language]
        speakers += [one for one in found if language in _additional(one)]
        if not speakers:
            raise self._unknown(f"for {manner.language}")
        return _in_language(speakers[0], manner.language)

    def voices(self, deadline: Deadline) -> Sequence[Voice]:
        """Return the engine's voices; raises as `choose` does, but for `Invalid`."""
        return tuple(
            Voice(one["Id"], one["Name"], tuple(map(common_tag, _spoken(one))), one["Gender"].lower())
            for one in self._voices(deadline)
        )

    def _named(self, voice: str, found: "Sequence[VoiceTypeDef]") -> "VoiceTypeDef":
        for one in found:
            if one["Id"].casefold() == voice.casefold():
                return one
        raise self._unknown(voice)

    def _unknown(self, what: str) -> Invalid:
        return Invalid(
            f"Amazon Polly's engine {self._engine} has no voice {what} here. GET /voice/voices lists those there are; "
            "POLLY_ENGINE chooses the engine and AWS_DEFAULT_REGION the region.",
            code="voice_unknown",
        )

    def _voices(self, deadline: Deadline) -> "Sequence[VoiceTypeDef]":
        if not self._found:
            self._found = self._asked(deadline)
        return self._found

    def _asked(self, deadline: Deadline) -> "tuple[VoiceTypeDef, ...]":
        request: DescribeVoicesInputTypeDef = {"Engine": self._engine, "IncludeAdditionalLanguageCodes": True}
        found: list[VoiceTypeDef] = []
        while True:
            page = self._service.ask(deadline, lambda: self._client.describe_voices(**request))
            found += page["Voices"]
            if not page.get("NextToken"):
                self._service.log(logging.INFO, "voices", len(found))
                return tuple(found)
            request["NextToken"] = page["NextToken"]


def _in_language(voice: "VoiceTypeDef", tag: str) -> Speaking:
    language = nearest(tag, _spoken(voice))
    return Speaking(voice["Id"], next((code for code in _additional(voice) if code == language), None))


def _spoken(voice: "VoiceTypeDef") -> "list[LanguageCodeType]":
    return [voice["LanguageCode"], *_additional(voice)]


def _additional(voice: "VoiceTypeDef") -> "list[LanguageCodeType]":
    return voice.get("AdditionalLanguageCodes", [])
