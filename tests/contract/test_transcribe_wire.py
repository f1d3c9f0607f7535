"""Amazon Transcribe's streams, frame by frame, against a server of our own."""

import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, Invalid, ProviderFailed
from models.voice import Recording, Transcript, Upload
from services.providers.aws_account import AwsAccount
from services.providers.aws_transcribe import TranscribeStreaming, language_code
from tests.emulators.aws_transcribe import (
    KEY_ID,
    REGION,
    SECRET,
    Act,
    Script,
    Transcribing,
    event,
    exception,
    result,
    transcribe,
)
from tests.emulators.receiver import certificate
from tests.leaving import SOON, leaving

LANGUAGES = ("en-US", "pt-BR", "zh-CN")
SECOND = bytes(range(256)) * 125
SAID: Script = [Act.LISTEN, result("Good", partial=True), result("Good morning."), result("How are you?")]
NOTHING: Script = [Act.LISTEN]


def recording(samples: bytes = SECOND) -> Recording:
    """Return a recording of these samples."""
    return Recording(samples, Upload(b""))


def transcriber(server: Transcribing, secret: str = SECRET, token: str = "") -> TranscribeStreaming:
    """Return one that speaks to a server."""
    return TranscribeStreaming(AwsAccount(REGION, KEY_ID, secret, token), LANGUAGES, server.url, backoff_seconds=0.001)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Fail if a thread of a test's goes on; those of the server may take a moment to end."""
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + SOON
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, end - time.monotonic()))
        assert not thread.is_alive(), thread.name


def failure_of(server: Transcribing, language: str | None = "en-US", secret: str = SECRET) -> ProviderFailed:
    """Return how a transcription fails."""
    with pytest.raises(ProviderFailed) as failed:
        transcriber(server, secret).transcribe(recording(), language, Deadline(10))
    assert type(failed.value) is ProviderFailed
    return failed.value


def test_what_is_certain_is_the_transcript() -> None:
    with transcribe(SAID) as server:
        assert transcriber(server).transcribe(recording(), "en", Deadline(10)) == Transcript(
            "Good morning. How are you?", "en-US"
        )
    assert server.audio == [SECOND]
    asked = {name: value for name, value in server.queries[0].items() if not name.startswith("X-Amz-")}
    assert asked == {"language-code": "en-US", "media-encoding": "pcm", "sample-rate": "16000"}


def test_a_language_is_found_out_among_those_of_the_settings() -> None:
    with transcribe([Act.LISTEN, result("今天"), result("天气好。", language="zh-CN")]) as server:
        assert transcriber(server).transcribe(recording(), None, Deadline(10)).language == "zh-CN"
    asked = {name: value for name, value in server.queries[0].items() if not name.startswith("X-Amz-")}
    assert asked == {
        "identify-language": "true",
        "language-options": "en-US,pt-BR,zh-CN",
        "media-encoding": "pcm",
        "sample-rate": "16000",
    }


def test_chinese_sentences_are_joined_without_spaces() -> None:
    with transcribe([Act.LISTEN, result("今天天气好。"), result("我们出去吧。")]) as server:
        heard = transcriber(server).transcribe(recording(), "zh", Deadline(10))
    assert heard == Transcript("今天天气好。我们出去吧。", "zh-CN")


def test_nobody_speaks() -> None:
    with transcribe([Act.LISTEN, event({"Transcript": {"Results": []}})]) as server:
        assert transcriber(server).transcribe(recording(), None, Deadline(10)) == Transcript("", None)


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("pt", "pt-BR"),
        ("pt-PT", "pt-PT"),
        ("pt-AO", "pt-BR"),
        ("zh-Hant-TW", "zh-TW"),
        ("zh-Hant", "zh-TW"),
        ("zh-Hans", "zh-CN"),
        ("yue", "zh-HK"),
        ("nb", "no-NO"),
    ],
)
def test_tags_become_codes(tag: str, code: str) -> None:
    assert language_code(tag) == code


def test_an_unknown_language_is_refused_before_anything_is_sent() -> None:
    with transcribe(SAID) as server:
        with pytest.raises(Invalid) as refused:
            transcriber(server).transcribe(recording(), "la", Deadline(10))
    assert refused.value.code == "language_unsupported" and server.queries == []


def test_a_short_recording_is_padded_with_silence() -> None:
    with transcribe(SAID) as server:
        transcriber(server).transcribe(recording(b"\1\1"), "en-US", Deadline(10))
    assert server.audio == [b"\1\1" + bytes(15_998)]


def test_temporary_credentials_bring_their_token() -> None:
    with transcribe(SAID) as server:
        transcriber(server, token="a token/+=").transcribe(recording(), "en-US", Deadline(10))
    assert server.queries[0]["X-Amz-Security-Token"] == "a token/+="


def test_a_wrong_secret_is_refused_and_not_tried_again() -> None:
    with transcribe(SAID) as server:
        failure = failure_of(server, secret="another secret")
    assert failure.code == "transcriber_refused" and len(server.queries) == 1
    assert "AWS_DEFAULT_REGION" in failure.detail and "StartStreamTranscriptionWebSocket" in failure.detail


def test_an_address_expires() -> None:
    with transcribe(SAID) as server:
        server.late = timedelta(seconds=299)
        transcriber(server).transcribe(recording(), "en-US", Deadline(10))
        server.late = timedelta(seconds=301)
        assert failure_of(server).code == "transcriber_refused"


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with transcribe(SAID) as server:
        nobody = TranscribeStreaming(AwsAccount(REGION), LANGUAGES, server.url)
        with pytest.raises(ProviderFailed) as refused:
            nobody.transcribe(recording(), None, Deadline(10))
    assert refused.value.code == "transcriber_refused" and server.queries == []


@pytest.mark.parametrize(
    ("name", "code", "tries"),
    [
        ("BadRequestException", "provider_rejected", 1),
        ("LimitExceededException", "provider_rate_limited", 4),
        ("InternalFailureException", "provider_failed", 4),
        ("ConflictException", "provider_rejected", 1),
        ("ServiceUnavailableException", "provider_failed", 4),
        ("UnrecognizedClientException", "transcriber_refused", 1),
    ],
)
def test_exceptions_of_the_service(name: str, code: str, tries: int) -> None:
    with transcribe([exception(name), Act.WAIT]) as server:
        failure = failure_of(server)
    assert (failure.code, len(server.queries)) == (code, tries)
    assert "words of the service" not in failure.detail


@pytest.mark.parametrize(("status", "code", "tries"), [(429, "provider_rate_limited", 4), (503, "provider_failed", 4)])
def test_refused_handshakes(status: int, code: str, tries: int) -> None:
    with transcribe(SAID) as server:
        server.refusal = status
        failure = failure_of(server)
    assert (failure.code, len(server.queries)) == (code, tries)


def test_a_busy_service_is_asked_again() -> None:
    with transcribe([exception("LimitExceededException"), Act.WAIT], [Act.DROP], SAID) as server:
        heard = transcriber(server).transcribe(recording(), "en-US", Deadline(10))
    assert heard.text == "Good morning. How are you?" and len(server.queries) == 3


def test_what_was_heard_already_is_not_asked_for_again() -> None:
    with transcribe([Act.LISTEN, result("Good morning."), exception("InternalFailureException")], SAID) as server:
        failure = failure_of(server)
    assert failure.code == "provider_failed" and len(server.queries) == 1


def test_a_connection_that_is_lost() -> None:
    with transcribe([Act.LISTEN, result("Good morning."), Act.DROP], SAID) as server:
        assert failure_of(server).code == "stream_cut"


def test_a_server_that_closes_before_it_was_told_everything() -> None:
    with transcribe([]) as server:
        with pytest.raises(ProviderFailed) as failed:
            transcriber(server).transcribe(recording(SECOND * 300), "en-US", Deadline(10))
    assert failed.value.code == "stream_cut"


@pytest.mark.parametrize("frame", [b"no frame at all.....", event({"Transcript": {}}), event([])])
def test_what_cannot_be_read(frame: bytes) -> None:
    with transcribe([frame, Act.WAIT]) as server:
        assert failure_of(server).code == "provider_failed" and len(server.queries) == 1


def test_nobody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    away = TranscribeStreaming(AwsAccount(REGION, KEY_ID, SECRET), LANGUAGES, address, backoff_seconds=0.001)
    with pytest.raises(ProviderFailed) as failed:
        away.transcribe(recording(), "en-US", Deadline(10))
    assert failed.value.code == "provider_unreachable"


def test_no_wait_is_begun_that_outlasts_the_deadline() -> None:
    with transcribe([exception("LimitExceededException"), Act.WAIT]) as server:
        patient = TranscribeStreaming(AwsAccount(REGION, KEY_ID, SECRET), LANGUAGES, server.url, backoff_seconds=60)
        with pytest.raises(ProviderFailed):
            patient.transcribe(recording(), "en-US", Deadline(10))
    assert len(server.queries) == 1


@pytest.mark.parametrize("script", [[Act.LISTEN, Act.WAIT], [Act.WAIT]], ids=["silent", "deaf"])
def test_the_deadline_ends_a_stream(script: Script) -> None:
    with transcribe(script) as server:
        at = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            transcriber(server).transcribe(recording(SECOND * 300), "en-US", Deadline(0.5))
        assert time.monotonic() - at < SOON


def is_left(mute: TranscribeStreaming, is_time: Callable[[], object], language: str | None = "en-US") -> None:
    """Expect that a transcription ends when its caller leaves."""
    deadline = Deadline(60)
    with pytest.raises(CallCancelled), leaving(deadline, is_time):
        mute.transcribe(recording(SECOND * 300), language, deadline)


@pytest.mark.parametrize("script", [[Act.LISTEN, Act.WAIT], [Act.WAIT]], ids=["silent", "deaf"])
def test_a_cancel_ends_a_stream_and_its_threads(script: Script) -> None:
    with transcribe(script) as server:
        is_left(transcriber(server), server.opened.is_set)


def test_a_cancel_ends_a_stream_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_side, _ = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "127.0.0.1.pem"))
    with transcribe(SAID, [Act.LISTEN, Act.WAIT], tls=server_side) as server:
        assert transcriber(server).transcribe(recording(), "en-US", Deadline(10)).text
        server.opened.clear()
        is_left(transcriber(server), server.opened.is_set)


def test_a_strange_certificate_is_not_trusted(tmp_path: Path) -> None:
    server_side, _ = certificate(tmp_path, "127.0.0.1")
    with transcribe(SAID, tls=server_side) as server:
        assert failure_of(server).code == "provider_unreachable" and server.queries == []


def test_a_cancel_ends_the_wait_for_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        account = AwsAccount(REGION, KEY_ID, SECRET)
        mute = TranscribeStreaming(account, LANGUAGES, f"http://127.0.0.1:{listener.getsockname()[1]}")
        held: list[socket.socket] = []

        def request_has_come() -> bytes:
            held.append(listener.accept()[0])
            return held[0].recv(1, socket.MSG_PEEK)

        is_left(mute, request_has_come, None)
        held[0].close()


def test_a_cancel_before_the_start() -> None:
    deadline = Deadline(10)
    deadline.cancel()
    with transcribe(SAID) as server:
        with pytest.raises(CallCancelled):
            transcriber(server).transcribe(recording(), None, deadline)
    assert server.queries == []


def test_neither_log_nor_error_has_the_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "orquestra")
    with transcribe([exception("BadRequestException", "the language is not streamed"), Act.WAIT]) as server:
        failure = failure_of(server)
        server.refusal = 403
        refused = failure_of(server)
    assert "the language is not streamed" in caplog.text and "HTTP 403" in caplog.text
    told = "".join("".join(traceback.format_exception(one)) for one in (failure, refused))
    assert "X-Amz" not in told + caplog.text and server.queries[0]["X-Amz-Signature"] not in told + caplog.text


def test_the_addresses_of_aws() -> None:
    for region, host in (("sa-east-1", "sa-east-1.amazonaws.com"), ("cn-north-1", "cn-north-1.amazonaws.com.cn")):
        made = TranscribeStreaming(AwsAccount(region, KEY_ID, SECRET), LANGUAGES)
        address = urlsplit(made._presigned("en-US"))
        assert (address.scheme, address.netloc) == ("wss", f"transcribestreaming.{host}:8443")
        assert dict(parse_qsl(address.query))["X-Amz-Expires"] == "300"
