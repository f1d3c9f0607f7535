"""A server that is full says so at once, and goes on with everything that is quick."""

import contextlib
import re
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from bench.running import RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.openai_wire import (
    DONE,
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

TOKEN = {"Authorization": f"Bearer {SETTINGS['METRICS_TOKEN']}"}
WORD = piece(event(chunk("A word. ")))
HANGS: Reply = [STREAM, WORD, Action.HANG]
ANSWERS = stream(event(chunk("An answer.")), event(chunk(finish="stop")), DONE)
SIZE = 6


@contextlib.contextmanager
def room_for_six(folder: Path, *replies: Reply, **settings: str) -> Iterator[tuple[RunningServer, Api, WireServer]]:
    """Run a server of eight threads, six of which may be kept for long; give a client, and the model it asks."""
    with wire(*replies) as model:
        settings = {"ANSWER_DEADLINE_SECONDS": "5", **settings}
        settings = {**SETTINGS, "THREADS": "8", "OPENAI_BASE_URL": model.base_url, **settings}
        with running_server(folder, settings) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            yield server, api, model


def used(api: Api) -> float:
    """Return how many places /metrics shows as taken."""
    return float(re.findall(r"^orquestra_room_used (\S+)$", api.get("/metrics", headers=TOKEN).text, re.MULTILINE)[0])


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen soon."""
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def connect(server: RunningServer) -> socket.socket:
    """Return a connection to the server."""
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def begin(server: RunningServer, assistant: dict[str, Any], conversation: str, **fields: Any) -> socket.socket:
    """Send a message over a connection of its own, and do not read the answer."""
    body = {"id": conversation, "message_service": "test", "message": "hello", **fields}
    headers = {"X-API-Key": assistant["api_key"], "Host": "localhost"}
    request = httpx2.Request("POST", f"{server.url}/chats/enviarMensagemLLM", json=body, headers=headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    connection = connect(server)
    connection.sendall(f"POST /chats/enviarMensagemLLM HTTP/1.1\r\n{head}\r\n".encode() + request.read())
    return connection


def watch(server: RunningServer, api: Api) -> socket.socket:
    """Watch conversations over a connection of its own."""
    connection = connect(server)
    head = f"Host: localhost\r\nAuthorization: {api.headers['Authorization']}\r\n"
    connection.sendall(f"GET /conversations/events HTTP/1.1\r\n{head}\r\n".encode())
    return connection


def test_a_full_server_refuses_at_once_and_answers_what_is_quick(tmp_path: Path) -> None:
    with room_for_six(tmp_path, HANGS, HANGS, *[ANSWERS] * 3, ANSWER_DEADLINE_SECONDS="15") as (server, api, model):
        assistant = api.new_assistant()
        with contextlib.ExitStack() as connections:
            connections.enter_context(begin(server, assistant, "streamed", stream=True))
            connections.enter_context(begin(server, assistant, "whole", message_id="w"))
            wait_until(lambda: len(model.requests) == 2)
            connections.enter_context(begin(server, assistant, "whole", message_id="w"))  # waits for the same answer
            connections.enter_context(begin(server, assistant, "streamed", stream=True))  # waits for its turn
            connections.enter_context(watch(server, api))
            connections.enter_context(watch(server, api))
            wait_until(lambda: used(api) == SIZE)

            assert_full(api.say(assistant, "one more", id="other", message_id="x"))
            assert_full(api.say(assistant, "one more", id="other", stream=True))
            assert_full(api.get("/conversations/events"))
            form = {"assistant_id": assistant["_id"], "type": "rag"}
            file = {"file": ("a.txt", b"A text.")}
            assert_full(api.post("/documents/add?wait=true", data=form, files=file))

            assert api.get("/healthz").status_code == 200
            assert api.get("/readyz").status_code == 200
            assert api.login(ADMIN["email"], ADMIN["password"]).status_code == 200
            listed = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
            assert len(listed) == 3  # nothing of what was refused was stored
            assert api.post("/documents/add", data=form, files=file).status_code == 201
            assert "orquestra_room_size 6.0" in api.get("/metrics", headers=TOKEN).text
        wait_until(lambda: used(api) == 0)
        model.replies[:] = [ANSWERS]
        assert api.say(assistant, "one more", id="other", message_id="x").json()["status"] == "answered"


def assert_full(answer: httpx2.Response) -> None:
    """Check that a server refuses what it has no room for."""
    assert (answer.status_code, answer.json()["code"]) == (503, "server_full")
    assert int(answer.headers["Retry-After"]) >= 1


def test_one_thread_does_everything_in_turn(tmp_path: Path) -> None:
    with room_for_six(tmp_path, ANSWERS, ANSWERS, THREADS="1") as (_, api, _model):
        assistant = api.new_assistant()
        assert api.say(assistant, "hello").json()["status"] == "answered"
        assert api.say_streamed(assistant, "hello")[1][-1][0] == "done"
        assert "orquestra_room_size 1.0" in api.get("/metrics", headers=TOKEN).text
        wait_until(lambda: used(api) == 0)


def test_the_room_is_left_however_a_request_ends(tmp_path: Path) -> None:
    endless: Reply = [STREAM, *[piece(event(chunk("x" * 20_000)))] * 400, Action.HANG]
    fails = document(500, {"error": {"message": "no"}})
    cut: Reply = [STREAM, WORD, Action.CLOSE]
    replies = (HANGS, HANGS, endless, *[fails] * 8)
    with room_for_six(tmp_path, *replies, ANSWER_DEADLINE_SECONDS="60") as (server, api, model):
        assistant = api.new_assistant()
        for leave in (lambda one: one.close(), abort):  # the client goes in the middle of a stream, politely or not
            with begin(server, assistant, f"gone {leave}", stream=True) as connection:
                assert b"A word." in read_until(connection, b"A word.")
                assert used(api) == 1
                leave(connection)
            wait_until(lambda: used(api) == 0)
        with begin(server, assistant, "stalled", stream=True) as connection:  # more than the server keeps for it
            wait_until(lambda: len(model.requests) == 3)
            assert used(api) == 1
            abort(connection)
        wait_until(lambda: used(api) == 0)
        failed = api.say(assistant, "hello", id="fails", stream=True)  # before the first frame
        assert failed.status_code == 502
        wait_until(lambda: used(api) == 0)
        model.replies[:] = [cut] * 8
        assert api.say_streamed(assistant, "hello", id="cut")[1][-1][0] == "error"
        wait_until(lambda: used(api) == 0)
        with watch(server, api) as connection:
            wait_until(lambda: used(api) == 1)
            abort(connection)
        wait_until(lambda: used(api) == 0)


def abort(connection: socket.socket) -> None:
    """Close a connection so that the other side gets a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_until(connection: socket.socket, text: bytes) -> bytes:
    """Read until the text has come."""
    received = b""
    while text not in received and (more := connection.recv(65536)):
        received += more
    return received


def test_idle_connections_take_no_room(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2048:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    with room_for_six(tmp_path) as (server, api, _), contextlib.ExitStack() as connections:
        for _number in range(1200):
            idle = connections.enter_context(connect(server))
            idle.sendall(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b'"orquestra"' in read_until(idle, b"}")
        assert api.get("/healthz").status_code == 200
        assert not [line for line in server.log if "connection limit" in line]


def test_short_requests_wait_for_a_thread(tmp_path: Path) -> None:
    """More requests than threads, none of them long: they wait in a queue, and none is refused."""
    with room_for_six(tmp_path, THREADS="2") as (_, api, _model):
        answers: list[int] = []

        def ask() -> None:
            with Api(str(api.base_url)) as other:
                answers.append(other.get("/readyz").status_code)

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200] * 12
