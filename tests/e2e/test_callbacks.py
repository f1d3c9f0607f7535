"""Callbacks end to end: real servers, a real receiver, signatures checked by the reference library."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.running import RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.servers import free_port
from tests.webhook_receiver import Answer, Post, Receiver, running_receiver

_WITHIN = 60.0


@pytest.fixture(scope="module")
def pair(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    """Give two server processes on the same stores that may send callbacks to this machine."""
    folder = tmp_path_factory.mktemp("callbacks")
    settings = {**SETTINGS, **stores, "MONGODB_DATABASE": "e2e_callbacks", "CALLBACK_NETWORKS": "127.0.0.0/8"}
    with running_server(folder, settings) as one, running_server(folder, settings) as two:
        with Api(one.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
        yield [one, two]


@pytest.fixture
def api(pair: list[RunningServer]) -> Iterator[Api]:
    """Give a logged-in client of the first process."""
    with Api(pair[0].url) as client:
        client.login(ADMIN["email"], ADMIN["password"])
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run a receiver."""
    with running_receiver() as running:
        yield running


@pytest.fixture
def assistant(api: Api) -> dict[str, Any]:
    """Give an assistant that may send callbacks to this machine."""
    return api.new_assistant(callback_hosts=["127.0.0.1"])


def until(api: Api, chat_id: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the chat's callback once it is as asked."""
    end = time.monotonic() + _WITHIN
    while True:
        callback: dict[str, Any] = api.get(f"/chats/get/{chat_id}").json()["callback"]
        if fits(callback):
            return callback
        assert time.monotonic() < end, callback
        time.sleep(0.1)


def test_the_answer_comes_by_callback(api: Api, assistant: dict[str, Any], receiver: Receiver) -> None:
    url = f"{receiver.url}/answers?key=1"
    accepted = api.say(assistant, "Olá!", message_id="c1", callback_url=url)
    assert accepted.status_code == 202, accepted.text
    assert "Idempotent-Replayed" not in accepted.headers
    chat = accepted.json()
    assert accepted.headers["Location"] == f"/chats/get/{chat['_id']}"
    assert (chat["status"], chat["response"]) == ("received", None)
    assert chat["callback"] == {"url": url, "status": "waiting", "tries": 0, "next_at": None}
    (post,) = receiver.wait_for(1)
    assert post.path == "/answers?key=1" and post.event_id == f"{chat['_id']}-1"
    event = post.verified(assistant["webhook_secret"])
    assert event["type"] == "chat.answered" and event["data"]["_id"] == chat["_id"]
    callback = until(api, chat["_id"], lambda callback: callback["status"] == "delivered")
    assert (callback["tries"], callback["next_at"]) == (1, None)
    stored = api.get(accepted.headers["Location"]).json()
    del stored["callback"]
    assert event["data"] == stored and stored["response"]
    deliveries = api.get(f"/chats/deliveries/{chat['_id']}")
    assert deliveries.status_code == 200, deliveries.text
    (tried,) = deliveries.json()
    assert (tried["webhook_id"], tried["status_code"], tried["error"]) == (post.event_id, 204, None)
    assert set(tried) == {"webhook_id", "at", "status_code", "error", "duration_ms"}
    again = api.say(assistant, "Olá!", message_id="c1", callback_url=url)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.json()["response"] == stored["response"]
    assert len(receiver.posts) == 1


def test_two_processes_send_each_event_once(
    api: Api, pair: list[RunningServer], assistant: dict[str, Any], receiver: Receiver
) -> None:
    def slowly(post: Post) -> Answer:
        time.sleep(0.05)
        return 200, {}

    receiver.answer = slowly
    with Api(pair[1].url) as other:
        accepted = [
            (api, other)[n % 2].say(assistant, f"Pergunta {n}", id=f"+55{n % 7}", callback_url=receiver.url)
            for n in range(40)
        ]
    ids = [answer.json()["_id"] for answer in accepted]
    receiver.wait_for(40)
    for chat_id in ids:
        until(api, chat_id, lambda callback: callback["status"] == "delivered" and callback["tries"] == 1)
    assert sorted(post.event["data"]["_id"] for post in receiver.posts) == sorted(ids)
    assert all(post.verified(assistant["webhook_secret"])["type"] == "chat.answered" for post in receiver.posts)


def test_a_receiver_that_comes_back_gets_it(api: Api, assistant: dict[str, Any]) -> None:
    port = free_port()
    chat = api.say(assistant, "Olá!", callback_url=f"http://127.0.0.1:{port}/").json()
    until(api, chat["_id"], lambda callback: callback["tries"] == 1)
    with running_receiver(port) as receiver:
        (post,) = receiver.wait_for(1)
        assert post.event_id == f"{chat['_id']}-1"
        until(api, chat["_id"], lambda callback: callback["status"] == "delivered")
    tries = api.get(f"/chats/deliveries/{chat['_id']}").json()
    assert [(one["status_code"], one["error"]) for one in tries] == [(204, None), (None, "callback_unreachable")]
    assert {one["webhook_id"] for one in tries} == {post.event_id}


def test_a_receiver_that_is_gone_is_left_alone(api: Api, assistant: dict[str, Any], receiver: Receiver) -> None:
    receiver.says(410)
    chat = api.say(assistant, "Olá!", callback_url=receiver.url).json()
    callback = until(api, chat["_id"], lambda callback: callback["status"] == "gone")
    assert (callback["tries"], callback["next_at"], len(receiver.posts)) == (1, None, 1)


def test_a_human_gets_the_message_and_the_channel_an_event(
    api: Api, assistant: dict[str, Any], receiver: Receiver
) -> None:
    accepted = api.say(assistant, "Olá!", active=False, callback_url=receiver.url)
    assert (accepted.status_code, accepted.json()["status"]) == (202, "inactive")
    (post,) = receiver.wait_for(1)
    assert post.verified(assistant["webhook_secret"])["type"] == "chat.inactive"


def test_a_burst_is_answered_once(api: Api, receiver: Receiver) -> None:
    assistant = api.new_assistant(callback_hosts=["127.0.0.1"], debounce_seconds=5)
    ids = [api.say(assistant, text, callback_url=receiver.url).json()["_id"] for text in ("Olá!", "Tudo bem?")]
    events = {post.event["data"]["_id"]: post.event for post in receiver.wait_for(2)}
    assert events[ids[0]]["type"] == "chat.merged" and events[ids[0]]["data"]["merged_into"] == ids[1]
    assert events[ids[1]]["type"] == "chat.answered"
    assert api.get(f"/chats/get/{ids[0]}").json()["merged_into"] == ids[1]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://elsewhere.example/", "callback_not_allowed"),
        ("ftp://127.0.0.1/", "callback_not_allowed"),
        ("http://127.0.0.1@elsewhere.example/", "callback_not_allowed"),
        ("no url", "callback_not_allowed"),
        ("", "validation_failed"),
        ("http://127.0.0.1/" + "x" * 2048, "validation_failed"),
    ],
)
def test_a_callback_that_is_not_allowed_is_refused_at_once(
    api: Api, assistant: dict[str, Any], url: str, code: str
) -> None:
    refused = api.say(assistant, "Olá!", callback_url=url)
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert list(refused.json()["errors"]) == ["callback_url"]
    assert api.get(f"/chats/list?assistant_id={assistant['_id']}").json() == []


def test_nobody_waits_and_does_not_wait(api: Api, assistant: dict[str, Any], receiver: Receiver) -> None:
    refused = api.say(assistant, "Olá!", callback_url=receiver.url, stream=True)
    assert (refused.status_code, list(refused.json()["errors"])) == (422, ["callback_url"])


def test_a_message_without_a_callback_has_none(api: Api, assistant: dict[str, Any]) -> None:
    chat = api.say(assistant, "Olá!", callback_url=None).json()
    assert (chat["callback"], chat["status"]) == (None, "answered")
    assert api.get(f"/chats/deliveries/{chat['_id']}").json() == []


def test_this_machine_is_not_contacted_unless_a_setting_opens_it(admin: Api, receiver: Receiver) -> None:
    assistant = admin.new_assistant(callback_hosts=["127.0.0.1", "localhost"])
    for url in (receiver.url, receiver.url.replace("127.0.0.1", "localhost")):
        chat = admin.say(assistant, "Olá!", callback_url=url).json()
        until(admin, chat["_id"], lambda callback: callback["tries"] >= 1)
        tries = admin.get(f"/chats/deliveries/{chat['_id']}").json()
        assert {(one["status_code"], one["error"]) for one in tries} == {(None, "callback_refused")}
    assert receiver.posts == []


def test_a_strangers_deliveries_are_not_there(user: Api, stranger: Api, anonymous: Api) -> None:
    chat = user.say(user.new_assistant(), "Olá!").json()
    path = f"/chats/deliveries/{chat['_id']}"
    assert [one.get(path).status_code for one in (user, stranger, anonymous)] == [200, 404, 401]
    assert user.get("/chats/deliveries/+5511").status_code == 404
