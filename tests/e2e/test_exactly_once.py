"""One message, one answer: across deliveries, processes and deaths. A test drives the model."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from bench.running import RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.openai_wire import (
    DONE,
    END,
    STREAM,
    Action,
    Reply,
    Step,
    WireServer,
    chunk,
    event,
    piece,
    stream,
    wire,
)

TEXT = "An answer that takes a while to come."


def answer_after(*steps: Step) -> Reply:
    """Return the reply of a model that does something else before it answers."""
    return [STREAM, *steps, piece(event(chunk(TEXT))), piece(event(chunk(finish="stop")) + DONE), END]


@pytest.fixture(scope="module")
def model() -> Iterator[WireServer]:
    """Give a model that answers as a test says."""
    with wire() as running:
        yield running


@pytest.fixture(scope="module")
def pair(
    model: WireServer, stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[RunningServer]]:
    """Give two server processes on the same stores and folders."""
    folder = tmp_path_factory.mktemp("pair")
    settings = {**SETTINGS, **stores, "MONGODB_DATABASE": "e2e_pair", "OPENAI_BASE_URL": model.base_url}
    settings["ANSWER_DEADLINE_SECONDS"] = "60"
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


def test_a_hundred_deliveries_to_two_processes_make_one_call(
    pair: list[RunningServer], api: Api, model: WireServer
) -> None:
    assistant = api.new_assistant()
    model.requests.clear()
    model.replies[:] = [answer_after(0.5)]
    barrier = threading.Barrier(100)

    def deliver(number: int) -> httpx2.Response:
        with Api(pair[number % 2].url) as channel:
            barrier.wait(60)
            return channel.say(assistant, "a question", message_id="storm")

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(deliver, range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers].count(None) == 1
    assert len(model.requests) == 1
    chats = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
    assert [(chat["status"], chat["response"]) for chat in chats] == [("answered", TEXT)]


def test_messages_of_one_conversation_are_answered_in_order(
    pair: list[RunningServer], api: Api, model: WireServer
) -> None:
    assistant, all_are_there = api.new_assistant(), threading.Event()
    model.requests.clear()
    model.replies[:] = [answer_after(all_are_there), *[answer_after()] * 5]
    listed = f"/chats/list?assistant_id={assistant['_id']}"
    threads, began = [], time.monotonic()
    for number in range(6):
        threads.append(threading.Thread(target=_say, args=(pair[number % 2], assistant, f"message {number}")))
        threads[-1].start()
        while len(api.get(listed).json()) == number or not model.requests:  # it has arrived when it is stored
            time.sleep(0.01)
        if number == 0:
            asked_within = (time.monotonic() - began) * 1000
    time.sleep(1.0)
    all_are_there.set()
    for thread in threads:
        thread.join()
    chats = api.get(listed).json()[::-1]
    assert [chat["message"] for chat in chats] == [f"message {number}" for number in range(6)]
    assert {chat["status"] for chat in chats} == {"answered"}
    waits = [chat["timings"]["queued_ms"] for chat in chats]
    assert waits[0] <= asked_within and all(later > 200 for later in waits[1:])


def _say(server: RunningServer, assistant: dict[str, str], message: str) -> None:
    with Api(server.url) as channel:
        assert channel.say(assistant, message).status_code == 200


def test_a_death_in_the_middle_is_taken_over_by_the_next_delivery(stores: dict[str, str], tmp_path: Path) -> None:
    hanging: Reply = [STREAM, piece(event(chunk("Half an answer"))), Action.HANG]
    whole = stream(event(chunk("A whole answer.")), event(chunk(finish="stop")), DONE)
    with wire(hanging, whole) as upstream:
        settings = {**SETTINGS, **stores, "MONGODB_DATABASE": "e2e_death", "OPENAI_BASE_URL": upstream.base_url}
        settings["ANSWER_DEADLINE_SECONDS"] = "60"
        with running_server(tmp_path, settings) as one, running_server(tmp_path, settings) as two, Api(two.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            assistant = api.new_assistant()
            victim = threading.Thread(target=_say_into_the_void, args=(one, assistant))
            victim.start()
            while not upstream.requests:
                time.sleep(0.02)
            one.kill()
            victim.join()
            stored = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
            assert [chat["status"] for chat in stored] == ["received"]
            answer = api.say(assistant, "hello", message_id="m")
            assert (answer.status_code, answer.json()["response"]) == (200, "A whole answer.")
            assert answer.json()["_id"] == stored[0]["_id"]


def _say_into_the_void(server: RunningServer, assistant: dict[str, str]) -> None:
    with Api(server.url) as channel, pytest.raises(httpx2.HTTPError):
        channel.say(assistant, "hello", message_id="m")
