"""/voice where something fails or somebody leaves; a test drives the model, the transcriber and the synthesizer."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx2
import pytest

from services.voice.encoding import Mp3Encoder
from tests.e2e.api import SETTINGS
from tests.e2e.hosted import wait_until
from tests.e2e.openai_clients import Door, door
from tests.e2e.sound import connect, exchange, request, seconds_of, tone, wav
from tests.emulators.openai_wire import (
    DONE,
    END,
    STREAM,
    Action,
    Reply,
    Step,
    WireServer,
    chunk,
    document,
    event,
    piece,
    stream,
    wire,
)

FIRST, SECOND = "The first sentence is this one. ", "The second one is that."
WORDS = stream(event(chunk(FIRST + SECOND)), event(chunk(finish="stop")), DONE)
BEGIN = [STREAM, piece(event(chunk(FIRST + "The s")))]
REFUSED = document(401, {"error": {"message": "a secret of the provider's"}})
HEARD = document(200, {"text": "what was said"})
LEAVES_WITHIN = 1.0


def _mp3() -> bytes:
    encoder = Mp3Encoder(24_000)
    return encoder.encode(tone(0.5, 24_000)) + encoder.finish()


MP3 = _mp3()
SAID: Reply = [b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: %d\r\n\r\n" % len(MP3) + MP3]


def going_on(speech: WireServer, *rest: Step) -> Reply:
    """Return a model's reply that goes on once the synthesizer has been asked to say its first sentence."""

    def steps() -> Iterator[Step]:
        yield from BEGIN
        while not speech.requests and not speech.over.is_set():
            time.sleep(0.01)
        yield from rest

    return cast(Reply, steps())


@pytest.fixture(scope="module")
def speech() -> Iterator[WireServer]:
    """Give an endpoint that speaks."""
    with wire() as running:
        yield running


@pytest.fixture(scope="module")
def served(upstream: WireServer, speech: WireServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Give a server that asks both."""
    settings = {
        "TRANSCRIPTION_MODEL": "whisper-1",
        "SPEECH_MODEL": "tts-1",
        "SPEECH_BASE_URL": speech.base_url,
        "SPEECH_VOICE": "alloy",
    }
    with door(tmp_path_factory.mktemp("voice"), upstream.base_url, **settings) as running:
        yield running


@pytest.fixture
def silent(speech: WireServer) -> WireServer:
    """Give the endpoint that speaks as one that nobody has asked."""
    speech.replies.clear()
    speech.requests.clear()
    speech.gone.clear()
    return speech


def asked(assistant: dict[str, Any], **fields: Any) -> bytes:
    """Return a question."""
    return request("/voice/processText", {"text": "Hello?", **fields}, X_API_Key=assistant["api_key"])


def record(served: Door, assistant: dict[str, Any], **form: str) -> httpx2.Response:
    """Send a recording."""
    files, headers = {"file": ("q.wav", wav(0.5))}, {"X-API-Key": assistant["api_key"]}
    return httpx2.post(f"{served.server.url}/voice/processAudioFile", data=form, files=files, headers=headers)


def chat_of(served: Door, assistant: dict[str, Any]) -> dict[str, Any]:
    """Return the assistant's only chat."""
    (chat,) = served.chats(assistant)
    return chat


def room_is_free(served: Door) -> bool:
    """Tell whether nobody holds a place."""
    headers = {"Authorization": f"Bearer {SETTINGS['METRICS_TOKEN']}"}
    return "orquestra_room_used 0.0" in served.api.get("/metrics", headers=headers).text


def test_a_model_that_fails_first_is_a_502_that_names_its_chat(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    upstream.replies[:] = [HEARD, document(400, {"error": {"message": "a secret of the provider's"}}), WORDS]
    silent.replies[:] = [SAID, SAID]
    failed = record(served, assistant, message_id="m")
    assert (failed.status_code, failed.headers["Content-Type"]) == (502, "application/problem+json")
    assert failed.json()["code"] == "provider_failed" and "secret" not in failed.text
    chat = chat_of(served, assistant)
    assert (chat["status"], chat["_id"]) == ("failed", failed.headers["X-Chat-ID"])
    assert failed.headers["X-Transcript"] == "what%20was%20said"
    again = record(served, assistant, message_id="m")
    assert (again.status_code, again.headers["X-Chat-ID"]) == (200, chat["_id"])
    assert seconds_of(again.content) == pytest.approx(2 * seconds_of(MP3), abs=0.1)
    assert [one.path for one in upstream.requests].count("/v1/audio/transcriptions") == 1


def test_a_synthesizer_that_fails_first_is_a_502_and_the_answer_is_stored(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    upstream.replies[:] = [going_on(silent, 0.3, piece(event(chunk("econd one is that.")) + DONE), END)]
    silent.replies[:] = [REFUSED, REFUSED]
    failed = exchange(served.server.url, asked(assistant))
    assert (failed.status, failed.headers["content-type"]) == (502, "application/problem+json")
    assert b"secret" not in failed.body
    wait_until(lambda: chat_of(served, assistant)["status"] == "answered", 5)
    chat = chat_of(served, assistant)
    assert (chat["_id"], chat["response"]) == (failed.headers["x-chat-id"], FIRST + SECOND)


def test_a_synthesizer_that_fails_later_cuts_the_body_and_the_answer_is_stored(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    upstream.replies[:] = [going_on(silent, piece(event(chunk("econd one is that.")) + DONE), END), WORDS]
    silent.replies[:] = [SAID, REFUSED, SAID, SAID]
    logged = len(served.server.log)
    cut = exchange(served.server.url, asked(assistant, message_id="m"))
    assert (cut.status, cut.is_whole, len(cut.chunks)) == (200, False, 1)
    assert seconds_of(cut.body) == pytest.approx(seconds_of(MP3), abs=0.05)
    wait_until(lambda: chat_of(served, assistant)["status"] == "answered", 5)
    lines = "".join(served.server.log[logged:])
    assert "speech broke off" in lines and "Traceback" not in lines
    whole = exchange(served.server.url, asked(assistant, message_id="m"))
    assert (whole.status, whole.is_whole, whole.headers["idempotent-replayed"]) == (200, True, "true")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_model_that_fails_later_cuts_the_body(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer, version: str
) -> None:
    upstream.replies[:] = [going_on(silent, 0.5, Action.RESET)]
    silent.replies[:] = [SAID]
    sent = request("/voice/processText", {"text": "Hello?"}, version=version, X_API_Key=assistant["api_key"])
    cut = exchange(served.server.url, sent)
    assert (cut.status, cut.is_whole) == (200, False)
    assert seconds_of(cut.body) == pytest.approx(seconds_of(MP3), abs=0.05)
    chat = chat_of(served, assistant)
    assert (chat["status"], chat["error"]["partial"]) == ("failed", FIRST + "The s")
    assert served.api.get("/healthz").status_code == 200


def test_nobody_speaks(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies[:] = [document(200, {"text": "  "})]
    refused = record(served, assistant)
    assert (refused.status_code, refused.json()["code"]) == (422, "no_speech")
    assert served.chats(assistant) == []


def test_a_transcriber_that_fails_is_a_502_and_nothing_is_stored(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies[:] = [REFUSED]
    refused = record(served, assistant)
    assert (refused.status_code, refused.headers["Content-Type"]) == (502, "application/problem+json")
    assert "secret" not in refused.text and served.chats(assistant) == []


def test_an_answer_that_a_human_overtook_is_not_said(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    late, taken_over = event(chunk("No sentence is over yet")), threading.Event()
    upstream.replies[:] = [WORDS, [STREAM, piece(late), taken_over, piece(event(chunk(finish="stop")) + DONE), END]]
    silent.replies[:] = [SAID, SAID, SAID]
    first = exchange(served.server.url, asked(assistant, id="a"))
    with ThreadPoolExecutor(1) as pool:
        overtaken = pool.submit(exchange, served.server.url, asked(assistant, id="a"))
        wait_until(lambda: len(upstream.requests) == 2, 5)
        assert served.api.put(f"/chats/desativar/{first.headers['x-chat-id']}").is_success
        taken_over.set()
        answer = overtaken.result(20)
    assert (answer.status, answer.body, answer.headers["x-chat-status"]) == (200, b"", "suppressed")


class Leaver:
    """A client that leaves, and sees how soon that is noticed."""

    def __init__(self, served: Door, sent: bytes) -> None:
        self._served = served
        self._connection = connect(served.server.url)
        self._connection.sendall(sent)

    def hear(self) -> None:
        """Wait for the first sound."""
        received = b""
        while b"\r\n\r\n" not in received or received.endswith(b"\r\n\r\n"):
            received += self._connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 200")

    def leave(self, *endpoints: WireServer) -> None:
        """Leave, and expect that these endpoints are left within a second, and the server's place as well."""
        self._connection.close()
        until = time.monotonic() + LEAVES_WITHIN
        for endpoint in endpoints:
            assert endpoint.gone.wait(until - time.monotonic()), "it goes on"
        wait_until(lambda: room_is_free(self._served), LEAVES_WITHIN)


def test_who_leaves_while_it_is_transcribed_stops_that(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies[:] = [[Action.HANG]]
    body = httpx2.Request("POST", "http://x", files={"file": ("q.wav", wav(0.5))})
    content = body.read()
    head = f"POST /voice/processAudioFile HTTP/1.1\r\nHost: x\r\nX-API-Key: {assistant['api_key']}\r\n"
    head += f"Content-Type: {body.headers['Content-Type']}\r\nContent-Length: {len(content)}\r\n\r\n"
    leaver = Leaver(served, head.encode() + content)
    wait_until(lambda: bool(upstream.requests), 5)
    leaver.leave(upstream)
    assert served.chats(assistant) == []


def test_who_leaves_before_the_first_sound_stops_the_model(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies[:] = [[STREAM, piece(event(chunk("No sentence is over"))), Action.HANG]]
    leaver = Leaver(served, asked(assistant))
    wait_until(lambda: bool(upstream.requests), 5)
    leaver.leave(upstream)
    wait_until(lambda: chat_of(served, assistant)["status"] == "failed", 5)
    assert chat_of(served, assistant)["error"]["code"] == "caller_gone"


def test_who_leaves_while_it_is_spoken_stops_model_and_synthesizer(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    upstream.replies[:] = [going_on(silent, piece(event(chunk(f"econd. {FIRST}{SECOND}"))), Action.HANG), WORDS]
    silent.replies[:] = [SAID, [Action.HANG], [Action.HANG], SAID, SAID]
    leaver = Leaver(served, asked(assistant, message_id="m"))
    leaver.hear()
    wait_until(lambda: len(silent.requests) >= 2, 5)
    leaver.leave(upstream, silent)
    wait_until(lambda: chat_of(served, assistant)["status"] == "failed", 5)
    assert chat_of(served, assistant)["error"]["code"] == "caller_gone"
    silent.replies[:] = [SAID, SAID]
    again = exchange(served.server.url, asked(assistant, message_id="m"))
    assert again.is_whole and chat_of(served, assistant)["status"] == "answered"
