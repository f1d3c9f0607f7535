"""Which endpoint and which key what hears and speaks gets from the settings."""

from typing import Any

import pytest

from models.voice import AudioFormat, Codec
from settings import Settings
from wiring import aws_speech
from wiring.openai_api import _client

_ANSWERS = {"OPENAI_API_KEY": "sk-of-the-answers", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
_ELSEWHERE = "http://127.0.0.1:2/v1/"
_AWS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "AWS_DEFAULT_REGION": "sa-east-1",
}


@pytest.mark.parametrize(
    ("env", "key", "address"),
    [
        ({}, "sk-of-the-answers", "http://127.0.0.1:1/v1/"),
        ({"SPEECH_API_KEY": "sk-own"}, "sk-own", "http://127.0.0.1:1/v1/"),
        ({"SPEECH_BASE_URL": _ELSEWHERE, "SPEECH_API_KEY": "sk-own"}, "sk-own", _ELSEWHERE),
        ({"SPEECH_BASE_URL": _ELSEWHERE}, "no-key-needed", _ELSEWHERE),
    ],
)
def test_another_address_never_gets_the_answers_key(env: dict[str, str], key: str, address: str) -> None:
    settings = Settings.from_env({**_ANSWERS, "SPEECH_MODEL": "m", **env})
    with _client(settings, settings.speech_api_key, settings.speech_base_url) as client:
        assert (client.api_key, str(client.base_url)) == (key, address)


@pytest.mark.parametrize(("bucket", "kind"), [("", "TranscribeStreaming"), ("recordings", "TranscribeBatch")])
def test_a_bucket_chooses_batch_jobs(bucket: str, kind: str) -> None:
    assert type(aws_speech.build_transcriber(Settings.from_env({**_AWS, "TRANSCRIBE_BUCKET": bucket}))).__name__ == kind


def test_polly_is_as_the_settings_say() -> None:
    address = "http://127.0.0.1:3"
    speech: Any = aws_speech.build_synthesizer(
        Settings.from_env({**_AWS, "POLLY_ENGINE": "standard", "AWS_ENDPOINT_URL_POLLY": address})
    )
    assert speech.format_of(Codec.MP3) == AudioFormat(Codec.MP3, 22_050)
    assert speech._client.meta.endpoint_url == address
    credentials = speech._client._request_signer._credentials
    assert (credentials.access_key, credentials.secret_key, credentials.token) == ("key", "secret", "token")
