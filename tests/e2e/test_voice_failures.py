"""/voice where something fails, takes its time or somebody leaves: a test drives all endpoints that are asked."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from services.voice.encoding import Mp3Encoder
from tests.e2e.api import SETTINGS
from tests.e2e.hosted import wait_until
from tests.e2e.openai_clients import Door, door
from tests.e2e.sound import Received, begun, connect, exchange, form_request, request, seconds_of, tone, wav
from tests.emulators import home_server
from tests.emulators.openai_wire import (
    DONE,
    END,
    STREAM,
    Action,
    Reply,
    Step,
    WireServer,
    calling,
    chunk,
    document,
    event,
    piece,
    stream,
    wire,
)

FIRST, SECOND = "The first sentence is this one. ", "The second one is that."


def answers(text: str) -> Reply:
    """Return a model's whole answer."""
    return stream(event(chunk(text)), event(chunk(finish="stop")), DONE)


WORDS = answers(FIRST + SECOND)
BEGIN = [STREAM, piece(event(chunk(FIRST + "The s")))]
REFUSED = document(401, {"error": {"message": "a secret of the provider's"}})
HEARD = document(200, {"text": "what was said"})
LEAVES_WITHIN = 1.0


def mp3(seconds: float) -> bytes:
    """Return a tone."""
    encoder = Mp3Encoder(24_000)
    return encoder.encode(tone(seconds, 24_000)) + encoder.finish()


def says(sound: bytes) -> Reply:
    """Return the synthesizer's reply."""
    return [b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: %d\r\n\r\n" % len(sound) + sound]


MP3 = mp3(0.5)
SAID = says(MP3)


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
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file in which the home writes down what it was asked."""
    return tmp_path_factory.mktemp("home") / "record"


@pytest.fixture(scope="module")
def served(
    upstream: WireServer, speech: WireServer, record: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    """Give a server that asks both, and whose assistants may ask a home."""
    folder = tmp_path_factory.mktemp("voice")
    home = {"command": sys.executable, "args": [str(home_server.__file__), str(record)]}
    servers = folder / "mcp.json"
    servers.write_text(json.dumps({"mcpServers": {"home": home}}), encoding="utf-8")
    settings = {
        "MCP_SERVERS_FILE": str(servers),
        "TRANSCRIPTION_MODEL": "whisper-1",
        "SPEECH_MODEL": "tts-1",
        "SPEECH_BASE_URL": speech.base_url,
        "SPEECH_VOICE": "alloy",
    }
    with door(folder, upstream.base_url, **settings) as running:
        yield running


@pytest.fixture
def silent(speech: WireServer) -> WireServer:
    """Give the endpoint that speaks as one that nobody has asked."""
    speech.forget()
    return speech


def asked(assistant: dict[str, Any], **fields: Any) -> bytes:
    """Return a question."""
    return request("/voice/processText", {"text": "Hello?", **fields}, X_API_Key=assistant["api_key"])


def ask_aloud(served: Door, assistant: dict[str, Any], **form: str) -> httpx2.Response:
    """Send a recording."""
    files, headers = {"file": ("q.wav", wav(0.5))}, {"X-API-Key": assistant["api_key"]}
    return httpx2.post(f"{served.server.url}/voice/processAudioFile", data=form, files=files, headers=headers)


def chat_of(served: Door, assistant: dict[str, Any]) -> dict[str, Any]:
    """Return the assistant's only chat."""
    (chat,) = served.chats(assistant)
    return chat


def room_has(served: Door, used: int) -> bool:
    """Tell whether so many hold a place."""
    headers = {"Authorization": f"Bearer {SETTINGS['METRICS_TOKEN']}"}
    return f"orquestra_room_used {used}.0\n" in served.api.get("/metrics", headers=headers).text


def test_a_model_that_fails_first_is_a_502_that_names_its_chat(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    upstream.replies[:] = [HEARD, document(400, {"error": {"message": "a secret of the provider's"}}), WORDS]
    silent.replies[:] = [SAID, SAID]
    failed = ask_aloud(served, assistant, message_id="m")
    assert (failed.status_code, failed.headers["Content-Type"]) == (502, "application/problem+json")
    assert failed.json()["code"] == "provider_failed" and "secret" not in failed.text
    chat = chat_of(served, assistant)
    assert (chat["status"], chat["_id"]) == ("failed", failed.headers["X-Chat-ID"])
    assert failed.headers["X-Transcript"] == "what%20was%20said"
    again = ask_aloud(served, assistant, message_id="m")
    assert (again.status_code, again.headers["X-Chat-ID"]) == (200, chat["_id"])
    assert seconds_of(again.content) == pytest.approx(2 * seconds_of(MP3), abs=0.1)
    assert [one.path for one in upstream.requests].count("/v1/audio/transcriptions") == 1


def test_a_synthesizer_that_fails_first_is_a_502_and_the_answer_is_stored(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    told = threading.Event()
    upstream.replies[:] = [going_on(silent, told, piece(event(chunk("econd one is that.")) + DONE), END)]
    silent.replies[:] = [REFUSED, REFUSED]
    failed = exchange(served.server.url, asked(assistant))
    told.set()
    assert (failed.status, failed.headers["content-type"]) == (502, "application/problem+json")
    assert b"secret" not in failed.body
    wait_until(lambda: chat_of(served, assistant)["status"] == "answered")
    chat = chat_of(served, assistant)
    assert (chat["_id"], chat["response"]) == (failed.headers["x-chat-id"], FIRST + SECOND)


def test_a_synthesizer_that_fails_later_cuts_the_body_and_the_answer_is_stored(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    upstream.replies[:] = [going_on(silent, piece(event(chunk("econd one is that.")) + DONE), END), WORDS]
    silent.replies[:] = [SAID, REFUSED, SAID, SAID]
    logged = len(served.server.log)
    cut = exchange(served.server.url, asked(assistant, message_id="m"))
    assert (cut.status, cut.is_whole) == (200, False)
    assert seconds_of(cut.body) == pytest.approx(seconds_of(MP3), abs=0.05)
    wait_until(lambda: chat_of(served, assistant)["status"] == "answered")
    lines = "".join(served.server.log[logged:])
    assert "speech broke off" in lines and "Traceback" not in lines
    whole = exchange(served.server.url, asked(assistant, message_id="m"))
    assert (whole.status, whole.is_whole, whole.headers["idempotent-replayed"]) == (200, True, "true")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_model_that_fails_later_cuts_the_body(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer, version: str
) -> None:
    heard = threading.Event()
    upstream.replies[:] = [going_on(silent, heard, Action.RESET)]
    silent.replies[:] = [SAID]
    sent = request("/voice/processText", {"text": "Hello?"}, version=version, X_API_Key=assistant["api_key"])
    cut = exchange(served.server.url, sent, heard.set)
    assert (cut.status, cut.is_whole) == (200, False)
    assert seconds_of(cut.body) == pytest.approx(seconds_of(MP3), abs=0.05)
    chat = chat_of(served, assistant)
    assert (chat["status"], chat["error"]["partial"]) == ("failed", FIRST + "The s")
    assert served.api.get("/healthz").status_code == 200


def test_nobody_speaks(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies[:] = [document(200, {"text": "  "})]
    refused = ask_aloud(served, assistant)
    assert (refused.status_code, refused.json()["code"]) == (422, "no_speech")
    assert served.chats(assistant) == []


def test_a_transcriber_that_fails_is_a_502_and_nothing_is_stored(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies[:] = [REFUSED]
    refused = ask_aloud(served, assistant)
    assert (refused.status_code, refused.headers["Content-Type"]) == (502, "application/problem+json")
    assert "secret" not in refused.text and served.chats(assistant) == []


def test_an_answer_that_a_human_overtook_is_not_said(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    late, taken_over = event(chunk("No sentence is over yet")), threading.Event()
    upstream.replies[:] = [WORDS, [STREAM, piece(late), taken_over, piece(event(chunk(finish="stop")) + DONE), END]]
    silent.replies[:] = [SAID, SAID, [Action.HANG]]  # the sentence is begun before the store has heard of the person
    first = exchange(served.server.url, asked(assistant, id="a"))
    with ThreadPoolExecutor(1) as pool:
        overtaken = pool.submit(exchange, served.server.url, asked(assistant, id="a"))
        wait_until(lambda: len(upstream.requests) == 2)
        assert served.api.put(f"/chats/desativar/{first.headers['x-chat-id']}").is_success
        taken_over.set()
        answer = overtaken.result(20)
    assert (answer.status, answer.body, answer.headers["x-chat-status"]) == (200, b"", "suppressed")


HOME = [{"type": "shared", "name": "home"}]
WEATHER = "sunny"
FILLER = "One moment, I am looking out of the window."


@pytest.fixture
def outdoors(served: Door, assistant: dict[str, Any], record: Path) -> dict[str, Any]:
    """Give an assistant that may ask for the weather, which nobody has asked for yet."""
    record.write_text("", encoding="utf-8")
    return served.api.new_assistant(tools=HOME, routing={"mode": "direct", "filler": "off"})


def told(upstream: WireServer) -> list[tuple[str, str]]:
    """Return who said what in the last request for an answer, instructions and calls aside."""
    messages = upstream.requests[-1].body["messages"]
    return [(one["role"], one["content"]) for one in messages if one["role"] != "system" and one["content"]]


def said(silent: WireServer) -> list[str]:
    """Return what was to be spoken."""
    return [request.body["input"] for request in silent.requests]


def test_filler_is_heard_before_the_answer_of_a_slow_model_and_kept_nowhere(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    chatty = served.api.new_assistant(tools=HOME, routing={"mode": "direct", "chatty_model": "chatty"})
    heard, filler = threading.Event(), mp3(0.8)
    upstream.by_model["chatty"] = [[STREAM, piece(event(chunk(FILLER))), heard, piece(DONE), END]]
    upstream.replies[:] = [calling("tell_weather", city="Oslo"), [heard, *WORDS]]
    silent.replies[:] = [says(filler), SAID, SAID]
    answer = exchange(served.server.url, asked(chatty), heard.set)
    assert (answer.status, answer.is_whole) == (200, True)
    assert answer.body == filler + 2 * MP3
    first, *rest = said(silent)
    assert (first, sorted(rest)) == (FILLER, sorted((FIRST.strip(), SECOND)))
    chat = chat_of(served, chatty)
    assert (chat["status"], chat["response"]) == ("answered", FIRST + SECOND)
    assert served.said(chatty) == [[("human", "Hello?"), ("tool", WEATHER), ("ai", FIRST + SECOND)]]
    assert "window" not in json.dumps(served.api.get(f"/chats/get/{chat['_id']}").json())


def test_a_tool_runs_once_for_all_deliveries_and_the_answer_says_what_it_said(
    served: Door, outdoors: dict[str, Any], upstream: WireServer, silent: WireServer, record: Path
) -> None:
    both_wait = threading.Event()
    upstream.replies[:] = [calling("tell_weather", city="Oslo"), [both_wait, *answers(f"It is {WEATHER} in Oslo.")]]
    silent.replies[:] = [SAID] * 3

    def deliver() -> Received:
        return exchange(served.server.url, asked(outdoors, message_id="m"))

    with ThreadPoolExecutor(2) as pool:
        deliveries = [pool.submit(deliver) for _ in range(2)]
        wait_until(lambda: room_has(served, 2) and len(upstream.requests) == 2)
        both_wait.set()
        heard = [one.result() for one in deliveries]
    heard.append(deliver())
    assert [(one.status, one.is_whole, one.body) for one in heard] == [(200, True, MP3)] * 3
    assert said(silent) == [f"It is {WEATHER} in Oslo."] * 3
    assert told(upstream) == [("user", "Hello?"), ("tool", WEATHER)]
    assert record.read_text(encoding="utf-8") == "nobody asks of Oslo\n" and len(upstream.requests) == 2
    assert len({one.headers["x-chat-id"] for one in heard}) == 1
    assert chat_of(served, outdoors)["tools"][0]["output"] == WEATHER


def test_a_voice_note_is_answered_with_a_tool_once_and_its_answer_can_be_heard(
    served: Door, outdoors: dict[str, Any], upstream: WireServer, silent: WireServer, record: Path
) -> None:
    upstream.replies[:] = [HEARD, calling("tell_weather", city="Oslo"), answers(f"It is {WEATHER} in Oslo.")]
    form = {"id": "a", "message_service": "whatsapp", "message_id": "m", "reply_audio": "true"}
    headers, files = {"X-API-Key": outdoors["api_key"]}, {"audio": ("q.wav", wav(0.5))}
    first, again = (
        served.api.post("/chats/enviarMensagemLLM", data=form, files=files, headers=headers) for _ in range(2)
    )
    chat = first.json()
    assert (chat["message"], chat["response"]) == ("what was said", f"It is {WEATHER} in Oslo.")
    assert (again.json()["_id"], again.headers["Idempotent-Replayed"]) == (chat["_id"], "true")
    assert told(upstream) == [("user", "what was said"), ("tool", WEATHER)]
    assert record.read_text(encoding="utf-8") == "nobody asks of Oslo\n"
    assert said(silent) == [], "nobody has listened yet"
    silent.replies[:] = [SAID]
    assert httpx2.get(chat["audio_url"]).content == MP3
    assert said(silent) == [chat["response"]]


class Leaver:
    """A client that leaves, and sees how soon that is noticed."""

    def __init__(self, served: Door, sent: bytes) -> None:
        self._served = served
        self._connection = connect(served.server.url)
        self._connection.sendall(sent)

    def hear(self) -> None:
        """Wait for the first sound."""
        assert begun(self._connection).startswith(b"HTTP/1.1 200")

    def leave(self, *endpoints: WireServer) -> None:
        """Leave, and expect that these endpoints are left within a second, and the server's place as well."""
        self._connection.close()
        until = time.monotonic() + LEAVES_WITHIN
        for endpoint in endpoints:
            assert endpoint.gone.wait(until - time.monotonic()), "it goes on"
        wait_until(lambda: room_has(self._served, 0), LEAVES_WITHIN)


def test_who_leaves_while_it_is_transcribed_stops_that(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies[:] = [[Action.HANG]]
    files = {"file": ("q.wav", wav(0.5))}
    leaver = Leaver(served, form_request("/voice/processAudioFile", assistant["api_key"], files))
    wait_until(lambda: bool(upstream.requests))
    leaver.leave(upstream)
    assert served.chats(assistant) == []


def test_who_leaves_before_the_first_sound_stops_the_model(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies[:] = [[STREAM, piece(event(chunk("No sentence is over"))), Action.HANG]]
    leaver = Leaver(served, asked(assistant))
    wait_until(lambda: bool(upstream.requests))
    leaver.leave(upstream)
    wait_until(lambda: chat_of(served, assistant)["status"] == "failed")
    assert chat_of(served, assistant)["error"]["code"] == "caller_gone"


def test_who_leaves_while_it_is_spoken_stops_model_and_synthesizer(
    served: Door, assistant: dict[str, Any], upstream: WireServer, silent: WireServer
) -> None:
    upstream.replies[:] = [going_on(silent, piece(event(chunk(f"econd. {FIRST}{SECOND}"))), Action.HANG), WORDS]
    silent.replies[:] = [SAID, [Action.HANG], [Action.HANG], SAID, SAID]
    leaver = Leaver(served, asked(assistant, message_id="m"))
    leaver.hear()
    wait_until(lambda: len(silent.requests) >= 2)
    leaver.leave(upstream, silent)
    wait_until(lambda: chat_of(served, assistant)["status"] == "failed")
    assert chat_of(served, assistant)["error"]["code"] == "caller_gone"
    silent.replies[:] = [SAID, SAID]
    again = exchange(served.server.url, asked(assistant, message_id="m"))
    assert again.is_whole and chat_of(served, assistant)["status"] == "answered"
