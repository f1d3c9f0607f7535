"""A server that is told to end finishes what it has begun; a deploy in the middle of load loses and doubles nothing."""

import contextlib
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bench.running import RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.aimock import AimockServer, aimock
from tests.emulators.openai_wire import DONE, END, STREAM, Action, Reply, chunk, event, piece, stream, wire

SLOW = {
    "match": {"userMessage": "slow"},
    "response": {"content": "An answer that takes a while to come, word by word."},
    "latency": 150,
}
QUICK = {"match": {"userMessage": "quick"}, "response": {"content": "It is so."}, "latency": 120}


@pytest.fixture(scope="module")
def model() -> Iterator[AimockServer]:
    """Give an emulator with slow and quick answers."""
    with aimock([SLOW, QUICK]) as running:
        yield running


@contextlib.contextmanager
def serving(folder: Path, base_url: str, **settings: str) -> Iterator[tuple[RunningServer, Api]]:
    """Run a server with a first account; give a client that is logged in."""
    with running_server(folder, {**SETTINGS, "OPENAI_BASE_URL": base_url, **settings}) as server:
        with Api(server.url) as api:
            api.post("/auth/register", json=ADMIN)
            assert api.login(ADMIN["email"], ADMIN["password"]).status_code == 200
            yield server, api


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen soon."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def say(server: RunningServer, assistant: dict[str, Any], message: str, **fields: Any) -> httpx2.Response:
    """Send a message over a connection of its own."""
    with Api(server.url) as channel:
        return channel.say(assistant, message, **fields)


def is_refused(server: RunningServer) -> bool:
    """Tell whether the server takes no new connection."""
    host, port = server.url.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionError:  # a reset: it was in the queue when the socket was closed
        return True
    return False


def test_who_is_connected_hears_that_the_server_ends(tmp_path: Path) -> None:
    told_so = threading.Event()
    late: Reply = [STREAM, told_so, piece(event(chunk("It is so.")) + event(chunk(finish="stop")) + DONE), END]
    with (
        wire(late, late) as model,
        serving(tmp_path, model.base_url) as (server, api),
        ThreadPoolExecutor(2) as pool,
    ):
        assistant = api.new_assistant()
        answers = [pool.submit(say, server, assistant, "a question", id=f"c{number}") for number in range(2)]
        wait_until(lambda: len(model.requests) == 2)
        assert api.get("/readyz").status_code == 200
        server.process.terminate()
        wait_until(lambda: is_refused(server))
        told = api.get("/readyz")
        assert (told.status_code, told.json()["draining"], told.headers["Connection"]) == (503, True, "close")
        told_so.set()
        assert [answer.result().json()["status"] for answer in answers] == ["answered", "answered"]
        assert server.process.wait(40) == 0


def test_a_stop_lets_answers_in_flight_finish(model: AimockServer, stores: dict[str, str], tmp_path: Path) -> None:
    settings = {**stores, "MONGODB_DATABASE": "e2e_stop"}
    with serving(tmp_path, model.base_url, **settings) as (server, api), ThreadPoolExecutor(3) as pool:
        assistant, bursty = api.new_assistant(), api.new_assistant(debounce_seconds=2)
        listed = f"/chats/list?assistant_id={assistant['_id']}"
        before = len(model.journal())
        answers = [pool.submit(say, server, assistant, "a slow question")]
        wait_until(lambda: len(model.journal()) == before + 1)
        answers.append(pool.submit(say, server, assistant, "a slow question that waits for its turn"))
        answers.append(pool.submit(say, server, bursty, "a slow question that waits for others"))
        wait_until(lambda: len(api.get(listed).json()) == 2)
        wait_until(lambda: len(api.get(f"/chats/list?assistant_id={bursty['_id']}").json()) == 1)
        assert server.stop() == 0
        assert [answer.result().json()["status"] for answer in answers] == ["answered"] * 3


def test_viewers_hear_the_end_of_their_stream(model: AimockServer, tmp_path: Path) -> None:
    with serving(tmp_path, model.base_url) as (server, api), api.stream("GET", "/conversations/events") as viewer:
        lines = viewer.iter_lines()
        assert next(lines) == ": ping"
        server.process.terminate()
        assert not [line for line in lines if line.startswith("event")]  # it ends, and not with an error
        assert server.process.wait(40) == 0


def test_a_request_that_has_begun_to_arrive_is_answered(model: AimockServer, tmp_path: Path) -> None:
    with serving(tmp_path, model.base_url) as (server, _api):
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n")
            connection.sendall(b"Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 100")  # it has read what has come so far
            connection.sendall(b"{")
            server.process.terminate()
            time.sleep(2)  # longer than idle connections are kept
            connection.sendall(b"}")
            assert connection.recv(65536).startswith(b"HTTP/1.1 422")
        assert server.process.wait(40) == 0


def test_who_cannot_be_answered_in_time_is_told_so(tmp_path: Path) -> None:
    """What the model has not said within 25 s is not waited for; the next delivery gets it from another process."""
    hangs: Reply = [STREAM, piece(event(chunk("Half an answer"))), Action.HANG]
    whole = stream(event(chunk("All of it.")), event(chunk(finish="stop")), DONE)
    with wire(hangs, hangs) as upstream, ThreadPoolExecutor(3) as pool:
        settings = {"ANSWER_DEADLINE_SECONDS": "100"}
        with serving(tmp_path, upstream.base_url, **settings) as (server, api):
            assistant = api.new_assistant()
            waiting = pool.submit(say, server, assistant, "hello", id="w", message_id="m")
            streamed = pool.submit(stream_to_the_end, server, assistant)
            wait_until(lambda: len(upstream.requests) == 2)
            second = pool.submit(say, server, assistant, "hello again", id="w", message_id="n")
            wait_until(lambda: len(api.get(f"/chats/list?assistant_id={assistant['_id']}").json()) == 3)
            server.process.terminate()
            for cut in (waiting.result(), second.result()):
                assert (cut.status_code, cut.json()["code"]) == (503, "server_draining")
                assert int(cut.headers["Retry-After"]) >= 1
            kind, problem = streamed.result()[-1]
            assert (kind, problem["code"]) == ("error", "server_draining")
            assert server.process.wait(20) == 0
        upstream.replies[:] = [whole, whole]
        with serving(tmp_path, upstream.base_url, **settings) as (server, api):
            for message, message_id in (("hello", "m"), ("hello again", "n")):
                answer = api.say(assistant, message, id="w", message_id=message_id).json()
                assert (answer["status"], answer["response"]) == ("answered", "All of it.")


def stream_to_the_end(server: RunningServer, assistant: dict[str, Any]) -> list[tuple[str, Any]]:
    """Send a message and return the events of its answer."""
    with Api(server.url) as channel:
        return channel.say_streamed(assistant, "hello", id="s")[1]


def test_a_stop_under_load_harms_no_file(model: AimockServer, tmp_path: Path) -> None:
    with serving(tmp_path, model.base_url) as (server, api):
        assistant, before = api.new_assistant(), len(model.journal())

        def keep_asking(_: int) -> None:
            """Use one connection for as long as the server takes requests on it."""
            with Api(server.url) as channel, contextlib.suppress(httpx2.HTTPError):
                while channel.get("/readyz").status_code in {200, 503}:
                    channel.say(assistant, "a slow question", active=False)

        def answer(number: int) -> str:
            with Api(server.url) as channel:
                return str(channel.say(assistant, "a slow question", id=f"c{number}").json()["status"])

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(keep_asking, number) for number in range(4)]
            answers = [pool.submit(answer, number) for number in range(4)]
            wait_until(lambda: len(model.journal()) == before + 4)
            server.process.terminate()
            assert {one.result() for one in answers} == {"answered"}
            for one in asking:
                one.result()
        assert server.process.wait(40) == 0
    assert (tmp_path / "var" / "orquestra.sqlite").read_bytes().startswith(b"SQLite format 3\0")
    assert not [line for line in server.log if "Traceback" in line or "Bad file descriptor" in line]


@dataclass
class Load:
    """Conversations that each send one message after the other, and deliver each until it is answered.

    Attributes:
        urls: the servers' addresses; whoever fails is left for the next one.
        answers: message -> the chat that its sender was given.
        interrupted: messages that had to be delivered again.
        failures: connections that failed, and refusals.
    """

    urls: list[str]
    assistant: dict[str, Any]
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    interrupted: set[str] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def converse(self, conversation: int) -> None:
        """Send messages until it is over, over connections that are kept."""
        with contextlib.ExitStack() as clients:
            channels = {}
            at = 0
            for number in range(10_000):
                if self.over.is_set():
                    return
                message = f"quick question {conversation}-{number}."
                while message not in self.answers:
                    url = self.urls[at % len(self.urls)]
                    if url not in channels:
                        channels[url] = clients.enter_context(Api(url))
                    if not self._deliver(channels[url], conversation, message):
                        at += 1

    def _deliver(self, channel: Api, conversation: int, message: str) -> bool:
        try:
            answer = channel.say(self.assistant, message, id=f"c{conversation}", message_id=message)
            if answer.status_code == 200:
                self.answers[message] = answer.json()
                return True
            self.failures[answer.json()["code"]] += 1
        except httpx2.HTTPError as error:
            self.failures[type(error).__name__] += 1
        self.interrupted.add(message)
        time.sleep(0.05)
        return False


@contextlib.contextmanager
def load(urls: list[str], assistant: dict[str, Any]) -> Iterator[Load]:
    """Have six conversations at the same time; at the end every message that was sent is answered."""
    running = Load(urls, assistant)
    with ThreadPoolExecutor(6) as pool:
        conversations = [pool.submit(running.converse, number) for number in range(6)]
        try:
            yield running
        finally:
            running.over.set()
        for conversation in conversations:
            conversation.result()


def wait_for_more(running: Load, messages: int = 30) -> None:
    """Wait until so many more messages are answered."""
    before = len(running.answers)
    wait_until(lambda: len(running.answers) >= before + messages)


def check(running: Load, api: Api, calls: Counter[str]) -> None:
    """Check that nothing was lost, nothing doubled, and the order kept."""
    listed = api.get(f"/chats/list?assistant_id={running.assistant['_id']}&limit=1000")
    chats = listed.json()[::-1]
    assert len(chats) == int(listed.headers["X-Total-Count"])
    assert Counter(chat["message"] for chat in chats) == Counter(running.answers.keys())
    for chat in chats:
        given = running.answers[chat["message"]]
        assert (chat["status"], chat["_id"], chat["response"]) == ("answered", given["_id"], given["response"])
    for conversation in range(6):
        asked = [chat["message"] for chat in chats if chat["channel"]["id"] == f"c{conversation}"]
        assert asked == [f"quick question {conversation}-{number}." for number in range(len(asked))]
    assert set(calls) == set(running.answers)
    assert {message for message, times in calls.items() if times > 1} <= running.interrupted


def calls_of(model: AimockServer) -> Counter[str]:
    """Return how often the model was asked for each message."""
    return Counter(entry["body"]["messages"][-1]["content"] for entry in model.journal())


def test_a_deploy_under_load_loses_and_doubles_nothing(stores: dict[str, str], tmp_path: Path) -> None:
    settings = {**stores, "MONGODB_DATABASE": "e2e_deploy"}
    with contextlib.ExitStack() as later, aimock([QUICK]) as model:
        old, api = later.enter_context(serving(tmp_path, model.base_url, **settings))
        with load([old.url], api.new_assistant()) as running:
            wait_for_more(running)
            old.process.terminate()
            new, api = later.enter_context(serving(tmp_path, model.base_url, **settings))
            running.urls.append(new.url)
            assert old.process.wait(40) == 0
            wait_for_more(running)
        assert running.failures  # nobody listened for a moment
        check(running, api, calls_of(model))


def test_new_workers_under_load_are_not_noticed(stores: dict[str, str], tmp_path: Path) -> None:
    settings = {**stores, "MONGODB_DATABASE": "e2e_workers", "WORKERS": "2"}
    with aimock([QUICK]) as model, serving(tmp_path, model.base_url, **settings) as (server, api):
        wait_until(lambda: count(server, "a server process serves") == 2)
        with load([server.url], api.new_assistant()) as running:
            wait_for_more(running)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: count(server, "a server process has ended") == 2)
            wait_for_more(running)
        assert count(server, "a server process serves") == 4
        assert (running.failures, running.interrupted) == (Counter(), set())
        check(running, api, calls_of(model))
        assert server.stop() == 0


def count(server: RunningServer, message: str) -> int:
    """Return how often the supervisor has said this."""
    return len([line for line in list(server.log) if f'"{message}"' in line])
