"""System 000's clients, sending what they always sent, and a key."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bench.running import running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.e2e.hosted import placed, settings_for
from tests.emulators.openai_wire import (
    DONE,
    END,
    STREAM,
    Action,
    Reply,
    WireServer,
    chunk,
    document,
    event,
    piece,
    stream,
    wire,
)
from tests.emulators.provider import provider

WORDS = stream(event(chunk("An answer.")), event(chunk(finish="stop")), DONE)
ORIGIN = "https://chat.example.com"
REPLY_KEYS = {"content", "run_id", "thread_id", "statusCode"}


@pytest.fixture
def assistant(user: Api) -> dict[str, Any]:
    """Give an assistant with a document, which the offline model quotes."""
    made = user.new_assistant()
    assert user.upload(made, "leave.md", "Employees receive 27 days of paid vacation a year.").status_code == 201
    return made


def ask(api: httpx2.Client, assistant: dict[str, Any], prompt: str, address: str = "ana", **more: Any) -> Any:
    """Ask as the web client does: JSON, without a slash at the end."""
    body = json.dumps({"prompt": prompt, "address": address, **more.pop("fields", {})})
    headers = {"Content-Type": "application/json", "X-API-Key": assistant["api_key"], **more}
    return api.post("/queryAssistant", content=body, headers=headers)


def clear(api: httpx2.Client, assistant: dict[str, Any]) -> httpx2.Response:
    """Clear as the Lambda does after a file was replaced: a POST without a body or a type, and without a slash."""
    return api.post("/clearCache", headers={"X-API-Key": assistant["api_key"]})


def test_the_web_clients_question_is_answered(user: Api, anonymous: Api, assistant: dict[str, Any]) -> None:
    reply = ask(anonymous, assistant, "How many days of vacation?", "192.168.0.7")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
    body = reply.json()
    assert set(body) == REPLY_KEYS and body["statusCode"] == 200
    assert "27 days" in body["content"]
    chat = user.get(f"/chats/get/{body['run_id']}").json()
    assert chat["channel"] == {"id": "192.168.0.7", "message_service": "queryAssistant"}
    assert chat["conversation_id"] == body["thread_id"] and chat["citations"]
    again = ask(anonymous, assistant, "And how many hours?", "192.168.0.7").json()
    assert again["thread_id"] == body["thread_id"] and again["run_id"] != body["run_id"]
    assert ask(anonymous, assistant, "Hello", "192.168.0.8").json()["thread_id"] != body["thread_id"]


def test_marks_of_citations_are_taken_out(user: Api, anonymous: Api) -> None:
    assistant = user.new_assistant()
    text = "Employees receive 27 days【4:0†leave.md】 of vacation a year. Source:【5†source】"
    assert user.upload(assistant, "leave.md", text).status_code == 201
    body = ask(anonymous, assistant, "How many days of vacation do employees receive?").json()
    assert "27 days of vacation" in body["content"]
    assert not any(mark in body["content"] for mark in ("【", "†", "Source:"))
    assert "【4:0†leave.md】" in user.get(f"/chats/get/{body['run_id']}").json()["response"]


def test_both_slash_forms_and_both_forms_of_the_key(anonymous: Api, assistant: dict[str, Any]) -> None:
    bearer = {"Authorization": f"Bearer {assistant['api_key']}"}
    question = {"prompt": "Hello", "address": "a"}
    for path in ("/queryAssistant", "/queryAssistant/"):
        reply = anonymous.post(path, json=question, headers=bearer)
        assert (reply.status_code, set(reply.json())) == (200, REPLY_KEYS)
    for path in ("/clearCache", "/clearCache/"):
        assert anonymous.post(path, headers=bearer).json() == {"statusCode": 200, "status": True}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"files": []}', b"no json", b"[" * 5000])
@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain"])
def test_the_cache_is_cleared_whatever_the_body_is(
    anonymous: Api, assistant: dict[str, Any], body: bytes, content_type: str
) -> None:
    headers = {"X-API-Key": assistant["api_key"]} | ({"Content-Type": content_type} if content_type else {})
    cleared = anonymous.post("/clearCache", content=body, headers=headers)
    assert (cleared.status_code, cleared.json()) == (200, {"statusCode": 200, "status": True})


def test_what_else_old_clients_send_is_ignored(anonymous: Api, assistant: dict[str, Any]) -> None:
    fields = {"stream": True, "active": False, "message_service": "x", "callback_url": "http://x", "user": {"id": 1}}
    reply = ask(anonymous, assistant, "How many days of vacation?", fields=fields)
    assert reply.status_code == 200 and "27 days" in reply.json()["content"]


def test_the_same_delivery_again_is_the_same_answer(anonymous: Api, assistant: dict[str, Any]) -> None:
    first, second = (ask(anonymous, assistant, "Hello", **{"Idempotency-Key": "k-1"}) for _ in range(2))
    assert second.json() == first.json()
    assert "Idempotent-Replayed" not in first.headers and second.headers["Idempotent-Replayed"] == "true"
    other = ask(anonymous, assistant, "Another text", **{"Idempotency-Key": "k-1"})
    assert_problem(other, 409, "message_id_reused")


def assert_problem(reply: httpx2.Response, status: int, code: str) -> None:
    """Check that it is a failure as HTTP knows it, and one that an old client finds."""
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, "application/problem+json")
    problem = reply.json()
    assert (problem["status"], problem["statusCode"], problem["code"]) == (status, status, code)
    assert problem["detail"] and problem["request_id"] == reply.headers["X-Request-ID"]


def test_what_is_wrong_is_an_http_error_with_its_status_in_the_body(user: Api, anonymous: Api) -> None:
    assistant = user.new_assistant(messages_per_minute=3)
    key, good = {"X-API-Key": assistant["api_key"]}, {"prompt": "Hello", "address": "a"}
    for path in ("/queryAssistant", "/clearCache"):
        assert_problem(anonymous.post(path, json=good), 401, "api_key_missing")
        wrong = anonymous.post(path, json=good, headers={"X-API-Key": "orq_wrong"})
        assert_problem(wrong, 401, "api_key_invalid")
        assert wrong.headers["WWW-Authenticate"] == "Bearer"
    missing = anonymous.post("/queryAssistant", json={"prompt": "  "}, headers=key)
    assert_problem(missing, 422, "validation_failed")
    assert set(missing.json()["errors"]) == {"prompt", "address"}
    assert_problem(anonymous.post("/queryAssistant", content=b"{", headers={**key, "Content-Type": "application/json"}),
                   400, "invalid_json")  # fmt: skip
    assert_problem(anonymous.post("/queryAssistant", data=good, headers=key), 415, "json_expected")
    for path in ("/queryAssistant", "/clearCache"):
        refused = anonymous.post(path, json=good, headers=key)
        assert_problem(refused, 429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 0


def test_nothing_is_said_where_people_have_taken_over(user: Api, anonymous: Api, assistant: dict[str, Any]) -> None:
    first = ask(anonymous, assistant, "How many days of vacation?").json()
    assert user.put(f"/chats/desativar/{first['run_id']}").is_success
    silent = ask(anonymous, assistant, "How many days of vacation?")
    body = silent.json()
    assert (silent.status_code, body["content"], body["statusCode"]) == (200, "", 200)
    assert user.get(f"/chats/get/{body['run_id']}").json()["status"] == "inactive"
    assert user.put(f"/chats/ativar/{first['run_id']}").is_success
    assert "27 days" in ask(anonymous, assistant, "How many days of vacation?").json()["content"]


def test_a_burst_is_answered_once(user: Api, anonymous: Api) -> None:
    assistant = user.new_assistant(debounce_seconds=5)
    with ThreadPoolExecutor(2) as pool:
        bodies = [reply.json() for reply in pool.map(lambda text: ask(anonymous, assistant, text), ("one", "two"))]
    assert [body["statusCode"] for body in bodies] == [200, 200]
    assert sorted(bool(body["content"]) for body in bodies) == [False, True]


@contextlib.contextmanager
def served(folder: Path, *replies: Reply, **settings: str) -> Iterator[tuple[WireServer, Api]]:
    """Run a server that asks a scripted provider; give both."""
    with wire(*replies) as model:
        settings = {**SETTINGS, "OPENAI_BASE_URL": model.base_url, "CORS_ORIGINS": ORIGIN, **settings}
        with running_server(folder, settings) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            yield model, api


def wait_for_requests(model: WireServer, count: int) -> None:
    """Wait until the provider has been asked so often."""
    end = time.monotonic() + 30
    while len(model.requests) < count:
        assert time.monotonic() < end, "it was not asked"
        time.sleep(0.02)


def test_an_answer_that_failed_has_status_200_and_says_so_in_its_body(tmp_path: Path) -> None:
    broken: Reply = document(400, {"error": {"message": "a secret of the provider's"}})
    late: Reply = [STREAM, Action.HANG]
    with served(tmp_path, broken, late, WORDS, ANSWER_DEADLINE_SECONDS="6") as (_, api):
        assistant = api.new_assistant()
        for expected in ("provider_failed", "deadline_exceeded"):
            reply = ask(api, assistant, "Hello", Origin=ORIGIN, **{"Idempotency-Key": "k"})
            assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
            body = reply.json()
            assert (set(body), body["statusCode"]) == ({"content", "statusCode"}, 500)
            assert body["content"] and "secret" not in body["content"]
            assert reply.headers["Access-Control-Allow-Origin"] == ORIGIN
            (chat,) = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
            assert (chat["status"], chat["error"]["code"]) == ("failed", expected)
        answered = ask(api, assistant, "Hello", **{"Idempotency-Key": "k"}).json()
        assert (answered["content"], answered["run_id"]) == ("An answer.", chat["_id"])


def test_an_answer_that_a_human_overtook_is_not_given_out(tmp_path: Path) -> None:
    word, rest = (piece(event(chunk(text))) for text in ("An ", "answer."))
    taken_over = threading.Event()
    slow: Reply = [STREAM, word, taken_over, rest, piece(event(chunk(finish="stop")) + DONE), END]
    with served(tmp_path, WORDS, slow) as (model, api):
        assistant = api.new_assistant()
        first = ask(api, assistant, "Hello").json()
        with ThreadPoolExecutor(1) as pool:
            overtaken = pool.submit(ask, api, assistant, "Hello again")
            wait_for_requests(model, 2)
            assert api.put(f"/chats/desativar/{first['run_id']}").is_success
            taken_over.set()
            body = overtaken.result(30).json()
        assert (body["content"], body["statusCode"]) == ("", 200)
        stored = api.get(f"/chats/get/{body['run_id']}").json()
        assert (stored["status"], stored["response"]) == ("suppressed", "An answer.")


def test_a_page_of_another_origin_may_send_the_key(tmp_path: Path) -> None:
    with served(tmp_path) as (_, api):
        wanted = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-api-key",
        }
        allowed = api.request("OPTIONS", "/queryAssistant", headers=wanted)
        assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
        assert "x-api-key" in allowed.headers["Access-Control-Allow-Headers"].lower()
        stranger = api.request("OPTIONS", "/queryAssistant", headers={**wanted, "Origin": "https://other.example.com"})
        assert "Access-Control-Allow-Origin" not in stranger.headers


def test_a_full_server_refuses(tmp_path: Path) -> None:
    refused_one = threading.Event()
    with served(tmp_path, [STREAM, refused_one, Action.CLOSE], THREADS="3") as (model, api):
        assistant = api.new_assistant()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ask, api, assistant, "Hello")
            wait_for_requests(model, 1)
            refused = ask(api, assistant, "Hello", "bia")
            assert_problem(refused, 503, "server_full")
            assert int(refused.headers["Retry-After"]) > 0
            assert clear(api, assistant).json() == {"statusCode": 200, "status": True}, "it takes no place"
            refused_one.set()
            assert first.result(30).json()["statusCode"] == 500


def test_at_the_provider_too_everybody_begins_anew(tmp_path: Path) -> None:
    """The fake's model tells what people have said in its conversation when it is asked to recall."""
    with provider() as openai, placed(openai, settings_for(openai, {}, tmp_path), tmp_path) as place:
        assistant = place.api.new_assistant()
        replies = [ask(place.api, assistant, text).json() for text in ("one", "recall")]
        assert replies[0]["run_id"].startswith("resp_") and "one" in replies[1]["content"]
        before = set(openai.account.conversations)
        assert clear(place.api, assistant).json() == {"statusCode": 200, "status": True}
        replies += [ask(place.api, assistant, text).json() for text in ("recall", "two", "recall")]
        contents = [reply["content"] for reply in replies]
        assert "one" not in contents[2] and "one" not in contents[4] and "two" in contents[4]
        assert {reply["thread_id"] for reply in replies} == {replies[0]["thread_id"]}
        assert set(openai.account.conversations) - before, "the old one is not gone on with"
        messages = place.api.get(f"/conversations/messages/{replies[0]['thread_id']}").json()
        said = [message["content"] for message in messages if message["role"] == "human"]
        assert said == ["one", "recall", "recall", "two", "recall"]


def test_twenty_addresses_at_once_keep_twenty_memories_and_lose_them_together(tmp_path: Path) -> None:
    with served(tmp_path, *[WORDS] * 61) as (model, api):
        assistant = api.new_assistant()

        def talk(number: int, *texts: str) -> list[int]:
            return [ask(api, assistant, f"{number} {text}", f"10.0.0.{number}").json()["statusCode"] for text in texts]

        with ThreadPoolExecutor(20) as pool:
            ends = list(pool.map(lambda number: talk(number, "a", "b"), range(20)))
            api.say(assistant, "elsewhere")
            assert clear(api, assistant).is_success
            ends += list(pool.map(lambda number: talk(number, "c"), range(20)))
        assert {code for end in ends for code in end} == {200}
        told = [[m["content"] for m in one.body["messages"] if m["role"] == "user"] for one in model.requests]
        for number in range(20):
            mine = [f"{number} {text}" for text in "abc"]
            assert [one for one in told if one[-1] in mine] == [mine[:1], mine[:2], mine[2:]]
