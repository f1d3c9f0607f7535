"""/conversations over HTTP."""

import csv
import io
import threading
from typing import Any

import pytest

from bench.running import RunningServer
from tests.contract.engine import wait_until
from tests.e2e.api import Api, events_of


@pytest.fixture
def assistant(user: Api) -> dict[str, Any]:
    """Give an assistant with one document."""
    made = user.new_assistant()
    user.upload(made, "policy.md", "# Travel\n\nHotels cost at most 120 euros a night.\n")
    return made


def test_a_conversation_is_listed_with_its_messages(user: Api, assistant: dict[str, Any]) -> None:
    first = user.say(assistant, "What do hotels cost?", id="a").json()
    user.say(assistant, "Hotels?", id="b")
    user.say(assistant, "And trains?", id="a")
    listed = user.get(f"/conversations/list?assistant_id={assistant['_id']}").json()
    assert [one["channel"]["id"] for one in listed] == ["a", "b"]
    conversation = listed[0]
    assert conversation["_id"] == first["conversation_id"]
    assert (conversation["message_count"], conversation["active"], conversation["username"]) == (4, True, "Bia")
    said = user.get(f"/conversations/messages/{conversation['_id']}").json()
    assert [one["role"] for one in said] == ["human", "ai", "human", "ai"]
    assert said[0]["content"] == "What do hotels cost?"
    assert said[1]["chat_id"] == first["_id"]
    assert said[1]["citations"] == first["citations"]
    assert conversation["last_message"] == said[-1]["content"]


def test_pages_of_conversations_and_messages(user: Api, assistant: dict[str, Any]) -> None:
    for number in range(4):
        user.say(assistant, "Hotels?", id=f"c{number}")
    first = user.get(f"/conversations/list?assistant_id={assistant['_id']}&limit=3")
    rest = user.get(first.headers["Link"].split(">")[0].strip("<"))
    assert [one["channel"]["id"] for one in first.json() + rest.json()] == ["c3", "c2", "c1", "c0"]


def test_an_agents_words_are_part_of_it(user: Api, assistant: dict[str, Any]) -> None:
    chat = user.say(assistant, "Hotels?").json()
    user.post(f"/chats/responder/{chat['_id']}", json={"message": "I am a human."})
    said = user.get(f"/conversations/messages/{chat['conversation_id']}").json()
    assert [one["role"] for one in said] == ["human", "ai", "agent"]
    assert said[-1]["answered_by"] == user.user["id"]


def test_exports(user: Api, assistant: dict[str, Any]) -> None:
    chat = user.say(assistant, "=Hotels?").json()
    url = f"/conversations/export/{chat['conversation_id']}"
    whole = user.get(url)
    assert [one["role"] for one in whole.json()["messages"]] == ["human", "ai"]
    assert whole.headers["Content-Disposition"].startswith("attachment")
    assert "**human**" in user.get(f"{url}?format=md").text
    rows = list(csv.reader(io.StringIO(user.get(f"{url}?format=csv").text)))
    assert rows[0] == ["createdAt", "role", "content", "chat_id", "tool"]
    assert rows[1][2] == "'=Hotels?"
    assert user.get(f"{url}?format=exe").status_code == 422


def test_erasing_leaves_nothing(user: Api, assistant: dict[str, Any]) -> None:
    chat = user.say(assistant, "Hotels?").json()
    assert user.delete(f"/conversations/delete/{chat['conversation_id']}").status_code == 204
    assert user.delete(f"/conversations/delete/{chat['conversation_id']}").status_code == 404
    assert user.get(f"/chats/get/{chat['_id']}").status_code == 404
    assert user.get(f"/conversations/messages/{chat['conversation_id']}").status_code == 404
    assert user.get(f"/chats/list?assistant_id={assistant['_id']}").json() == []


def test_news_reach_their_owner_only(
    user: Api, stranger: Api, assistant: dict[str, Any], server: RunningServer
) -> None:
    heard: list[tuple[str, Any]] = []
    listening, done = threading.Event(), threading.Event()

    def listen() -> None:
        with user.stream("GET", "/conversations/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == ": ping"
            listening.set()
            for event in events_of(lines):
                heard.append(event)
                if event[0] == "conversation_deleted":
                    break
        done.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert listening.wait(30)
    foreign = stranger.new_assistant()
    stranger.say(foreign, "not for the others")
    with Api(server.url) as api:
        api.headers.update(user.headers)
        chat = api.say(assistant, "Hotels?").json()
        wait_until(lambda: len(heard) == 2)  # what is gone when the news are told is not told of
        api.delete(f"/conversations/delete/{chat['conversation_id']}")
    assert done.wait(30)
    thread.join()
    assert [kind for kind, _ in heard] == ["conversation_new", "conversation_updated", "conversation_deleted"]
    assert heard[0][1]["conversation"]["_id"] == chat["conversation_id"]
    assert heard[2][1]["conversation_id"] == chat["conversation_id"]
