"""/voice with a model and a transcriber that aimock plays, and espeak-ng's voice for real."""

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest

from bench.running import RunningServer
from tests.e2e.api import ADMIN, SETTINGS, Api, registered_server
from tests.e2e.sound import Received, exchange, request, seconds_of, tone, wav
from tests.emulators.aimock import AimockServer, aimock

TRANSCRIPT = "Quantos dias de férias? 多少天"
SENTENCES = ["Every employee has 25 vacation days a year.", "They can be taken at any time.", "Ask your manager"]
ENGLISH = " ".join(SENTENCES)
PORTUGUESE = "Todos os funcionários têm vinte e cinco dias de férias. Pergunte ao seu gestor amanhã cedo."
CHINESE = "每位员工每年有二十五天年假。请向您的经理咨询。"
FIXTURES: list[dict[str, Any]] = [
    {"match": {"endpoint": "transcription"}, "response": {"transcription": {"text": TRANSCRIPT}}},
    {"match": {"userMessage": "vacation"}, "response": {"content": ENGLISH}},
    {"match": {"userMessage": "sourced"}, "response": {"content": "Every employee has 25 vacation days[^1]."}},
    {"match": {"userMessage": "code"}, "response": {"content": "```\nprint(1)\n```"}},
    {"match": {"userMessage": "férias"}, "response": {"content": PORTUGUESE}},
    {"match": {"userMessage": "假"}, "response": {"content": CHINESE}},
]
POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year.\n"


@pytest.fixture(scope="module")
def model() -> Iterator[AimockServer]:
    """Give the emulator."""
    with aimock(FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def served(model: AimockServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give a server that asks the emulator, and speaks with the offline voice."""
    settings = {
        **SETTINGS,
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "sk-a-key-of-the-tests",
        "TRANSCRIPTION_MODEL": "whisper-1",
        "SPEECH": "offline",
        "MAX_AUDIO_SECONDS": "3",
        "CORS_ORIGINS": "https://app.example.com",
    }
    with registered_server(tmp_path_factory.mktemp("voice"), settings) as server:
        yield server


@pytest.fixture
def api(served: RunningServer) -> Iterator[Api]:
    """Give a logged-in client."""
    with Api(served.url) as client:
        client.login(ADMIN["email"], ADMIN["password"])
        yield client


@pytest.fixture
def assistant(api: Api) -> dict[str, Any]:
    """Give an assistant."""
    return api.new_assistant()


@pytest.fixture
def channel(served: RunningServer, assistant: dict[str, Any]) -> Iterator[httpx2.Client]:
    """Give a client with the assistant's key."""
    with httpx2.Client(base_url=served.url, timeout=60, headers={"X-API-Key": assistant["api_key"]}) as client:
        yield client


def aloud(served: RunningServer, assistant: dict[str, Any], text: str, path: str = "/voice/processText") -> Received:
    """Ask, and see the response's chunks."""
    return exchange(served.url, request(path, {"text": text}, X_API_Key=assistant["api_key"]))


def record(channel: httpx2.Client, content: bytes = b"", path: str = "/voice/processAudioFile", **form: Any) -> Any:
    """Send a recording."""
    headers = form.pop("headers", {})
    return channel.post(path, data=form, files={"file": ("q.wav", content or wav(), "audio/wav")}, headers=headers)


def test_every_chunk_is_a_whole_mp3_and_all_together_are_one(
    served: RunningServer, api: Api, assistant: dict[str, Any]
) -> None:
    answer = aloud(served, assistant, "How many vacation days do I have?")
    assert (answer.status, answer.headers["content-type"], answer.is_whole) == (200, "audio/mpeg", True)
    lengths = [seconds_of(chunk) for chunk in answer.chunks]
    assert len(lengths) >= len(SENTENCES), "the tail too; a slow machine sends sentences in pieces"
    assert min(lengths) > 0
    assert seconds_of(answer.body) == pytest.approx(sum(lengths), abs=0.05 * len(lengths))
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    assert "x-chat-status" not in answer.headers and "x-transcript" not in answer.headers
    chat = api.get(f"/chats/get/{answer.headers['x-chat-id']}").json()
    assert (chat["status"], chat["response"]) == ("answered", ENGLISH)
    assert chat["conversation_id"] == answer.headers["x-conversation-id"]
    assert chat["channel"]["message_service"] == "voice"


def test_samples_and_wav_are_the_same_speech(channel: httpx2.Client) -> None:
    bodies = {}
    for wanted in ("mp3", "pcm", "wav"):
        answer = channel.post("/voice/processText", json={"text": "vacation?", "format": wanted})
        assert answer.status_code == 200
        bodies[wanted] = answer
    assert bodies["pcm"].headers["Content-Type"] == "audio/pcm;rate=22050;channels=1"
    assert bodies["wav"].headers["Content-Type"] == "audio/wav"
    samples = bodies["pcm"].content
    seconds = len(samples) / 2 / 22050
    assert bodies["wav"].content[:4] == b"RIFF"
    assert seconds_of(bodies["wav"].content, "wav") == pytest.approx(seconds, rel=0.01)
    assert seconds_of(bodies["mp3"].content) == pytest.approx(seconds, abs=0.4)
    values = struct.unpack(f"<{len(samples) // 2}h", samples)
    assert max(values) > 3000 and min(values) < -3000, "it is sound"


@pytest.mark.parametrize(
    ("question", "said", "language"),
    [("vacation?", ENGLISH, "en"), ("férias?", PORTUGUESE, "pt"), ("年假?", CHINESE, "zh")],
)
def test_the_answers_own_language_is_spoken(channel: httpx2.Client, question: str, said: str, language: str) -> None:
    spoken = channel.post("/voice/processText", json={"text": question, "format": "pcm"}).content
    same, other = (
        channel.post("/voice/speak", json={"text": said, "language": tag, "format": "pcm"}).content
        for tag in (language, "en" if language != "en" else "pt")
    )
    assert _sound_alike(spoken, same) and not _sound_alike(spoken, other)


def test_what_is_said_is_a_message_like_any_other(api: Api, channel: httpx2.Client) -> None:
    answer = record(channel, id="kiosk-1", username="Ana", metadata='{"floor": 2}')
    assert answer.status_code == 200 and seconds_of(answer.content) > 2
    assert unquote(answer.headers["X-Transcript"]) == TRANSCRIPT
    assert answer.headers["X-Transcriber"] == "openai"
    chat = api.get(f"/chats/get/{answer.headers['X-Chat-ID']}").json()
    assert (chat["message"], chat["response"], chat["username"]) == (TRANSCRIPT, PORTUGUESE, "Ana")
    assert chat["channel"] == {"id": "kiosk-1", "message_service": "voice"}
    assert chat["metadata"] == {"floor": 2}
    assert chat["heard"]["transcriber"] == "openai"
    assert chat["heard"]["seconds"] == pytest.approx(1.0, abs=0.05)


def test_a_conversation_is_remembered_and_one_without_an_id_is_its_own(
    api: Api, assistant: dict[str, Any], channel: httpx2.Client, model: AimockServer
) -> None:
    named: dict[str, Any] = {"id": "+55119", "message_service": "whatsapp"}
    first = channel.post("/voice/processText", json={"text": "first vacation question", **named})
    second = api.say(assistant, "second vacation question", **named).json()
    third = record(channel, **named)
    told = [message["content"] for message in _asked(model)[-1]["messages"] if message["role"] == "user"]
    assert told == ["first vacation question", "second vacation question", TRANSCRIPT]
    assert {first.headers["X-Conversation-ID"], third.headers["X-Conversation-ID"]} == {second["conversation_id"]}
    alone = [channel.post("/voice/processText", json={"text": "vacation"}) for _ in range(2)]
    assert alone[0].headers["X-Conversation-ID"] != alone[1].headers["X-Conversation-ID"]
    assert [one["role"] for one in _asked(model)[-1]["messages"] if one["role"] != "system"] == ["user"]


def test_documents_are_used_and_cited(api: Api, assistant: dict[str, Any], channel: httpx2.Client) -> None:
    assert api.upload(assistant, "policy.md", POLICY).status_code == 201
    answer = channel.post("/voice/processText", json={"text": "a sourced question on vacation days", "format": "pcm"})
    chat = api.get(f"/chats/get/{answer.headers['X-Chat-ID']}").json()
    (citation,) = chat["citations"]
    assert citation["filename"] == "policy.md"
    said = channel.post("/voice/speak", json={"text": chat["response"], "format": "pcm"})
    assert _sound_alike(answer.content, said.content), "the mark is not read out"


def test_where_people_have_taken_over_nothing_is_said(api: Api, channel: httpx2.Client) -> None:
    first = channel.post("/voice/processText", json={"text": "vacation?", "id": "a"})
    assert api.put(f"/chats/desativar/{first.headers['X-Chat-ID']}").is_success
    silent = channel.post("/voice/processText", json={"text": "vacation?", "id": "a"})
    assert (silent.status_code, silent.content, silent.headers["X-Chat-Status"]) == (200, b"", "inactive")
    assert silent.headers["Content-Type"] == "audio/mpeg" and silent.headers["Content-Length"] == "0"
    noted = record(channel, id="a")
    assert (noted.content, noted.headers["X-Chat-Status"]) == (b"", "inactive")
    assert unquote(noted.headers["X-Transcript"]) == TRANSCRIPT, "people want to read it"


def test_an_answer_with_nothing_to_say_is_empty(channel: httpx2.Client) -> None:
    answer = channel.post("/voice/processText", json={"text": "show me code"})
    assert (answer.status_code, answer.content, answer.headers["X-Chat-Status"]) == (200, b"", "answered")


def test_a_message_is_answered_once_however_often_it_comes(channel: httpx2.Client, model: AimockServer) -> None:
    before = len(_asked(model))

    def ask(_: int) -> httpx2.Response:
        return channel.post("/voice/processText", json={"text": "vacation?"}, headers={"Idempotency-Key": "k"})

    with ThreadPoolExecutor(3) as pool:
        answers = [*pool.map(ask, range(3)), ask(3)]
    assert len(_asked(model)) == before + 1
    assert len({answer.headers["X-Chat-ID"] for answer in answers}) == 1
    assert all(_sound_alike(answer.content, answers[0].content) for answer in answers) and answers[0].content
    replayed = [answer.headers.get("Idempotent-Replayed") for answer in answers]
    assert sorted(replayed, key=str) == [None, "true", "true", "true"]
    other = channel.post("/voice/processText", json={"text": "vacation??", "message_id": "k"})
    assert (other.status_code, other.json()["code"]) == (409, "message_id_reused")


def test_a_recording_is_heard_and_answered_once(channel: httpx2.Client, model: AimockServer) -> None:
    answers = [record(channel, message_id="note") for _ in range(2)]
    calls = [one["path"] for one in model.journal()]
    heard, asked = calls.count("/v1/audio/transcriptions"), len(_asked(model))
    answers.append(record(channel, headers={"Idempotency-Key": "note"}))
    calls = [one["path"] for one in model.journal()]
    assert (calls.count("/v1/audio/transcriptions"), len(_asked(model))) == (heard, asked)
    assert len({answer.headers["X-Chat-ID"] for answer in answers}) == 1
    assert {unquote(answer.headers["X-Transcript"]) for answer in answers} == {TRANSCRIPT}
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    other = record(channel, wav(0.5), message_id="note")
    assert (other.status_code, other.json()["code"]) == (409, "message_id_reused")


def test_a_signed_in_user_names_one_of_their_assistants(
    served: RunningServer, api: Api, channel: httpx2.Client
) -> None:
    email = "voice-user@example.com"
    api.post("/auth/register", json={"name": "Uli", "email": email, "password": "user-password"}).raise_for_status()
    with Api(served.url) as user:
        user.login(email, "user-password")
        mine, foreign = user.new_assistant(), api.new_assistant()
        named: dict[str, Any] = {"assistant_id": mine["_id"]}
        said = user.post("/voice/processText", json={"text": "vacation?", **named})
        assert said.status_code == 200 and said.content
        assert user.get(f"/chats/get/{said.headers['X-Chat-ID']}").json()["assistant_id"] == mine["_id"]
        assert record(user, **named).status_code == 200
        assert user.post(f"/voice/speak?assistant_id={mine['_id']}", json={"text": "Hello."}).status_code == 200
        assert user.get("/voice/voices", params=named).status_code == 200
        for assistant_id in (foreign["_id"], "0" * 24, "no id"):
            refused = user.post("/voice/processText", json={"text": "vacation?", "assistant_id": assistant_id})
            assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
            assert record(user, assistant_id=assistant_id).status_code == 404
        unnamed = user.post("/voice/processText", json={"text": "vacation?"})
        assert (unnamed.status_code, list(unnamed.json()["errors"])) == (422, ["assistant_id"])
        limited = user.new_assistant(messages_per_minute=1)
        both = {"assistant_id": limited["_id"]}
        assert user.post("/voice/speak", json={"text": "Hello.", **both}).status_code == 200
        refused = user.post("/voice/speak", json={"text": "Hello.", **both})
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        keyed = {"Authorization": f"Bearer {limited['api_key']}"}
        assert user.post("/voice/speak", json={"text": "Hello."}, headers=keyed).status_code == 429
    bearer = {"Authorization": f"Bearer {channel.headers['X-API-Key']}"}
    with httpx2.Client(base_url=served.url, timeout=60) as bare:
        assert bare.post("/voice/speak/", json={"text": "Hello."}, headers=bearer).status_code == 200
        for headers, code in (
            ({}, "api_key_missing"),
            ({"Authorization": "Bearer orq_x_y"}, "api_key_invalid"),
            ({"Authorization": "Bearer x.y.z"}, "token_invalid"),
        ):
            refused = bare.post("/voice/speak", json={"text": "Hello."}, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (401, code)


def test_recordings_that_are_none_are_refused(channel: httpx2.Client) -> None:
    for content in (b"", b"no sound at all", b"ffconcat version 1.0\nfile /etc/hostname\n", b"\x89PNG\r\n" * 50):
        refused = channel.post("/voice/processAudioFile", files={"file": ("q.webm", content)})
        assert (refused.status_code, refused.json()["code"]) == (422, "audio_unreadable"), content
    long = record(channel, wav(4))
    assert (long.status_code, long.json()["code"]) == (413, "audio_too_long")
    large = record(channel, bytes(6 * 2**20))
    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    for form in ({"files": {"file": ("", b"x")}}, {"data": {"file": "x"}}, {"files": {"sound": ("q.wav", wav())}}):
        refused = channel.post("/voice/processAudioFile", **form)
        assert (refused.status_code, refused.json()["code"]) in ((422, "validation_failed"), (400, "invalid_form"))
    wrong: dict[str, Any] = {
        "sample_rate": "1",
        "format": "flac",
        "language": "??",
        "metadata": "[1]",
        "id": " ",
        "no": "1",
    }
    refused = record(channel, **wrong)
    assert (refused.status_code, set(refused.json()["errors"])) == (422, set(wrong))
    for body in ({}, {"text": " "}, {"text": "x" * 32_001}, {"text": "x", "format": "ogg"}, {"text": "x", "no": 1}):
        assert channel.post("/voice/processText", json=body).status_code == 422
    assert channel.post("/voice/processText", data={"text": "x"}).status_code == 415


def test_transcribe_speak_and_voices(channel: httpx2.Client) -> None:
    written = record(channel, tone(1.0, 8_000), "/voice/transcribe", sample_rate="8000", language="pt-BR")
    assert written.status_code == 200
    assert written.json().pop("seconds") == pytest.approx(1.0, abs=0.05)
    assert {**written.json(), "seconds": 0} == {
        "text": TRANSCRIPT, "language": "pt-BR", "seconds": 0, "transcriber": "openai",
    }  # fmt: skip
    spoken = channel.post("/voice/speak", json={"text": "Hello there. Goodbye", "voice": "en-us"})
    assert spoken.status_code == 200 and seconds_of(spoken.content) > 1
    assert "X-Chat-ID" not in spoken.headers
    unknown = channel.post("/voice/speak", json={"text": "Hello there.", "voice": "nobody"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "voice_unknown")
    voices = channel.get("/voice/voices")
    assert voices.headers["X-Speech"] == "offline"
    assert set(voices.json()[0]) == {"id", "name", "languages", "gender"}
    portuguese = channel.get("/voice/voices?language=pt").json()
    assert portuguese and all(any(tag.lower().startswith("pt") for tag in one["languages"]) for one in portuguese)
    assert 0 < len(portuguese) < len(voices.json())


def test_pages_of_other_origins_may_read_the_headers(served: RunningServer, assistant: dict[str, Any]) -> None:
    sent = request(
        "/voice/processText", {"text": "vacation?"}, X_API_Key=assistant["api_key"], Origin="https://app.example.com"
    )
    shown = exchange(served.url, sent).headers["access-control-expose-headers"]
    assert {"X-Chat-ID", "X-Conversation-ID", "X-Transcript", "X-Transcriber"} <= set(shown.split(", "))


def test_system_000s_clients_get_an_mp3_in_each_chunk(
    served: RunningServer, api: Api, assistant: dict[str, Any], channel: httpx2.Client
) -> None:
    for path in ("/processText", "/processText/"):
        answer = aloud(served, assistant, "<i>How many</i>&nbsp;<b>vacation days</b> <br/>", path)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
        assert answer.is_whole and len(answer.chunks) >= len(SENTENCES)
        assert all(seconds_of(chunk) > 0 for chunk in answer.chunks)
        chat = api.get(f"/chats/get/{answer.headers['x-chat-id']}").json()
        assert chat["message"].split() == ["How", "many", "vacation", "days"]
    devices = [
        record(channel, wav(), "/processAudioFile"),
        record(channel, tone(1.0, 41_000), "/processAudioFile/"),
        record(channel, tone(1.0, 16_000), "/processAudioStream/", sample_rate="16000"),
    ]
    for answer in devices:
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/octet-stream")
        assert unquote(answer.headers["X-Transcript"]) == TRANSCRIPT and seconds_of(answer.content) > 1
        heard = api.get(f"/chats/get/{answer.headers['X-Chat-ID']}").json()["heard"]
        assert heard["seconds"] == pytest.approx(1.0, abs=0.05)
    assert len({answer.headers["X-Conversation-ID"] for answer in devices}) == len(devices)


def test_what_system_000s_clients_do_wrong_says_so_in_the_body_too(channel: httpx2.Client) -> None:
    refused = [
        channel.post("/processText", json={"text": "<br/>&nbsp;"}),
        channel.post("/processText", json={"text": "x"}, headers={"X-API-Key": "orq_wrong"}),
        channel.post("/processAudioFile", data={"file": "x"}),
        record(channel, wav(4), "/processAudioFile"),
    ]
    assert [one.status_code for one in refused] == [422, 401, 422, 413]
    for one in refused:
        assert one.headers["Content-Type"] == "application/problem+json"
        assert one.json()["statusCode"] == one.status_code


def _asked(model: AimockServer) -> list[dict[str, Any]]:
    """Return the bodies of the calls of the model so far."""
    return [one["body"] for one in model.journal() if one["path"] == "/v1/chat/completions"]


def _sound_alike(one: bytes, other: bytes) -> bool:
    """Tell whether two sounds are as long as each other: espeak-ng never says the same in the same bytes."""
    return abs(len(one) - len(other)) <= 0.01 * len(one)
