"""Voice notes of a channel, and answers as sound: heard by an endpoint that a test drives, spoken by espeak-ng."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from bench.running import RunningServer
from tests.e2e.api import ADMIN, SETTINGS, Api, events_of, registered_server
from tests.e2e.hosted import wait_until
from tests.e2e.sound import connect, form_request, seconds_of, tone, wav
from tests.emulators.openai_wire import Action, Reply, WireServer, document, wire
from tests.webhook_receiver import running_receiver

POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year. Ask your manager for them in time.\n"
QUESTION = "How many vacation days do I have?"
NOTE = wav(0.5)
LEAVES_WITHIN = 1.0


def says(text: str) -> Reply:
    """Return a reply of the endpoint that hears."""
    return document(200, {"text": text})


@pytest.fixture(scope="module")
def ear() -> Iterator[WireServer]:
    """Give the endpoint that hears."""
    with wire() as running:
        yield running


@pytest.fixture(scope="module")
def served(ear: WireServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give a server that asks it, answers from documents, and speaks by itself."""
    settings = {
        **SETTINGS,
        "TRANSCRIPTION_MODEL": "whisper-1",
        "TRANSCRIPTION_BASE_URL": ear.base_url,
        "TRANSCRIPTION_API_KEY": "sk-a-key-of-the-tests",
        "SPEECH": "offline",
        "CALLBACK_NETWORKS": "127.0.0.0/8",
    }
    with registered_server(tmp_path_factory.mktemp("notes"), settings) as server:
        yield server


@pytest.fixture(scope="module")
def api(served: RunningServer) -> Iterator[Api]:
    """Give a logged-in client."""
    with Api(served.url) as client:
        client.login(ADMIN["email"], ADMIN["password"])
        yield client


@pytest.fixture(scope="module")
def known(api: Api) -> dict[str, Any]:
    """Give an assistant that knows the policy."""
    made = api.new_assistant(language="en-US", callback_hosts=["127.0.0.1"])
    assert api.upload(made, "policy.md", POLICY).status_code == 201
    return made


@pytest.fixture
def assistant(known: dict[str, Any], ear: WireServer) -> dict[str, Any]:
    """Give that assistant, and an endpoint that nobody has asked."""
    ear.forget()
    return known


@pytest.fixture
def anonymous(served: RunningServer) -> Iterator[httpx2.Client]:
    """Give a client without credentials, as whoever plays a link is one."""
    with httpx2.Client(base_url=served.url, timeout=60) as client:
        yield client


class Channel:
    """A channel of one person."""

    def __init__(self, api: Api, assistant: dict[str, Any], person: str) -> None:
        self._api = api
        self._key = {"X-API-Key": assistant["api_key"]}
        self._person = {"id": person, "message_service": "whatsapp"}

    def note(self, content: bytes = NOTE, **form: Any) -> httpx2.Response:
        """Send a voice note."""
        audio = {"audio": ("note.wav", content, "audio/wav")}
        return self._post(data={**self._person, **form}, files=audio)

    def note_without(self, *names: str, **form: Any) -> httpx2.Response:
        """Send a form that lacks something."""
        fields = {name: value for name, value in {**self._person, **form}.items() if name not in names}
        return self._post(files={name: (None, str(value)) for name, value in fields.items()})

    def write(self, message: str, **fields: Any) -> httpx2.Response:
        """Send a written message."""
        return self._post(json={**self._person, "message": message, **fields})

    def _post(self, **request: Any) -> httpx2.Response:
        return self._api.post("/chats/enviarMensagemLLM", headers=self._key, **request)


@pytest.fixture
def channel(api: Api, assistant: dict[str, Any], request: pytest.FixtureRequest) -> Channel:
    """Give a channel of its own to each test."""
    return Channel(api, assistant, request.node.name)


def chats(api: Api, request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Return what is stored of the test's channel."""
    return list(api.get("/chats/list", params={"channel_id": request.node.name}).json())


def test_a_voice_note_is_answered_like_a_message_and_the_answer_can_be_heard(
    channel: Channel, ear: WireServer, api: Api, anonymous: httpx2.Client
) -> None:
    ear.replies[:] = [says(f" {QUESTION}\n")]
    sent = channel.note(username="Bia", message_id="n1", reply_audio="true", metadata='{"album": [1, null]}')
    assert sent.status_code == 200, sent.text
    chat = sent.json()
    assert (chat["message"], chat["username"], chat["message_id"]) == (QUESTION, "Bia", "n1")
    assert "25 vacation days" in chat["response"] and chat["metadata"] == {"album": [1, None]}
    assert chat["heard"] == {"transcriber": "openai", "language": "en-US", "seconds": 0.5}
    assert chat["timings"]["decode_ms"] is not None and chat["timings"]["transcribe_ms"] is not None
    assert NOTE in ear.requests[0].content, "the endpoint gets what the person recorded"
    played = anonymous.get(chat["audio_url"])
    assert (played.status_code, played.headers["Content-Type"]) == (200, "audio/mpeg")
    assert played.headers["Cache-Control"] == "no-store"
    assert seconds_of(played.content) == pytest.approx(len(chat["response"]) / 15, rel=0.5)
    stored = api.get(f"/chats/get/{chat['_id']}").json()
    assert stored["heard"] == chat["heard"] and stored["message"] == QUESTION
    assert anonymous.head(stored["audio_url"]).status_code == 200, "managers are given a link, too"


def test_an_answer_is_heard_in_every_format(channel: Channel, anonymous: httpx2.Client) -> None:
    url = channel.write(QUESTION, reply_audio=True).json()["audio_url"]
    length = seconds_of(anonymous.get(url).content)
    kinds = {"wav": "audio/wav", "pcm": "audio/pcm;rate=22050;channels=1", "ogg": "audio/ogg; codecs=opus"}
    for format, kind in kinds.items():
        head, played = anonymous.head(f"{url}&format={format}"), anonymous.get(f"{url}&format={format}")
        assert head.headers["Content-Type"] == played.headers["Content-Type"] == kind
        assert (head.status_code, head.content, played.status_code) == (200, b"", 200)
        assert "Content-Length" not in head.headers, "nobody has spoken yet"
        seconds = len(played.content) / 44_100 if format == "pcm" else seconds_of(played.content, format)
        assert seconds == pytest.approx(length, abs=0.3), format
        if format == "ogg":
            assert played.content[28:36] == b"OpusHead" and int(played.headers["Content-Length"]) == len(played.content)
    assert anonymous.get(f"{url}&format=flac").json()["errors"].keys() == {"format"}


def test_only_whoever_may_read_an_answer_hears_it(
    channel: Channel, api: Api, assistant: dict[str, Any], anonymous: httpx2.Client
) -> None:
    url = channel.write(QUESTION, reply_audio=True).json()["audio_url"]
    path = urlsplit(url).path

    def status(of: str = path, **headers: str) -> tuple[int, str]:
        head = anonymous.head(of, headers=headers)
        played = anonymous.get(of, headers=headers)
        assert head.status_code == played.status_code
        return played.status_code, "" if played.status_code == 200 else played.json()["code"]

    token, other = api.headers["Authorization"], api.new_assistant()
    assert status(X_API_Key="", Authorization=f"Bearer {assistant['api_key']}") == (200, "")
    assert status(**{"X-API-Key": assistant["api_key"]}) == status(Authorization=token) == (200, "")
    assert status(**{"X-API-Key": other["api_key"]}) == (404, "not_found")
    assert status() == (401, "api_key_missing") and status(Authorization="Bearer x")[0] == 401
    assert status(url[:-1] + ("0" if url[-1] != "0" else "1")) == (401, "link_invalid")
    assert status(url.replace("expires=", "expires=9")) == (401, "link_invalid")
    assert status(url.replace(path, path[:-24] + other["_id"])) == (401, "link_invalid")
    assert status(path + "?expires=1") == (422, "validation_failed")
    assert status(path[:-24] + "0" * 24, Authorization=token) == (404, "not_found")
    with Api(str(anonymous.base_url)) as stranger:
        api.post("/auth/register", json={"name": "Uli", "email": "uli@example.com", "password": "user-password"})
        stranger.login("uli@example.com", "user-password")
        assert stranger.get(path).status_code == 404


def test_what_has_no_answer_cannot_be_heard(
    channel: Channel, ear: WireServer, api: Api, assistant: dict[str, Any]
) -> None:
    ear.replies[:] = [says("Call me back.")]
    chat = channel.note(active="false", reply_audio="1").json()
    assert (chat["message"], chat["status"], chat["audio_url"]) == ("Call me back.", "inactive", None)
    refused = api.get(f"/chats/audio/{chat['_id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "no_answer")


def test_a_note_is_heard_and_answered_once(
    channel: Channel,
    ear: WireServer,
    api: Api,
    anonymous: httpx2.Client,
    request: pytest.FixtureRequest,
) -> None:
    ear.replies[:] = [says(QUESTION)]
    first = channel.note(message_id="m", reply_audio="true").json()
    again = channel.note(message_id="m", reply_audio="true")
    assert again.headers["Idempotent-Replayed"] == "true" and len(ear.requests) == 1
    assert {**again.json(), "audio_url": ""} == {**first, "audio_url": ""}
    assert anonymous.head(again.json()["audio_url"]).status_code == 200
    for other in (channel.note(wav(0.6), message_id="m"), channel.write(QUESTION, message_id="m")):
        assert (other.status_code, other.json()["code"]) == (409, "message_id_reused")
    assert [chat["_id"] for chat in chats(api, request)] == [first["_id"]]


def test_deliveries_at_once_that_are_heard_differently_are_answered_once(
    channel: Channel, ear: WireServer, api: Api, request: pytest.FixtureRequest
) -> None:
    all_there = threading.Event()
    ear.replies[:] = [[all_there, *says(f"{QUESTION}{'!' * number}")] for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(channel.note, message_id="m") for _ in range(6)]
        wait_until(lambda: len(ear.requests) == 6)
        all_there.set()
        answers = [one.result().json() for one in sent]
    assert len({json.dumps(answer) for answer in answers}) == len(chats(api, request)) == 1
    assert answers[0]["status"] == "answered"


def test_what_is_written_while_a_note_is_heard_comes_after_it(
    channel: Channel, ear: WireServer, api: Api, request: pytest.FixtureRequest
) -> None:
    written = threading.Event()
    ear.replies[:] = [[written, *says(QUESTION)], says("And who is to be asked?")]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(channel.note)
        wait_until(lambda: len(ear.requests) == 1)
        others = [pool.submit(channel.note), pool.submit(channel.write, "Thank you.")]
        wait_until(lambda: len(chats(api, request)) == 2)
        assert {chat["status"] for chat in chats(api, request)} == {"received"}, "they wait"
        written.set()
        answers = [one.result().json() for one in (first, *others)]
    assert {answer["status"] for answer in answers} == {"answered"}
    *_, oldest = chats(api, request)
    assert (oldest["_id"], oldest["message"]) == (answers[0]["_id"], QUESTION)
    assert all(answer["timings"]["queued_ms"] > 0 for answer in answers[1:])


def test_the_stream_and_the_callback_have_the_link_too(
    channel: Channel, ear: WireServer, anonymous: httpx2.Client, assistant: dict[str, Any]
) -> None:
    ear.replies[:] = [says(QUESTION), says(QUESTION)]
    streamed = channel.note(stream="true", reply_audio="true")
    name, chat = list(events_of(streamed.iter_lines()))[-1]
    assert name == "done" and chat["heard"]["transcriber"] == "openai"
    assert anonymous.head(chat["audio_url"]).status_code == 200
    with running_receiver() as receiver:
        accepted = channel.note(callback_url=f"{receiver.url}/hook", reply_audio="true")
        assert accepted.status_code == 202 and accepted.json()["audio_url"] is None
        (post,) = receiver.wait_for(1)
    told = post.verified(assistant["webhook_secret"])["data"]
    assert told["message"] == QUESTION and told["audio_url"].startswith(f"/chats/audio/{told['_id']}?")
    assert anonymous.head(told["audio_url"]).status_code == 200


def test_bare_samples_say_their_rate(channel: Channel, ear: WireServer) -> None:
    ear.replies[:] = [says(QUESTION)]
    assert channel.note(tone(0.5, 8000), sample_rate="8000").json()["heard"]["seconds"] == 0.5
    assert channel.note(tone(0.5, 8000)).json()["code"] == "audio_unreadable"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"message": "Hello"}, "message"),
        ({"metadata": "[1]"}, "metadata"),
        ({"metadata": '{"a":'}, "metadata"),
        ({"metadata": '{"a":' * 2000 + "1" + "}" * 2000}, "metadata"),
        ({"sample_rate": "7999"}, "sample_rate"),
        ({"reply_audio": "perhaps"}, "reply_audio"),
        ({"stream": "true", "callback_url": "http://127.0.0.1/"}, "callback_url"),
        ({"message_service": ""}, "message_service"),
        ({"surprise": "1"}, "surprise"),
    ],
    ids=["both", "list", "cut", "deep", "rate", "boolean", "stream", "blank", "unknown"],
)
def test_a_form_that_is_wrong_is_refused_before_anything_is_heard(
    channel: Channel, ear: WireServer, change: dict[str, Any], field: str
) -> None:
    refused = channel.note(**change)
    assert (refused.status_code, list(refused.json()["errors"])) == (422, [field])
    assert ear.requests == []


def test_a_form_needs_a_file_and_json_takes_none(channel: Channel, ear: WireServer) -> None:
    assert list(channel.note_without().json()["errors"]) == ["audio"]
    assert list(channel.note_without(audio="no file").json()["errors"]) == ["audio"]
    assert list(channel.write("Hello", audio="no file").json()["errors"]) == ["audio"]
    assert channel.note(b"no sound at all").json()["code"] == "audio_unreadable"
    assert channel.note(bytes(3 * 2**20)).status_code == 413
    assert ear.requests == []


def test_who_leaves_while_it_is_heard_stops_that_and_nothing_is_stored(
    channel: Channel,
    served: RunningServer,
    ear: WireServer,
    api: Api,
    assistant: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    ear.replies[:] = [[Action.HANG]]
    form = {"id": request.node.name, "message_service": "whatsapp", "message_id": "m"}
    files = {"audio": ("note.wav", NOTE)}
    with connect(served.url) as connection:
        connection.sendall(form_request("/chats/enviarMensagemLLM", assistant["api_key"], files, form))
        wait_until(lambda: bool(ear.requests))
    assert ear.gone.wait(LEAVES_WITHIN), "it goes on"
    assert chats(api, request) == []
    ear.replies[:] = [says(QUESTION)]
    assert channel.note(message_id="m").json()["status"] == "answered"


def test_a_transcriber_that_fails_stores_nothing_and_the_next_delivery_is_answered(
    channel: Channel, ear: WireServer, api: Api, request: pytest.FixtureRequest
) -> None:
    ear.replies[:] = [document(401, {"error": {"message": "a secret of the provider's"}}), says(""), says(QUESTION)]
    failed = channel.note(message_id="m")
    assert failed.status_code == 502 and "secret" not in failed.text
    silent = channel.note(message_id="m")
    assert (silent.status_code, silent.json()["code"]) == (422, "no_speech")
    assert chats(api, request) == []
    assert channel.note(message_id="m").json()["status"] == "answered"


def measured(anonymous: httpx2.Client) -> Callable[[str], int]:
    """Return what tells how many answers were measured in a stage."""
    text = anonymous.get("/metrics", headers={"Authorization": f"Bearer {SETTINGS['METRICS_TOKEN']}"}).text
    prefix = 'orquestra_answer_stage_seconds_count{stage="'
    lines = [line.removeprefix(prefix).split('"} ') for line in text.splitlines() if line.startswith(prefix)]
    counts = {stage: int(float(count)) for stage, count in lines}
    return lambda stage: counts.get(stage, 0)


def test_transcriptions_and_syntheses_are_counted_by_provider_and_outcome(
    channel: Channel, ear: WireServer, anonymous: httpx2.Client
) -> None:
    def counted() -> dict[str, float]:
        text = anonymous.get("/metrics", headers={"Authorization": f"Bearer {SETTINGS['METRICS_TOKEN']}"}).text
        lines = [line.split("} ") for line in text.splitlines() if line.startswith("orquestra_") and "} " in line]
        return {name.removeprefix("orquestra_"): float(value) for name, value in lines}

    ear.replies[:] = [document(401, {}), says(QUESTION)]
    before = counted()
    refused = channel.note().json()["code"]
    answered = channel.note(reply_audio="true").json()
    assert anonymous.get(answered["audio_url"]).status_code == 200
    after = counted()

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more('transcriptions_total{outcome="ok",provider="openai"') == 1
    assert more(f'transcriptions_total{{outcome="{refused}",provider="openai"') == 1
    assert more('transcribed_seconds_total{provider="openai"') == pytest.approx(answered["heard"]["seconds"])
    assert more('syntheses_total{outcome="ok",provider="offline"') >= 1
    assert 0 < more('synthesized_characters_total{provider="offline"') <= len(answered["response"])


def test_every_stage_is_timed(
    channel: Channel, ear: WireServer, api: Api, assistant: dict[str, Any], anonymous: httpx2.Client
) -> None:
    ear.replies[:] = [says(QUESTION), says(QUESTION)]
    before = measured(anonymous)
    channel.note()
    heard = measured(anonymous)
    assert [heard(stage) - before(stage) for stage in ("decode", "transcribe", "first_audio")] == [1, 1, 0]
    key = {"X-API-Key": assistant["api_key"], "Idempotency-Key": "timed"}
    for _ in range(2):  # the second time it is a replay
        spoken = anonymous.post("/voice/processAudioFile", files={"file": ("note.wav", NOTE)}, headers=key)
        assert spoken.status_code == 200
    after = measured(anonymous)
    stages = ("decode", "transcribe", "first_token", "first_sentence", "first_audio")
    assert [after(stage) - heard(stage) for stage in stages] == [1, 1, 1, 1, 1]
    timings = api.get(f"/chats/get/{spoken.headers['X-Chat-ID']}").json()["timings"]
    assert None not in (timings[f"{stage}_ms"] for stage in stages)
    assert timings["first_sentence_ms"] <= timings["first_audio_ms"]


def test_no_signature_and_no_transcript_is_logged(
    channel: Channel, ear: WireServer, served: RunningServer, anonymous: httpx2.Client
) -> None:
    ear.replies[:] = [says("My password is swordfish.")]
    url = channel.note(reply_audio="true").json()["audio_url"]
    anonymous.get(url)
    path, signature = urlsplit(url).path, url.rpartition("signature=")[2]
    wait_until(lambda: path in "".join(served.log))
    log = "".join(served.log)
    assert "swordfish" not in log and signature not in log and "test_no_signature" not in log


def test_both_bodies_are_documented(anonymous: httpx2.Client) -> None:
    paths = anonymous.get("/openapi.json").json()
    bodies = paths["paths"]["/chats/enviarMensagemLLM"]["post"]["requestBody"]["content"]
    schemas = {kind: body["schema"]["$ref"].rpartition("/")[2] for kind, body in bodies.items()}
    assert schemas == {"application/json": "ChannelMessage", "multipart/form-data": "VoiceNote"}
    audio = paths["components"]["schemas"]["VoiceNote"]["properties"]["audio"]
    assert audio == {"type": "string", "format": "binary"}
