"""OpenAISpeech against exact bytes, for what aimock cannot do: it sends every sound at once, and whole.

The bytes are our own and no independent witness; tests/contract/test_synthesizers.py has aimock.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator

import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, Invalid, ProviderFailed
from models.voice import AudioFormat, Codec, Manner
from services.providers.openai_chat import build_client
from services.providers.openai_speech import OpenAISpeech
from tests.emulators.openai_wire import END, Action, Reply, WireServer, document, piece, wire
from tests.leaving import SOON, leaving

_KEY = "sk-test-0123456789abcdef"
_SECRET = "the patient's blood group"
_MANNER = Manner("pt-BR", "alloy")
_SOUND = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def _peer(*replies: Reply) -> Iterator[tuple[WireServer, OpenAISpeech]]:
    with wire(*replies) as server, contextlib.closing(build_client(_KEY, server.base_url, 4)) as client:
        yield server, OpenAISpeech(client, "voice-1")


def _refusal(status: int, message: str, **headers: str) -> Reply:
    return document(status, {"error": {"message": message, "type": "invalid_request_error", "code": None}}, **headers)


def _speak(speech: OpenAISpeech, codec: Codec = Codec.MP3, seconds: float = 5, text: str = "Olá.") -> list[bytes]:
    return list(speech.synthesize(text, _MANNER, codec, Deadline(seconds)))


@pytest.mark.parametrize("codec", list(Codec))
def test_the_request_names_model_voice_text_and_format(codec: Codec) -> None:
    with _peer([_SOUND, piece(b"ab"), END]) as (server, speech):
        assert b"".join(_speak(speech, codec)) == b"ab"
        (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/audio/speech")
    assert request.body == {"model": "voice-1", "voice": "alloy", "input": "Olá.", "response_format": codec.value}
    assert request.headers["authorization"] == f"bearer {_KEY}"
    assert request.headers["accept"] == "application/octet-stream"
    assert speech.format_of(codec) == AudioFormat(codec, 24_000)


def test_the_account_that_the_environment_names_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_1")
    with _peer([_SOUND, piece(b"ab"), END]) as (server, speech):
        _speak(speech)
        (request,) = server.requests
    assert (request.headers["openai-organization"], request.headers["openai-project"]) == ("org-1", "proj_1")


def test_sound_is_passed_on_as_it_comes() -> None:
    with _peer([_SOUND, piece(b"first"), Action.HANG]) as (server, speech):
        sound = speech.synthesize("Olá.", _MANNER, Codec.MP3, Deadline(30))
        assert next(sound) == b"first"
        sound.close()
        assert server.gone.wait(SOON), "closing does not end the transfer"


def test_a_voice_has_to_be_named() -> None:
    with _peer() as (server, speech), pytest.raises(Invalid) as caught:
        list(speech.synthesize("Olá.", Manner("pt-BR"), Codec.MP3, Deadline(5)))
    assert caught.value.code == "voice_unknown" and "SPEECH_VOICE" in caught.value.detail
    assert server.requests == []


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_voice_that_is_refused_is_told(status: int) -> None:
    with _peer(_refusal(status, "Input should be 'ash', loc: ['body', 'voice']")) as (_, speech):
        with pytest.raises(Invalid) as caught:
            _speak(speech)
    assert caught.value.code == "voice_unknown" and "alloy" in caught.value.detail


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (404, "The model `voice-1` does not exist", "model_not_found"),
        (400, "cannot say 'my voice is gone'", "provider_failed"),
        (401, "bad key", "provider_auth"),
    ],
)
def test_other_refusals_do_not_blame_the_voice(status: int, message: str, code: str) -> None:
    with _peer(_refusal(status, message)) as (server, speech), pytest.raises(ProviderFailed) as caught:
        _speak(speech, text="my voice is gone")
    assert caught.value.code == code
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again_before_the_first_byte(status: int) -> None:
    with _peer(_refusal(status, "busy", Retry_After="0.05"), [_SOUND, piece(b"ab"), END]) as (_, speech):
        assert _speak(speech) == [b"ab"]


def test_a_busy_server_is_not_asked_for_ever() -> None:
    with _peer(*[_refusal(429, "busy", Retry_After="0.05")] * 3) as (server, speech):
        with pytest.raises(ProviderFailed) as caught:
            _speak(speech)
        assert caught.value.code == "provider_rate_limited"
        assert len(server.requests) == 3


@pytest.mark.parametrize("end", [Action.CLOSE, Action.RESET])
def test_sound_that_breaks_off_is_an_error_and_not_asked_for_again(end: Action) -> None:
    heard = threading.Event()
    with _peer([_SOUND, piece(b"half"), heard, end]) as (server, speech):
        sound = speech.synthesize("Olá.", _MANNER, Codec.MP3, Deadline(5))
        assert next(sound) == b"half"
        heard.set()
        with pytest.raises(ProviderFailed) as caught:
            list(sound)
        assert caught.value.code == "stream_cut"
        assert len(server.requests) == 1


@pytest.mark.parametrize("reply", [[Action.HANG], [_SOUND, Action.HANG], [_SOUND, piece(b"some"), Action.HANG]])
def test_leaving_cuts_the_call(reply: Reply) -> None:
    deadline = Deadline(30)
    with _peer(reply) as (server, speech):
        with pytest.raises(CallCancelled), leaving(deadline, lambda: bool(server.requests)):
            list(speech.synthesize("Olá.", _MANNER, Codec.MP3, deadline))
        assert server.gone.wait(SOON)


def test_the_deadline_ends_the_call() -> None:
    with _peer([_SOUND, piece(b"some"), Action.HANG]) as (_, speech), pytest.raises(DeadlineExceeded):
        _speak(speech, seconds=0.2)


@pytest.mark.parametrize(
    "reply",
    [
        document(200, {"audio": "YWJj"}),
        [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"],
        [_SOUND, END],
    ],
)
def test_what_is_no_sound_is_an_error(reply: Reply) -> None:
    with _peer(reply) as (_, speech), pytest.raises(ProviderFailed) as caught:
        _speak(speech)
    assert "speech endpoint" in caught.value.detail


def test_no_text_and_no_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "orquestra")
    with _peer(_refusal(400, f"{_SECRET} {_KEY}")) as (_, speech), pytest.raises(ProviderFailed) as caught:
        _speak(speech, text=_SECRET)
    assert _SECRET not in caplog.text and _KEY not in caplog.text
    assert _SECRET not in caught.value.detail


def test_there_is_no_list_of_voices() -> None:
    with _peer() as (server, speech):
        assert list(speech.voices(Deadline(5))) == []
        assert server.requests == []
