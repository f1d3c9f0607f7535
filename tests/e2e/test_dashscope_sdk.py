"""DashScope's own SDKs, two versions of them, against a served instance whose model is scripted."""

import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.dashscope import Sdk
from tests.e2e.api import Api
from tests.e2e.dashscope_place import Place, call, served
from tests.e2e.hosted import wait_until
from tests.emulators.openai_wire import STREAM, Action, chunk, document, event, piece


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a running server."""
    with served(tmp_path_factory.mktemp("dashscope")) as place:
        yield place


def test_whole_streamed_and_in_increments(place: Place, sdk: Sdk) -> None:
    assistant = place.api.new_assistant()
    for _ in range(4):
        place.will_say("你好，", "世界 ", "😀")
    whole, streamed, increments, merged = sdk.call(
        place.base_url,
        call(assistant, prompt="Hi"),
        call(assistant, prompt="Hi", stream=True),
        call(assistant, prompt="Hi", stream=True, incremental_output=True),
        call(assistant, prompt="Hi", stream=True, incremental_output=False),
    )
    text, usage = "你好，世界 😀", [{"model_id": "wire-1", "input_tokens": 7, "output_tokens": 3}]
    assert whole.texts == [text]
    assert streamed.texts == merged.texts == ["你好，", "你好，世界", text, text], "a space waits for what follows"
    assert increments.texts == ["你好，", "世界", " 😀", ""]
    for answered in (whole, streamed, increments, merged):
        assert [item["finish_reason"] for item in answered.items][-1] == "stop"
        assert {item["finish_reason"] for item in answered.items[:-1]} <= {"null"}
        assert answered.last["models"] == usage
        assert not any(item["models"] for item in answered.items[:-1])
        (session,) = {item["session_id"] for item in answered.items}
        assert re.fullmatch("[0-9a-f]{32}", session)
        assert len({item["request_id"] for item in answered.items} - {""}) == 1
    sessions = {answered.last["session_id"] for answered in (whole, streamed, increments, merged)}
    assert len(sessions) == 4, "whoever names none begins one of their own"


def test_a_big_text_of_chinese_and_emoji(place: Place, sdk: Sdk) -> None:
    assistant = place.api.new_assistant()
    pieces = [f"第{number}句：天地玄黄，宇宙洪荒。👩‍👩‍👧🇨🇳\u2028" for number in range(250)]
    place.will_say(*pieces)
    place.will_say(*pieces)
    streamed, whole = sdk.call(
        place.base_url, call(assistant, prompt="千字文", stream=True), call(assistant, prompt="千字文")
    )
    text = "".join(pieces)
    assert whole.texts == [text] and streamed.texts[-1] == text
    lengths = [len(shown or "") for shown in streamed.texts]
    assert lengths == sorted(lengths) and all(text.startswith(shown or "") for shown in streamed.texts)


def test_a_session_is_remembered_and_belongs_to_its_key(place: Place, sdk: Sdk) -> None:
    assistant, other = place.api.new_assistant(), place.api.new_assistant()
    session = f"session-{sdk.version}"
    place.will_say("To one.")
    place.will_say("To two.")
    first, second = sdk.call(
        place.base_url,
        call(assistant, prompt="one", session_id=session),
        call(assistant, messages=[{"role": "user", "content": "two"}], session_id=session, stream=True),
    )
    assert (first.last["session_id"], second.last["session_id"]) == (session, session)
    assert place.asked() == [("user", "one"), ("assistant", "To one."), ("user", "two")]
    place.will_say("To three.")
    sdk.call(place.base_url, call(other, prompt="three", session_id=session))
    assert place.asked() == [("user", "three")]


def test_what_a_request_without_a_session_tells_is_remembered_under_the_name_it_is_given(
    place: Place, sdk: Sdk
) -> None:
    assistant = place.api.new_assistant()
    told = [
        {"role": "system", "content": "Speak like a pirate."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "To one."},
        {"role": "user", "content": "two"},
    ]
    place.will_say("To two.")
    (first,) = sdk.call(
        place.base_url, call(assistant, messages=told, temperature=0.3, top_p=0.8, seed=7, max_tokens=50)
    )
    sent = place.model.requests[-1].body
    assert "Speak like a pirate." in sent["messages"][0]["content"]
    assert place.asked() == [("user", "one"), ("assistant", "To one."), ("user", "two")]
    assert (sent["temperature"], sent["top_p"], sent["seed"]) == (0.3, 0.8, 7)
    assert 50 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    place.will_say("To three.")
    session = first.last["session_id"]
    sdk.call(
        place.base_url, call(assistant, messages=[*told, {"role": "user", "content": "three"}], session_id=session)
    )
    assert [text for _, text in place.asked()] == ["one", "To one.", "two", "To two.", "three"]
    assert "Speak like a pirate." in place.model.requests[-1].body["messages"][0]["content"]


def test_history_with_a_prompt(place: Place, sdk: Sdk) -> None:
    assistant = place.api.new_assistant()
    place.will_say("To two.")
    sdk.call(place.base_url, call(assistant, prompt="two", history=[{"user": "one", "bot": "To one."}]))
    assert place.asked() == [("user", "one"), ("assistant", "To one."), ("user", "two")]


@pytest.mark.parametrize("streamed", [False, True])
def test_failures_before_the_first_byte(place: Place, sdk: Sdk, streamed: bool) -> None:
    assistant, limited = place.api.new_assistant(), place.api.new_assistant(messages_per_minute=1)
    place.will_say("Yes.")
    place.model.replies.append(document(400, {"error": {"message": "a secret of the provider's"}}))
    answers = sdk.call(
        place.base_url,
        call(limited, prompt="Hi", stream=streamed),
        call(limited, prompt="Hi", stream=streamed),
        {"api_key": "orq_wrong", "app_id": "a", "prompt": "Hi", "stream": streamed},
        call(assistant, prompt="Look", image_list=["http://127.0.0.1/a.png"], stream=streamed),
        call(assistant, messages=[{"role": "user", "content": None}], stream=streamed),
        call(assistant, prompt="Hi", stream=streamed),
    )
    assert answers[0].texts[-1] == "Yes."
    found = [(one.last["status_code"], one.last["code"]) for one in answers[1:]]
    assert found == [
        (429, "Throttling"),
        (401, "InvalidApiKey"),
        (400, "InvalidParameter"),
        (400, "InvalidParameter"),
        (502, "InternalError.Algo"),
    ]
    for one in answers[1:]:
        assert one.last["message"] and one.last["request_id"] and "secret" not in one.last["message"]
    assert "image_list" in answers[3].last["message"]
    assert answers[4].last["message"].startswith("messages is required")


def test_a_failure_in_mid_stream(place: Place, sdk: Sdk) -> None:
    assistant = place.api.new_assistant()
    for _ in range(3):
        place.model.replies.append([STREAM, piece(event(chunk("An "))), piece(event(chunk("ans"))), 0.2, Action.RESET])
    for broken in sdk.call(
        place.base_url,
        call(assistant, prompt="Hi", stream=True),
        call(assistant, prompt="Hi", stream=True, incremental_output=True),
        call(assistant, prompt="Hi", stream=True, incremental_output=False),
    ):
        assert len(broken.texts) == 2 and not broken.raised
        assert (broken.last["status_code"], broken.last["code"]) == (502, "InternalError.Algo")
        assert broken.last["message"] and broken.last["request_id"] == broken.items[0]["request_id"]


@pytest.mark.parametrize("streamed", [False, True])
def test_whoever_leaves_stops_the_model(place: Place, streamed: bool) -> None:
    assistant = place.api.new_assistant()
    place.model.replies.append([STREAM, piece(event(chunk("An answer that "))), Action.HANG])
    place.model.gone.clear()
    body = json.dumps({"input": {"prompt": "Hi"}, "stream": streamed}).encode()
    head = (
        f"POST /api/v1/apps/a/completion HTTP/1.1\r\nHost: x\r\nX-API-Key: {assistant['api_key']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    asked = len(place.model.requests)
    with socket.create_connection((place.api.base_url.host, place.api.base_url.port or 80), timeout=10) as client:
        client.sendall(head.encode() + body)
        if streamed:
            while b"event:result" not in client.recv(65536):
                pass
        wait_until(lambda: len(place.model.requests) > asked)
        time.sleep(0.3)
        assert not place.model.gone.is_set()
    assert place.model.gone.wait(10), "a second, and generously more on a busy machine; the deadline is 20 s away"
    wait_until(lambda: stored(place, assistant)["status"] == "failed")
    assert stored(place, assistant)["error"]["code"] == "caller_gone"


def stored(place: Place, assistant: dict[str, Any]) -> dict[str, Any]:
    """Return the one chat of an assistant."""
    (chat,) = place.api.get("/chats/list", params={"assistant_id": assistant["_id"]}).json()
    return dict(chat)


def test_the_sdk_can_name_a_request_so_that_it_is_answered_once(place: Place, sdk: Sdk) -> None:
    assistant = place.api.new_assistant()
    place.will_say("Yes.")
    named = call(assistant, prompt="Hi", headers={"Idempotency-Key": "k-1"})
    first, second = sdk.call(place.base_url, named, named)
    assert first.texts == second.texts == ["Yes."] and first.last["session_id"] == second.last["session_id"]
    assert stored(place, assistant)["message"] == "Hi"


PATHS = [
    *(f"{prefix}/apps/any/completion" for prefix in ("", "/v1", "/api", "/api/v1")),
    *(f"{prefix}/v1/apps/any/sessions/s1/responses" for prefix in ("", "/api")),
]


@pytest.mark.parametrize("path", PATHS)
def test_every_path_and_every_form_of_the_key(place: Place, path: str) -> None:
    assistant = place.api.new_assistant()
    key = assistant["api_key"]
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    for header in ({"Authorization": f"Bearer {key}"}, {"Authorization": key}, {"X-API-Key": key}):
        place.will_say("Yes.")
        api = Api(str(place.api.base_url))
        with api:
            reply = api.post(path, json=body, headers=header)
        assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/json")
        answer = reply.json()
        assert answer["output"]["text"] == "Yes." and answer["output"]["finish_reason"] == "stop"
        assert answer["session_id"] == answer["output"]["session_id"]
        assert (answer["session_id"] == "s1") is path.endswith("/responses")
        assert answer["request_id"] == reply.headers["X-Request-ID"]
    messages = place.api.get("/conversations/list", params={"limit": 1}).json()
    assert (messages[0]["channel"]["message_service"], messages[0]["assistant_id"]) == ("thread", assistant["_id"])
    assert not [line for line in place.log if "/sessions/s1" in line], "a session's name may be a person's"


@pytest.mark.parametrize("path", PATHS)
def test_every_fault_of_a_request_has_dashscopes_shape(place: Place, path: str) -> None:
    key = {"Authorization": f"Bearer {place.api.new_assistant()['api_key']}"}
    with Api(str(place.api.base_url)) as api:
        replies = [
            (api.post(path, json={}), 401, "InvalidApiKey"),
            (api.post(path, json={}, headers={"Authorization": "Bearer"}), 401, "InvalidApiKey"),
            (api.post(path, json={}, headers=key), 400, "InvalidParameter"),
            (
                api.post(path, content=b"{", headers={**key, "Content-Type": "application/json"}),
                400,
                "InvalidParameter",
            ),
            (api.post(path, data={"prompt": "p"}, headers=key), 400, "InvalidParameter"),
            (api.post(path, json={"input": {"prompt": 1}}, headers=key), 400, "InvalidParameter"),
            (api.post(path, json={"input": {"prompt": "x" * 2**20}}, headers=key), 413, "BadRequest.TooLarge"),
            (api.get(path, headers=key), 405, "MethodNotAllowed"),
            (api.post(f"{path}/more", json={}, headers=key), 404, "NotFound"),
        ]
    for reply, status, code in replies:
        assert (reply.status_code, reply.headers["Content-Type"]) == (status, "application/json"), reply.text
        body = reply.json()
        assert set(body) == {"code", "message", "request_id"} and body["code"] == code
        assert body["message"] and body["request_id"] == reply.headers["X-Request-ID"]
    assert "input.prompt" in replies[5][0].json()["message"]
    assert replies[7][0].headers["Allow"]


ASKING: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "the SDK's header": ({"X-DashScope-SSE": "enable"}, {}),
    "Accept": ({"Accept": "text/event-stream"}, {}),
    "stream": ({}, {"stream": True}),
    "parameters.stream": ({}, {"parameters": {"stream": True}}),
}


@pytest.mark.parametrize("way", ASKING)
def test_a_stream_comes_to_whoever_asks_for_one_byte_by_byte(place: Place, way: str) -> None:
    headers, fields = ASKING[way]
    assistant = place.api.new_assistant()
    place.will_say("你好", "😀")
    reply = place.api.post(
        "/api/v1/apps/any/completion",
        json={"input": {"prompt": "Hi", "session_id": "s 1"}, **fields},
        headers={**headers, "Authorization": f"Bearer {assistant['api_key']}", "X-Request-ID": "r-1"},
    )
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-cache, no-transform"
    assert reply.headers["X-Accel-Buffering"] == "no"
    began = r'data:{"request_id":"r-1","code":200,"message":"OK","output":{"text":"%s","finish_reason":"%s",'
    began += r'"session_id":"s 1","created":0%s},"is_end":%s}'
    usage = '"usage":{"models":[{"model_id":"wire-1","input_tokens":7,"output_tokens":3}]}'
    expected = [
        "id:1", "event:result", ":HTTP_STATUS/200", began % ("你好", "null", "", "false"), "",
        "id:2", "event:result", ":HTTP_STATUS/200", began % ("你好😀", "null", "", "false"), "",
        "id:3", "event:result", ":HTTP_STATUS/200",
        (began % ("你好😀", "stop", ',"model":"wire-1"', "true"))[:-1] + f",{usage}}}", "",
    ]  # fmt: skip
    assert re.sub(r'"created":\d{10}', '"created":0', reply.content.decode()) == "\n".join(expected) + "\n"


@pytest.mark.parametrize(
    "asking", [{}, {"Accept": "application/json"}, {"Accept": "*/*"}, {"X-DashScope-SSE": "disable"}]
)
def test_nobody_else_gets_one(place: Place, asking: dict[str, str]) -> None:
    assistant = place.api.new_assistant()
    place.will_say("Yes.")
    headers = {**asking, "X-API-Key": assistant["api_key"]}
    reply = place.api.post("/apps/a/completion", json={"input": {"prompt": "Hi"}}, headers=headers)
    assert reply.headers["Content-Type"] == "application/json" and reply.json()["output"]["text"] == "Yes."


@pytest.mark.parametrize("session", [None, "s1", "c1_d1"])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_same_request_with_its_key_is_the_same_answer(place: Place, session: str | None, streamed: bool) -> None:
    assistant = place.api.new_assistant()
    place.will_say("Yes.")

    def ask() -> Any:
        headers = {"Authorization": f"Bearer {assistant['api_key']}", "Idempotency-Key": "k-1"}
        body = {"input": {"prompt": "Hi", "session_id": session}, "stream": streamed}
        return place.api.post("/api/v1/apps/a/completion", json=body, headers=headers)

    first, second = ask(), ask()
    assert "Idempotent-Replayed" not in first.headers and second.headers["Idempotent-Replayed"] == "true"
    outputs = [
        json.loads(reply.text.rstrip().rpartition("data:")[2] if streamed else reply.text)["output"]
        for reply in (first, second)
    ]
    assert [(one["text"], one["session_id"]) for one in outputs] == [("Yes.", outputs[0]["session_id"])] * 2
    assert stored(place, assistant)["message"] == "Hi"


def test_nothing_is_said_where_people_have_taken_over(place: Place, sdk: Sdk) -> None:
    assistant = place.api.new_assistant()
    place.will_say("Yes.")
    sdk.call(place.base_url, call(assistant, prompt="Hi", session_id="s1"))
    assert place.api.put(f"/chats/desativar/{stored(place, assistant)['_id']}").is_success
    for silent in sdk.call(
        place.base_url,
        call(assistant, prompt="Hi", session_id="s1"),
        call(assistant, prompt="Hi", session_id="s1", stream=True),
    ):
        assert silent.texts == [""]
        assert (silent.last["finish_reason"], silent.last["models"]) == ("stop", [])


def test_a_session_may_be_a_conversations_id(place: Place, sdk: Sdk) -> None:
    assistant = place.api.new_assistant()
    place.will_say("To one.")
    spoken = place.api.say(assistant, "one").json()
    place.will_say("To two.")
    sdk.call(place.base_url, call(assistant, prompt="two", session_id=spoken["conversation_id"]))
    assert place.asked() == [("user", "one"), ("assistant", "To one."), ("user", "two")]
