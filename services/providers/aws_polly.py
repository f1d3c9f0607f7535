"""Speech from Amazon Polly: one call for each sentence, its sound read as it comes."""

import contextlib
import logging
import re
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from botocore.response import StreamingBody

from models.deadline import Deadline
from models.voice import AudioFormat, Codec, Manner, Voice
from services.providers.aws_account import AwsAccount, client_config
from services.providers.aws_calls import AWS_ERRORS, BACKOFF_SECONDS, AwsService, key_hint
from services.providers.aws_polly_voices import PollyVoices
from services.providers.aws_sockets import AwsCall, make_cuttable

if TYPE_CHECKING:
    from mypy_boto3_polly.client import PollyClient
    from mypy_boto3_polly.literals import EngineType
    from mypy_boto3_polly.type_defs import SynthesizeSpeechInputTypeDef

_CHUNK_BYTES = 1_024
"""Reading waits for so many: 0.2 s of MP3 at 48 kbit/s."""

_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no place for; Polly makes SSML of every text."""

_PCM_RATE = 16_000


def build_client(account: AwsAccount, endpoint_url: str, connections: int) -> "PollyClient":
    """Return a client of Polly.

    Args:
        endpoint_url: of another server than AWS', "" for AWS'.
        connections: how many are kept open.
    """
    return account.session().client("polly", endpoint_url=endpoint_url or None, config=client_config(connections))


class PollySpeech:
    """Implement `SpeechSynthesizer`.

    Args:
        client: is made cuttable, so that a cancel wakes whoever waits in it.
        engine: of POLLY_ENGINE.
        backoff_seconds: between the first try of a request and the second.
    """

    name = "aws"

    def __init__(self, client: "PollyClient", engine: "EngineType", backoff_seconds: float = BACKOFF_SECONDS) -> None:
        make_cuttable(client)
        self._client = client
        self._engine = engine
        self._mp3_rate = 22_050 if engine == "standard" else 24_000
        self._service = AwsService(
            name="Amazon Polly",
            key_hint=key_hint("polly:SynthesizeSpeech and polly:DescribeVoices"),
            model_hint="Check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_POLLY.",
            url_hint="Check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_POLLY.",
            refused_code="synthesizer_refused",
            refusal_hint="Choose another voice, or another POLLY_ENGINE; the server's log has its reason.",
            backoff_seconds=backoff_seconds,
        )
        self._voices = PollyVoices(client, engine, self._service)

    def format_of(self, codec: Codec) -> AudioFormat:
        """Return the best that Polly has: its samples come at 16,000 a second at most."""
        return AudioFormat(codec, self._mp3_rate if codec is Codec.MP3 else _PCM_RATE)

    def synthesize(self, text: str, manner: Manner, codec: Codec, deadline: Deadline) -> Generator[bytes, None, None]:
        """Yield the sound of a text as it comes; what XML cannot hold is left out of it."""
        speaking = self._voices.choose(manner, deadline)
        request: SynthesizeSpeechInputTypeDef = {
            "Engine": self._engine,
            "OutputFormat": "mp3" if codec is Codec.MP3 else "pcm",
            "SampleRate": str(self.format_of(codec).rate),
            "Text": _UNSPEAKABLE.sub("", text),
            "TextType": "text",
            "VoiceId": speaking.voice,
        }
        if speaking.language is not None:
            request["LanguageCode"] = speaking.language
        call = AwsCall(deadline)
        try:
            answer = self._service.open(call, lambda: self._client.synthesize_speech(**request))
            with contextlib.closing(answer["AudioStream"]) as body:
                yield from self._read(call, body)
        finally:
            call.done()

    def voices(self, deadline: Deadline) -> Sequence[Voice]:
        """Return the voices of the engine."""
        return self._voices.voices(deadline)

    def _read(self, call: AwsCall, body: StreamingBody) -> Generator[bytes, None, None]:
        try:
            while piece := call.read(body, _CHUNK_BYTES):
                call.deadline.check()
                yield piece
            call.deadline.check()  # a socket that was cut may look like one that was closed properly
        except AWS_ERRORS as error:
            call.deadline.check()
            self._service.log(logging.WARNING, "the sound broke off", type(error).__name__)
            raise self._service.failure(error) from error
