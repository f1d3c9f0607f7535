"""The channel endpoint and /chats over HTTP, answered by the offline model."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.engine import wait_until
from tests.e2e.api import Api

POLICY = (
    "# Vacation\n\nEvery employee has 25 vacation days a year.\n\n# Travel\n\nHotels cost at most 120 euros a night.\n"
)


@pytest.fixture
def assistant(user: Api) -> dict[str, Any]:
    """Give an assistant that knows the policy."""
    made = user.new_assistant()
    assert user.upload(made, "policy.md", POLICY).status_code == 201
    return made


def test_a_message_gets_one_sourced_recorded_answer(user: Api, assistant: dict[str, Any]) -> None:
    answer = user.say(assistant, "How many vacation days do I have?", message_id="m-1", metadata={"lang": "en"})
    assert answer.status_code == 200
    chat = answer.json()
    assert set(chat) == {
        "_id", "channel", "tokens", "username", "assistant_id", "conversation_id", "active", "message", "response",
        "status", "message_id", "citations", "provider", "model", "timings", "error", "feedback", "answered_by",
        "callback", "merged_into", "metadata", "createdAt", "tools", "asked", "route", "truncated", "heard",
        "audio_url",
    }  # fmt: skip
    assert chat["channel"] == {"id": "+5511988887777", "message_service": "whatsapp"}
    assert (chat["status"], chat["active"], chat["username"]) == ("answered", True, "Bia")
    assert "25 vacation days" in chat["response"]
    assert (chat["provider"], chat["message_id"], chat["metadata"]) == ("offline", "m-1", {"lang": "en"})
    assert chat["tokens"]["in"] > 0 and chat["tokens"]["out"] > 0
    timings = {name for name, ms in chat["timings"].items() if ms is not None}
    assert timings == {"queued_ms", "retrieval_ms", "first_token_ms", "total_ms"}
    citation = chat["citations"][0]
    assert citation["filename"] == "policy.md"
    assert POLICY[citation["start"] : citation["end"]] == citation["passage"]
    assert user.get(f"/chats/get/{chat['_id']}").json() == chat


def test_nothing_that_fits_is_said_plainly(user: Api, assistant: dict[str, Any]) -> None:
    chat = user.say(assistant, "What does a submarine weigh?").json()
    assert chat["status"] == "answered"
    assert chat["citations"] == []
    assert "vacation" not in chat["response"].lower()


def test_the_answer_streams(user: Api, assistant: dict[str, Any]) -> None:
    answer, events = user.say_streamed(assistant, "How many vacation days do I have?")
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache, no-transform"
    assert answer.headers["X-Accel-Buffering"] == "no"
    kinds = [kind for kind, _ in events]
    assert kinds[-1] == "done" and set(kinds[:-1]) == {"message"} and len(kinds) > 2
    chat = events[-1][1]
    assert "".join(data["delta"] for kind, data in events[:-1]) == chat["response"]
    assert user.get(f"/chats/get/{chat['_id']}").json() == chat


def test_an_accept_header_asks_for_a_stream_too(user: Api, assistant: dict[str, Any]) -> None:
    message = {"id": "x", "message_service": "web", "message": "Hotels?"}
    headers = {"X-API-Key": assistant["api_key"], "Accept": "text/event-stream"}
    answer = user.post("/chats/enviarMensagemLLM", json=message, headers=headers)
    assert answer.headers["Content-Type"].startswith("text/event-stream")


def test_the_same_message_again_replays_the_same_answer(user: Api, assistant: dict[str, Any]) -> None:
    first = user.say(assistant, "Hotels?", message_id="again")
    second = user.say(assistant, "Hotels?", message_id="again")
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert first.json() == second.json()
    streamed, events = user.say_streamed(assistant, "Hotels?", message_id="again")
    assert streamed.headers["Idempotent-Replayed"] == "true"
    assert events[-1] == ("done", first.json())
    other = user.say(assistant, "Trains?", message_id="again")
    assert (other.status_code, other.json()["code"]) == (409, "message_id_reused")
    elsewhere = user.say(assistant, "Hotels?", message_id="again", id="another channel")
    assert elsewhere.json()["_id"] != first.json()["_id"]


def test_an_idempotency_key_is_a_message_id(user: Api, assistant: dict[str, Any]) -> None:
    message = {"id": "x", "message_service": "web", "message": "Hotels?"}
    headers = {"Authorization": f"bearer {assistant['api_key']}", "Idempotency-Key": "chave é".encode()}
    answers = [user.post("/chats/enviarMensagemLLM", json=message, headers=headers) for _ in range(2)]  # type: ignore[arg-type]
    assert answers[0].json()["message_id"] == "chave é"
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotent-Replayed"] == "true"


def test_without_a_message_id_every_request_is_a_new_message(user: Api, assistant: dict[str, Any]) -> None:
    assert user.say(assistant, "Hotels?").json()["_id"] != user.say(assistant, "Hotels?").json()["_id"]


def test_wrong_messages_are_refused_and_not_stored(user: Api, assistant: dict[str, Any]) -> None:
    for wrong in (
        {"message": ""},
        {"message": "x" * 32_001},
        {"message": "nul \0"},
        {"message": "half a pair \ud83d"},
        {"id": ""},
        {"message_service": None},
        {"colour": "red"},
        {"metadata": {"a": "\ud83d"}},
        {"metadata": {"a": "x" * 9_000}},
        {"metadata": ["a"]},
    ):
        body: dict[str, Any] = {"message": "hello", **wrong}
        answer = user.say(assistant, **body)
        assert answer.status_code == 422, wrong
        assert {name.split(".")[0] for name in answer.json()["errors"]} == set(wrong)
    broken = user.post("/chats/enviarMensagemLLM", content=b"{", headers={
        "X-API-Key": assistant["api_key"], "Content-Type": "application/json"})  # fmt: skip
    assert broken.status_code == 400
    assert user.get(f"/chats/list?assistant_id={assistant['_id']}").json() == []


def test_only_an_api_key_opens_the_channel_endpoint(user: Api, assistant: dict[str, Any], anonymous: Api) -> None:
    message = {"id": "x", "message_service": "web", "message": "Hotels?"}
    assert anonymous.post("/chats/enviarMensagemLLM", json=message).status_code == 401
    assert user.post("/chats/enviarMensagemLLM", json=message).status_code == 401
    wrong = assistant["api_key"][:-1] + ("a" if assistant["api_key"][-1] != "a" else "b")
    assert anonymous.post("/chats/enviarMensagemLLM", json=message, headers={"X-API-Key": wrong}).status_code == 401
    assert anonymous.get("/chats/list", headers={"X-API-Key": assistant["api_key"]}).status_code == 401


def test_lists_filter_search_and_page(user: Api, assistant: dict[str, Any]) -> None:
    made = [user.say(assistant, f"Hotels {number}?", id=f"c{number % 2}").json() for number in range(5)]
    url = f"/chats/list?assistant_id={assistant['_id']}"
    newest_first = [chat["_id"] for chat in made][::-1]
    answer = user.get(f"{url}&limit=3")
    assert [chat["_id"] for chat in answer.json()] == newest_first[:3]
    assert answer.headers["X-Total-Count"] == "5"
    rest = user.get(answer.headers["Link"].split(">")[0].strip("<"))
    assert [chat["_id"] for chat in rest.json()] == newest_first[3:]
    assert "Link" not in rest.headers
    assert len(user.get(f"{url}&channel_id=c1").json()) == 2
    assert len(user.get(f"{url}&message_service=sms").json()) == 0
    assert len(user.get(f"{url}&status=answered").json()) == 5
    assert [chat["message"] for chat in user.get(f"{url}&q=hOTELS 3").json()] == ["Hotels 3?"]
    assert user.get(f"{url}&status=nonsense").status_code == 422


def test_a_channel_id_gives_its_newest_chat(user: Api, assistant: dict[str, Any]) -> None:
    user.say(assistant, "Hotels?", id="+55 11/22")
    newest = user.say(assistant, "Trains?", id="+55 11/22").json()
    assert user.get(f"/chats/get/{quote('+55 11/22', safe='')}").json() == newest
    assert user.get("/chats/get/nobody").status_code == 404


def test_handoff_stores_messages_and_asks_no_model(user: Api, assistant: dict[str, Any]) -> None:
    chat = user.say(assistant, "Hotels?").json()
    switched = user.put(f"/chats/desativar/{chat['_id']}")
    assert switched.json() == {"conversations": [chat["conversation_id"]], "active": False, "paused_until": None}
    silent = user.say(assistant, "Is anybody there?")
    assert silent.status_code == 200
    assert (silent.json()["response"], silent.json()["active"], silent.json()["status"]) == (None, False, "inactive")
    inactive = user.get(f"/chats/listarInativos?assistant_id={assistant['_id']}").json()
    assert {one["_id"] for one in inactive} == {chat["_id"], silent.json()["_id"]}
    assert user.get(f"/chats/listarAtivos?assistant_id={assistant['_id']}").json() == []
    agent = user.post(f"/chats/responder/{chat['_id']}", json={"message": "I am a human."})
    assert agent.status_code == 201
    assert (agent.json()["answered_by"], agent.json()["message"]) == (user.user["id"], None)
    assert user.put(f"/chats/ativar/{quote('+5511988887777')}").status_code == 200
    assert user.say(assistant, "Hotels?").json()["status"] == "answered"
    assert user.get(f"/chats/listarInativos?assistant_id={assistant['_id']}").json() == []
    retried = user.post(f"/chats/retry/{silent.json()['_id']}")
    assert retried.json()["status"] == "answered"
    assert user.post(f"/chats/retry/{chat['_id']}").status_code == 409


def test_a_pause_ends_by_itself(user: Api, assistant: dict[str, Any]) -> None:
    chat = user.say(assistant, "Hotels?").json()
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    user.put(f"/chats/desativar/{chat['_id']}", json={"until": later})
    assert user.say(assistant, "Hotels?").json()["status"] == "inactive"
    assert user.get(f"/chats/get/{chat['_id']}").json()["active"] is False
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    assert user.put(f"/chats/desativar/{chat['_id']}", json={"until": soon}).is_success
    wait_until(lambda: user.get(f"/chats/get/{chat['_id']}").json()["active"] is True)
    assert datetime.now(UTC).isoformat() >= soon
    assert user.get(f"/chats/listarInativos?assistant_id={assistant['_id']}").json() == []
    assert user.say(assistant, "Hotels?").json()["status"] == "answered"
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    for wrong in ("tomorrow", past, "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", 7):
        assert user.put(f"/chats/desativar/{chat['_id']}", json={"until": wrong}).status_code == 422


def test_white_space_around_a_message_is_part_of_it(user: Api, assistant: dict[str, Any]) -> None:
    chat = user.say(assistant, "\n\n Hotels? ", id=" a").json()
    assert (chat["message"], chat["channel"]["id"], chat["status"]) == ("\n\n Hotels? ", " a", "answered")
    assert user.say(assistant, " \n\t ").status_code == 422


@pytest.mark.parametrize("channel", ["/zz", "/", "a/", "a//b", "line\nbreak", "50%", "a?b#c", "é ü 你好"])
def test_a_channel_id_may_hold_anything(user: Api, assistant: dict[str, Any], channel: str) -> None:
    chat = user.say(assistant, "Hotels?", id=channel).json()
    for path in (f"/chats/get/{quote(channel, safe='')}", f"/chats/get/{chat['_id']}/"):
        answer = user.get(path)
        assert (answer.status_code, answer.json()) == (200, chat)
    switched = user.put(f"/chats/desativar/{quote(channel, safe='')}")
    assert switched.json()["conversations"] == [chat["conversation_id"]]


def test_a_request_may_say_inactive(user: Api, assistant: dict[str, Any]) -> None:
    silent = user.say(assistant, "Hotels?", active=False).json()
    assert (silent["status"], silent["response"]) == ("inactive", None)
    assert user.say(assistant, "Hotels?").json()["status"] == "answered"


def test_feedback_is_kept_with_the_chat(user: Api, assistant: dict[str, Any]) -> None:
    chat = user.say(assistant, "Hotels?").json()
    rated = user.post(f"/chats/feedback/{chat['_id']}", json={"score": -1, "comment": "too short"}).json()
    assert rated["feedback"]["score"] == -1
    assert rated["feedback"]["comment"] == "too short"
    assert user.post(f"/chats/feedback/{chat['_id']}", json={"score": 5}).status_code == 422


def test_a_key_has_a_rate(user: Api, assistant: dict[str, Any]) -> None:
    user.put(f"/assistants/update/{assistant['_id']}", json={"messages_per_minute": 2})
    statuses = [user.say(assistant, "Hotels?").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert int(user.say(assistant, "Hotels?").headers["Retry-After"]) >= 1
