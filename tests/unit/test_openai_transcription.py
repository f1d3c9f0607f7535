"""OpenAITranscriber against exact bytes: what it sends, and what it makes of every answer.

The bytes are our own and no independent witness; what they say is at least checked against the SDK's type.
tests/contract/test_transcribers.py has aimock, which was not written for it.
"""

import contextlib
import email.parser
import email.policy
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from openai.types.audio import Transcription

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from models.voice import Recording, Transcript, Upload
from services.providers.openai_chat import build_client
from services.providers.openai_transcription import OpenAITranscriber
from services.voice.wav import whole_wav
from tests.emulators.openai_wire import Action, Recorded, Reply, WireServer, document, wire
from tests.leaving import SOON, leaving

_KEY = "sk-test-0123456789abcdef"
_SECRET = "the patient's blood group"
_SAMPLES = bytes(range(256)) * 25
_WAV = whole_wav(_SAMPLES, 16_000)
_BEGINNINGS = {
    "wav": _WAV[:64],
    "flac": b"fLaC\0\0\0\x22",
    "ogg": b"OggS\0\x02" + bytes(22) + b"OpusHead",
    "webm": b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm",
    "m4a": b"\0\0\0\x1cftypM4A \0\0\2\0isomiso2",
    "mp4": b"\0\0\0\x24ftypiso5\0\0\2\0iso5iso6mp41",
    "mp3": b"ID3\x04\0\0\0\0\0\x23TSSE",
}
_OTHERS = {
    "mp3 frames": b"\xff\xf3\x64\xc4",
    "aac": b"\xff\xf1\x50\x80",
    "caf": b"caff\0\1\0\0desc",
    "aiff": b"FORM\0\0\1\0AIFFCOMM",
    "amr": b"#!AMR\n",
    "3gp": b"\0\0\0\x1cftyp3gp4\0\0\2\0isom3gp4",
    "matroska": b"\x1aE\xdf\xa3\x93B\x82\x88matroska",
    "nothing": b"",
}


@dataclass(frozen=True)
class Form:
    """What a request brought: its fields, and its file."""

    fields: dict[str, str]
    filename: str
    mimetype: str
    content: bytes


@contextlib.contextmanager
def _peer(*replies: Reply) -> Iterator[tuple[WireServer, OpenAITranscriber]]:
    with wire(*replies) as server, contextlib.closing(build_client(_KEY, server.base_url, 4)) as client:
        yield server, OpenAITranscriber(client, "wire-1")


def _heard(text: str = "hello", **more: object) -> Reply:
    body = {"text": text, **more}
    Transcription.model_validate(body, strict=True)
    return document(200, body)


def _refusal(status: int, message: str = "no", **headers: str) -> Reply:
    return document(status, {"error": {"message": message, "type": "invalid_request_error", "code": None}}, **headers)


def _recording(content: bytes = _WAV, **hints: str | int) -> Recording:
    return Recording(_SAMPLES, Upload(content, **hints))  # type: ignore[arg-type]


def _form(request: Recorded) -> Form:
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    whole = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.content)
    fields: dict[str, str] = {}
    file = ("", "", b"")
    for part in whole.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_filename():
            file = (str(part.get_filename()), part.get_content_type(), content)
        else:
            fields[str(part.get_param("name", header="content-disposition"))] = content.decode()
    return Form(fields, *file)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with _peer(_refusal(status, Retry_After="0.05"), _heard("at last")) as (server, transcriber):
        assert transcriber.transcribe(_recording(), None, Deadline(5)).text == "at last"
        assert [_form(request).filename for request in server.requests] == ["recording.wav"] * 2


@pytest.mark.parametrize("kind", sorted(_BEGINNINGS))
def test_an_upload_of_a_known_kind_goes_out_as_it_came(kind: str) -> None:
    content = _BEGINNINGS[kind] + b"and so on"
    with _peer(_heard()) as (server, transcriber):
        transcriber.transcribe(_recording(content, filename="../voice note.bin"), None, Deadline(5))
        form = _form(server.requests[0])
    assert (form.filename, form.content) == (f"recording.{kind}", content)
    assert form.mimetype == {"m4a": "audio/mp4", "mp3": "audio/mpeg"}.get(kind, f"audio/{kind}")
    assert form.fields == {"model": "wire-1", "response_format": "json"}
    assert server.requests[0].headers["authorization"] == f"bearer {_KEY}"


@pytest.mark.parametrize("kind", sorted(_OTHERS))
def test_other_uploads_go_out_as_their_samples(kind: str) -> None:
    content = _OTHERS[kind]
    with _peer(_heard()) as (server, transcriber):
        transcriber.transcribe(_recording(content), None, Deadline(5))
        form = _form(server.requests[0])
    if kind == "mp3 frames":
        assert (form.filename, form.content) == ("recording.mp3", content)
    else:
        assert (form.filename, form.content) == ("recording.wav", _WAV)


def test_bare_samples_and_huge_files_go_out_as_wav() -> None:
    huge = _BEGINNINGS["flac"] + bytes(25_000_000)
    with _peer(_heard(), _heard()) as (server, transcriber):
        transcriber.transcribe(_recording(b"ID3 by chance", sample_rate=8_000), None, Deadline(5))
        transcriber.transcribe(_recording(huge), None, Deadline(5))
        assert all(len(request.content) < 10_000 for request in server.requests)
        assert [_form(request).content for request in server.requests] == [_WAV, _WAV]


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_container_that_the_server_cannot_read_is_sent_as_its_samples(status: int) -> None:
    with _peer(_refusal(status), _heard("at last")) as (server, transcriber):
        heard = transcriber.transcribe(_recording(_BEGINNINGS["webm"]), None, Deadline(5))
        assert heard.text == "at last"
        assert [_form(request).filename for request in server.requests] == ["recording.webm", "recording.wav"]


@pytest.mark.parametrize(
    ("language", "sent"),
    [("pt-BR", "pt"), ("EN", "en"), ("zh-Hans-CN", "zh"), ("cmn-CN", "zh"), ("yue", None), (None, None)],
)
def test_the_language_is_named_by_two_letters(language: str | None, sent: str | None) -> None:
    with _peer(_heard()) as (server, transcriber):
        transcriber.transcribe(_recording(), language, Deadline(5))
        assert _form(server.requests[0]).fields.get("language") == sent


@pytest.mark.parametrize(
    ("more", "language"),
    [
        ({"languages": [{"code": "pt"}, {"code": "zh"}]}, "pt"),
        ({"language": "pt"}, "pt"),
        ({"language": "english"}, None),
        ({"language": 5}, None),
        ({"languages": []}, None),
        ({"languages": [{"code": "de"}], "language": "en"}, "de"),
        ({"languages": "de", "segments": [{"id": 0}]}, None),
    ],
)
def test_languages_of_many_servers_are_read(more: dict[str, object], language: str | None) -> None:
    with _peer(document(200, {"text": "hi", **more})) as (_, transcriber):
        assert transcriber.transcribe(_recording(), None, Deadline(5)) == Transcript("hi", language)


@pytest.mark.parametrize("body", [{"words": []}, {"text": None}, ["text"], {"text": ["a"]}])
def test_an_answer_without_a_text_is_unreadable(body: object) -> None:
    with _peer(document(200, body)) as (_, transcriber), pytest.raises(ProviderFailed) as caught:
        transcriber.transcribe(_recording(), None, Deadline(5))
    assert "TRANSCRIPTION_BASE_URL" in caught.value.detail


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (401, "provider_auth", "TRANSCRIPTION_API_KEY"),
        (404, "model_not_found", "TRANSCRIPTION_MODEL"),
        (400, "provider_failed", "log"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, code: str, advice: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "orquestra")
    replies = [_refusal(status, f"{_SECRET} {_KEY}")] * 2
    with _peer(*replies) as (_, transcriber), pytest.raises(ProviderFailed) as caught:
        transcriber.transcribe(_recording(), None, Deadline(5))
    assert caught.value.code == code
    assert advice in caught.value.detail and _SECRET not in caught.value.detail
    assert _SECRET not in caplog.text and _KEY not in caplog.text


def test_a_busy_server_is_not_asked_for_ever() -> None:
    with _peer(*[_refusal(429, Retry_After="0.05")] * 3) as (server, transcriber):
        with pytest.raises(ProviderFailed) as caught:
            transcriber.transcribe(_recording(), None, Deadline(5))
        assert caught.value.code == "provider_rate_limited"
        assert len(server.requests) == 3


@pytest.mark.parametrize("reply", [[Action.HANG], [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", Action.HANG]])
def test_leaving_cuts_the_call(reply: Reply) -> None:
    deadline = Deadline(30)
    with _peer(reply) as (server, transcriber):
        with pytest.raises(CallCancelled), leaving(deadline, lambda: bool(server.requests)):
            transcriber.transcribe(_recording(), None, deadline)
        assert server.gone.wait(SOON)


def test_the_deadline_ends_the_call() -> None:
    with _peer([Action.HANG]) as (_, transcriber), pytest.raises(DeadlineExceeded):
        transcriber.transcribe(_recording(), None, Deadline(0.2))


def test_a_transcript_that_breaks_off_is_an_error() -> None:
    cut: Reply = [b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"text": "half', Action.CLOSE]
    with _peer(cut) as (_, transcriber), pytest.raises(ProviderFailed) as caught:
        transcriber.transcribe(_recording(), None, Deadline(5))
    assert caught.value.code == "stream_cut"
