"""The channel endpoint over an OpenAI-compatible endpoint: every way a model call can end, and what is stored."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from bench.running import RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api, registered_server
from tests.emulators.aimock import AimockServer, aimock
from tests.emulators.openai_wire import DONE, STREAM, Action, Reply, chunk, event, piece, stream, wire

STALL = 30.0
TEXT = "Every employee has 25 vacation days a year[^1]. Ask your manager."
FIXTURES: list[dict[str, Any]] = [
    {"match": {"userMessage": "vacation"}, "response": {"content": TEXT}},
    {"match": {"userMessage": "cut"}, "response": {"content": TEXT}, "latency": 20, "truncateAfterChunks": 3},
    {"match": {"userMessage": "stall"}, "response": {"content": TEXT}, "latency": STALL * 1000},
]
POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year.\n"
DEADLINE = 8.0
SOON = 10.0
"""Seconds within which it is certain that the model was stopped because nobody waits, and not by the deadline."""


@pytest.fixture(scope="module")
def model() -> Iterator[AimockServer]:
    """Give the emulator."""
    with aimock(FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def served(model: AimockServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give a server that asks the emulator."""
    settings = {
        **SETTINGS,
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "sk-a-key-of-the-tests",
        "ANSWER_DEADLINE_SECONDS": str(DEADLINE),
    }
    with registered_server(tmp_path_factory.mktemp("openai"), settings) as server:
        yield server


@pytest.fixture
def api(served: RunningServer) -> Iterator[Api]:
    """Give a logged-in client."""
    with Api(served.url) as client:
        client.login(ADMIN["email"], ADMIN["password"])
        yield client


@pytest.fixture
def assistant(api: Api) -> dict[str, Any]:
    """Give an assistant with one document and a prompt."""
    made = api.new_assistant(model="gpt-6-luna", temperature=0.2, max_output_tokens=200)
    api.upload(made, "policy.md", POLICY)
    api.upload(made, "prompt.txt", "You are the policy assistant of Acme.", type="prompt")
    return made


def test_the_model_sees_everything_and_its_answer_is_stored(
    api: Api, assistant: dict[str, Any], model: AimockServer, served: RunningServer
) -> None:
    api.say(assistant, "First question on vacation?")
    answer = api.say(assistant, "How many vacation days do I have?")
    assert answer.status_code == 200
    chat = answer.json()
    assert chat["response"] == TEXT.replace("[^1]", "")
    assert (chat["status"], chat["provider"]) == ("answered", "openai_chat")
    assert chat["tokens"]["in"] > 0 and chat["tokens"]["out"] > 0
    (citation,) = chat["citations"]
    assert POLICY[citation["start"] : citation["end"]] == citation["passage"]
    request = model.journal()[-1]["body"]
    assert (request["model"], request["temperature"], request["stream"]) == ("gpt-6-luna", 0.2, True)
    system, *turns = request["messages"]
    assert "You are the policy assistant of Acme." in system["content"]
    assert "25 vacation days" in system["content"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[-1]["content"] == "How many vacation days do I have?"
    assert "sk-a-key-of-the-tests" not in "".join(served.log)


def test_it_streams(api: Api, assistant: dict[str, Any]) -> None:
    _, events = api.say_streamed(assistant, "How many vacation days do I have?")
    assert "".join(data["delta"] for kind, data in events if kind == "message") == TEXT.replace("[^1]", "")
    assert events[-1][0] == "done"


def test_a_429_and_then_success_is_an_answer(api: Api, assistant: dict[str, Any], model: AimockServer) -> None:
    model.fail_next(429)
    assert api.say(assistant, "vacation?").json()["status"] == "answered"


def test_a_500_for_good_is_a_502_and_a_failed_chat_that_a_later_delivery_answers(
    api: Api, assistant: dict[str, Any], model: AimockServer
) -> None:
    for _ in range(3):
        model.fail_next(500)
    failed = api.say(assistant, "vacation?", message_id="later")
    assert failed.status_code == 502
    assert failed.headers["Content-Type"] == "application/problem+json"
    assert failed.json()["code"] == "provider_failed"
    (chat,) = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
    assert (chat["status"], chat["response"], chat["error"]["code"]) == ("failed", None, "provider_failed")
    again = api.say(assistant, "vacation?", message_id="later")
    assert (again.status_code, again.json()["_id"]) == (200, chat["_id"])
    assert again.json()["error"] is None
    assert "Idempotent-Replayed" not in again.headers


def test_a_failed_chat_is_answered_by_a_retry(api: Api, assistant: dict[str, Any], model: AimockServer) -> None:
    for _ in range(3):
        model.fail_next(503)
    assert api.say(assistant, "vacation?").status_code == 502
    (chat,) = api.get(f"/chats/list?assistant_id={assistant['_id']}&status=failed").json()
    retried = api.post(f"/chats/retry/{chat['_id']}")
    assert (retried.status_code, retried.json()["status"]) == (200, "answered")
    assert api.post(f"/chats/retry/{chat['_id']}").status_code == 409


def test_a_stall_past_the_deadline_is_a_504(api: Api, assistant: dict[str, Any]) -> None:
    began = time.monotonic()
    answer = api.say(assistant, "stall")
    assert answer.status_code == 504
    assert answer.json()["code"] == "deadline_exceeded"
    assert time.monotonic() - began < STALL / 2
    (chat,) = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
    assert (chat["status"], chat["error"]["code"]) == ("failed", "deadline_exceeded")


def test_a_cut_in_mid_stream_keeps_what_was_said(api: Api, assistant: dict[str, Any]) -> None:
    response, events = api.say_streamed(assistant, "cut")
    assert response.status_code == 200
    assert [kind for kind, _ in events][-1] == "error"
    problem = events[-1][1]
    assert (problem["status"], problem["code"]) == (502, "stream_cut")
    assert problem["request_id"] == response.headers["X-Request-ID"]
    said = "".join(data["delta"] for kind, data in events if kind == "message")
    (chat,) = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
    assert (chat["status"], chat["response"], chat["error"]["partial"]) == ("failed", None, said)
    assert said
    assert api.say(assistant, "cut").status_code == 502


def test_a_client_that_leaves_stops_the_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    hanging: Reply = [STREAM, piece(event(chunk("Half an answer"))), Action.HANG]
    whole = stream(event(chunk("A whole answer.")), event(chunk(finish="stop")), DONE)
    with wire(hanging, whole) as upstream:
        settings = {**SETTINGS, "OPENAI_BASE_URL": upstream.base_url}
        with running_server(tmp_path_factory.mktemp("gone"), settings) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            assistant = api.new_assistant()
            message = {"id": "x", "message_service": "web", "message": "hello", "message_id": "m", "stream": True}
            headers = {"X-API-Key": assistant["api_key"]}
            with httpx2.stream(
                "POST", f"{server.url}/chats/enviarMensagemLLM", json=message, headers=headers
            ) as answer:
                assert next(answer.iter_lines()) == "event: message"
            assert upstream.gone.wait(SOON)
            chat = _settled(api, assistant)
            assert (chat["status"], chat["error"]["code"], chat["error"]["partial"]) == (
                "failed",
                "caller_gone",
                "Half an answer",
            )
            again = api.say(assistant, "hello", id="x", message_service="web", message_id="m")
            assert again.json()["response"] == "A whole answer."


def _open_stream(
    server: RunningServer, assistant: dict[str, Any]
) -> contextlib.AbstractContextManager[httpx2.Response]:
    message = {"id": "x", "message_service": "web", "message": "hello", "message_id": "m", "stream": True}
    headers = {"X-API-Key": assistant["api_key"]}
    return httpx2.stream("POST", f"{server.url}/chats/enviarMensagemLLM", json=message, headers=headers)


def _settled(api: Api, assistant: dict[str, Any]) -> dict[str, Any]:
    for _ in range(600):
        (chat,) = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
        if chat["status"] != "received":
            break
        time.sleep(0.05)
    return dict(chat)


def test_a_human_who_takes_over_while_the_model_writes_wins(tmp_path_factory: pytest.TempPathFactory) -> None:
    taken_over = threading.Event()
    slow: Reply = [
        STREAM,
        piece(event(chunk("Too late."))),
        taken_over,
        piece(event(chunk(finish="stop")) + DONE),
        b"0\r\n\r\n",
    ]
    with wire(slow) as upstream:
        settings = {**SETTINGS, "OPENAI_BASE_URL": upstream.base_url}
        with running_server(tmp_path_factory.mktemp("human"), settings) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            assistant = api.new_assistant()
            message = {"id": "x", "message_service": "web", "message": "hello", "stream": True}
            headers = {"X-API-Key": assistant["api_key"]}
            with httpx2.stream(
                "POST", f"{server.url}/chats/enviarMensagemLLM", json=message, headers=headers
            ) as answer:
                lines = answer.iter_lines()
                assert next(lines) == "event: message"
                assert api.put("/chats/desativar/x").status_code == 200
                taken_over.set()
                rest = list(lines)
            assert '"status": "suppressed"' in "".join(rest) and '"response": null' in "".join(rest)
            chat = _settled(api, assistant)
            assert (chat["status"], chat["response"], chat["active"]) == ("suppressed", "Too late.", False)
            said = api.get(f"/conversations/messages/{chat['conversation_id']}").json()
            assert [one["role"] for one in said] == ["human"]
