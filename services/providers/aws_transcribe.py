"""Amazon Transcribe's streaming API over a WebSocket, as AWS documents it under "Setting up a WebSocket stream".

botocore knows no streaming API of Transcribe, but signs its address. Recordings are sent as fast as they are taken: the
service works through them at its own speed. The end of the audio is an empty frame; frames are not signed.
"""

import contextlib
import functools
import itertools
import json
import logging
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlencode

import botocore.session
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.model import StringShape

from models.deadline import Deadline
from models.errors import Invalid, ProviderFailed
from models.voice import RECORDING_RATE, Recording, Transcript
from services.providers.aws_account import AwsAccount
from services.providers.aws_calls import BACKOFF_SECONDS, TRIES, AwsService, key_hint, may_pass
from services.providers.aws_event_stream import Incoming, Message, NoFrame
from services.providers.aws_languages import nearest
from services.providers.aws_transcribe_line import LOST, UNREACHABLE, Broken, opened

_PATH = "/stream-transcription-websocket"
_VALID_SECONDS = 300
_LEAST_BYTES = RECORDING_RATE
"""Half a second: AWS takes no shorter audio."""

_WITHOUT_SPACES = frozenset({"ja", "th", "zh"})


class TranscribeStreaming:
    """Implement `Transcriber`.

    Args:
        languages: what is listened for where no language is expected; two or more, of different languages.
        endpoint_url: of another server than AWS', http or https.
        backoff_seconds: between the first attempt and the second.
    """

    name = "aws"

    def __init__(
        self,
        account: AwsAccount,
        languages: Sequence[str],
        endpoint_url: str = "",
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> None:
        self._account = account
        self._session = account.session()
        self._languages = ",".join(language_code(language) for language in languages)
        self._endpoint_url = endpoint_url.rstrip("/") or _address(account.region)
        self._service = AwsService(
            name="Amazon Transcribe",
            key_hint=key_hint("transcribe:StartStreamTranscriptionWebSocket"),
            model_hint="Check AWS_DEFAULT_REGION.",
            url_hint="Check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_TRANSCRIBE_STREAMING.",
            refused_code="transcriber_refused",
            refusal_hint="Check that it streams the assistant's language and those of TRANSCRIPTION_LANGUAGES; the "
            "server's log has its reason.",
            backoff_seconds=backoff_seconds,
        )

    def transcribe(self, recording: Recording, language: str | None, deadline: Deadline) -> Transcript:
        """Return what was said; an attempt that brought no text yet is made again where that may help."""
        code = None if language is None else language_code(language)
        samples = padded(recording)
        for attempt in itertools.count(1):
            heard = _Heard(code)
            try:
                return self._attempt(samples, heard, deadline)
            except Broken as broken:
                wait = self._service.backoff(attempt)
                if heard.texts or attempt == TRIES or not _passes(broken) or wait >= deadline.remaining():
                    raise self._failure(broken) from broken
            deadline.sleep(wait)
        raise AssertionError("unreachable")

    def _attempt(self, samples: bytes, heard: "_Heard", deadline: Deadline) -> Transcript:
        incoming = Incoming()
        with opened(self._presigned(heard.language), deadline, self._service) as line:
            line.send(samples)
            for data in line.messages():
                self._take(incoming, data, heard)
        return heard.transcript()

    def _take(self, incoming: Incoming, data: bytes, heard: "_Heard") -> None:
        try:
            for message in incoming.read(data):
                self._expect_event(message)
                heard.take(message)
        except (NoFrame, KeyError, TypeError, ValueError) as error:
            self._service.log(logging.ERROR, "an unreadable message", type(error).__name__)
            raise self._service.unreadable() from error

    def _expect_event(self, message: Message) -> None:
        if message.kind != "event":
            words = ""
            with contextlib.suppress(ValueError, TypeError, KeyError):
                words = json.loads(message.payload)["Message"]
            self._service.log(logging.WARNING, message.name, words)
            raise Broken(message.name)

    def _presigned(self, code: str | None) -> str:
        """Return an address that opens one stream; it is as secret as a password."""
        query = {"language-code": code} if code else {"identify-language": "true", "language-options": self._languages}
        query |= {"media-encoding": "pcm", "sample-rate": str(RECORDING_RATE)}
        request = AWSRequest("GET", f"{self._endpoint_url}{_PATH}?{urlencode(query)}")
        try:
            found = self._session.get_credentials()
            if found is None:
                raise self._service.refusal()
            credentials = found.get_frozen_credentials()
            SigV4QueryAuth(credentials, "transcribe", self._account.region, expires=_VALID_SECONDS).add_auth(request)
        except BotoCoreError as error:
            self._service.log(logging.ERROR, "no credentials", type(error).__name__)
            raise self._service.refusal() from error
        return "ws" + request.prepare().url.removeprefix("http")

    def _failure(self, broken: Broken) -> ProviderFailed:
        if broken.code == UNREACHABLE:
            return self._service.unreachable()
        return self._service.cut() if broken.code == LOST else self._service.failed(broken.code, broken.status)


class _Heard:
    """Gathers what is certain of a transcription.

    Attributes:
        language: Transcribe's code of what is spoken, None until it is identified.
    """

    def __init__(self, language: str | None) -> None:
        self.language = language
        self.texts: list[str] = []

    def take(self, message: Message) -> None:
        """Note the results that will not change any more."""
        if message.name != "TranscriptEvent":
            return
        for result in json.loads(message.payload)["Transcript"]["Results"]:
            if not result["IsPartial"] and result["Alternatives"]:
                self.texts.append(str(result["Alternatives"][0]["Transcript"]))
                self.language = self.language or result.get("LanguageCode")

    def transcript(self) -> Transcript:
        """Return everything heard."""
        separator = "" if (self.language or "").split("-")[0] in _WITHOUT_SPACES else " "
        return Transcript(separator.join(self.texts), self.language)


def padded(recording: Recording) -> bytes:
    """Return the samples, with silence behind them where they are too short for Transcribe."""
    return recording.samples.ljust(_LEAST_BYTES, b"\0")


def language_code(tag: str) -> str:
    """Return what Transcribe calls a BCP 47 tag.

    The codes are those of botocore's description of its batch jobs; a few of them cannot be streamed, which the service
    says itself.

    Raises:
        Invalid: code `language_unsupported`.
    """
    code = nearest(tag, _codes())
    if code is None:
        raise Invalid(
            f"Amazon Transcribe does not know the language {tag}. Choose another one, or let it be found out: the "
            "assistant's `language`, and TRANSCRIPTION_LANGUAGES.",
            code="language_unsupported",
        )
    return code


@functools.cache
def _codes() -> tuple[str, ...]:
    model = botocore.session.get_session().get_service_model("transcribe")
    return tuple(cast("StringShape", model.shape_for("LanguageCode")).enum)


def _address(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://transcribestreaming.{region}.{suffix}:8443"


def _passes(broken: Broken) -> bool:
    return broken.code in (UNREACHABLE, LOST) or may_pass(broken.code, broken.status)
