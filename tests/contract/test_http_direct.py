"""The transport for requests to models against exact bytes; see test_openai_chat_wire. Not an independent witness."""

import contextlib
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from models.deadline import Deadline
from services.providers.http_direct import DIRECT, DirectTransport, direct
from services.providers.http_sockets import Call, make_cuttable
from services.providers.openai_chat import build_client
from tests.emulators.openai_wire import END, STREAM, Action, Reply, WireServer, piece, wire

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_LENGTH = _HEAD + b"Content-Length: 5\r\n\r\n"


@contextlib.contextmanager
def _peer(*replies: Reply, kept: int = 4) -> Iterator[tuple[WireServer, httpx2.Client]]:
    with wire(*replies) as server, direct(make_cuttable(httpx2.Client()), kept) as client:
        yield server, client


def _post(client: httpx2.Client, server: WireServer, seconds: float = 5) -> httpx2.Response:
    """Send a request directly, and read its response."""
    call = Call(Deadline(seconds))
    extensions = {"timeout": call.timeout().as_dict(), DIRECT: True}
    request = httpx2.Request("POST", f"{server.url}/v1?a=b", content=b"hello", extensions=extensions)
    with contextlib.closing(call.run(lambda: client.send(request, stream=True))) as response:
        call.run(response.read)
    return response


@pytest.mark.parametrize(
    "reply",
    [
        [_LENGTH + b"whole"],
        [_LENGTH, 0.05, b"who", 0.05, b"le"],
        [_LENGTH[:30], 0.05, _LENGTH[30:] + b"w", 0.05, b"hole"],
        [STREAM + piece(b"who") + piece(b"le") + END],
        [STREAM, piece(b"who")[:4], 0.05, piece(b"who")[4:] + piece(b"le")[:-1], 0.05, b"\n", END],
        [STREAM, piece(b"whole"), b"0\r\nTrailer: x\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\nX-First: 1\r\n\r\n", 0.05, _LENGTH + b"whole"],
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _LENGTH + b"whole"],
    ],
    ids=["one", "body", "head", "chunks", "cut-chunks", "trailer", "continue", "hints"],
)
def test_a_response_is_read_whatever_it_comes_in_and_its_connection_serves_the_next(reply: Reply) -> None:
    with _peer(reply, reply) as (server, client):
        for _ in range(2):
            response = _post(client, server)
            assert (response.status_code, response.text) == (200, "whole")
            assert "x-first" not in response.headers and "link" not in response.headers
        assert (len(server.requests), server.connections) == (2, 1)
        first = server.requests[0]
        assert (first.method, first.path, first.content) == ("POST", "/v1?a=b", b"hello")
        assert first.headers["content-length"] == "5" and first.headers["host"] == server.url.removeprefix("http://")


@pytest.mark.parametrize(
    "reply",
    [
        [_HEAD + b"\r\n", b"whole", Action.CLOSE],
        [_LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"whole"],
        [b"HTTP/1.0" + _LENGTH[8:] + b"whole", Action.CLOSE],
        [_LENGTH + b"whole", Action.CLOSE],
    ],
    ids=["no-length", "close", "http-1.0", "closed-while-idle"],
)
def test_a_connection_that_ends_with_its_response_is_not_used_again(reply: Reply) -> None:
    with _peer(reply, reply) as (server, client):
        for _ in range(2):
            assert _post(client, server).text == "whole"
            time.sleep(0.05)
        assert (len(server.requests), server.connections) == (2, 2)


def test_what_comes_behind_a_response_is_not_taken_for_the_next() -> None:
    odd = [_LENGTH + b"whole" + _LENGTH + b"other"]
    with _peer(odd, [_LENGTH + b"right"]) as (server, client):
        assert _post(client, server).text == "whole"
        assert _post(client, server).text == "right"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ([Action.CLOSE], httpx2.RemoteProtocolError),
        ([_HEAD, Action.CLOSE], httpx2.RemoteProtocolError),
        ([_LENGTH + b"who", Action.CLOSE], httpx2.RemoteProtocolError),
        ([STREAM + piece(b"who"), Action.CLOSE], httpx2.RemoteProtocolError),
        ([STREAM + b"zz\r\n"], httpx2.RemoteProtocolError),
        ([b"SSH-2.0-OpenSSH\r\n"], httpx2.RemoteProtocolError),
        ([_HEAD, *[b"X-More: %s\r\n" % (b"x" * 60_000)] * 20], httpx2.RemoteProtocolError),
        ([_LENGTH + b"who", Action.RESET], httpx2.ReadError),
        ([Action.HANG], httpx2.ReadTimeout),
        ([_LENGTH + b"who", Action.HANG], httpx2.ReadTimeout),
    ],
    ids=[
        "nothing",
        "head",
        "length",
        "chunks",
        "no-chunk",
        "no-http",
        "endless-head",
        "reset",
        "hangs",
        "hangs-in-body",
    ],
)
def test_what_goes_wrong_is_one_of_httpx2s_errors(reply: Reply, error: type[Exception]) -> None:
    with _peer(reply) as (server, client), pytest.raises(error):
        _post(client, server, seconds=1.5)


def test_a_server_that_is_away_cannot_be_connected_to() -> None:
    with wire() as server:
        pass
    with direct(httpx2.Client(), 1) as client, pytest.raises(httpx2.ConnectError):
        _post(client, server)


def test_a_cancelled_call_sends_nothing() -> None:
    with _peer([_LENGTH + b"whole"]) as (server, client):
        call = Call(Deadline(5))
        call.deadline.cancel()
        request = httpx2.Request("POST", server.url, content=b"x", extensions={DIRECT: True})
        with pytest.raises(httpx2.ReadError):
            call.run(lambda: client.send(request))
        assert not server.requests


def test_so_many_connections_are_kept_and_closing_closes_them() -> None:
    slow: Reply = [0.2, _LENGTH + b"whole"]
    with _peer(*[slow] * 5, kept=1) as (server, client):
        _at_once(client, server, 3)
        assert server.connections == 3
        _at_once(client, server, 2)
        assert server.connections == 4, "one of the three was kept"
        client.close()
        with pytest.raises(RuntimeError):
            _post(client, server)


def _at_once(client: httpx2.Client, server: WireServer, number: int) -> None:
    threads = [threading.Thread(target=_post, args=(client, server)) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.05)


def test_responses_that_were_read_or_given_up_are_no_streams_any_more() -> None:
    half: Reply = [STREAM, piece(b"who"), Action.HANG]
    with _peer([_LENGTH + b"whole"], half) as (server, client):
        transport = client._transport
        assert isinstance(transport, DirectTransport)
        _post(client, server)
        assert transport.streams == 0
        request = httpx2.Request("POST", server.url, content=b"x", extensions={DIRECT: True})
        response = client.send(request, stream=True)
        assert transport.streams == 1
        response.close()
        assert transport.streams == 0 and server.gone.wait(10)


def test_a_redirect_takes_the_body_along() -> None:
    moved = [b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /v2\r\nContent-Length: 0\r\n\r\n"]
    with _peer(moved, [_LENGTH + b"whole"]) as (server, client):
        client.follow_redirects = True
        assert _post(client, server).text == "whole"
        assert [(one.path, one.content) for one in server.requests] == [("/v1?a=b", b"hello"), ("/v2", b"hello")]
        assert server.connections == 1


def test_requests_that_are_not_marked_go_the_usual_way() -> None:
    with _peer([_LENGTH + b"whole"], [_LENGTH + b"whole"]) as (server, client):
        assert client.post(server.url, content=b"x").text == "whole"
        assert server.requests[0].headers["user-agent"].startswith("python-httpx2")
        _post(client, server)
        assert server.connections == 2, "each way keeps connections of its own"


def test_models_are_asked_directly_unless_there_is_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.closing(build_client("", "http://127.0.0.1:1/v1", 4)) as client:
        assert isinstance(client._client._transport, DirectTransport)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:2")
    with contextlib.closing(build_client("", "http://127.0.0.1:1/v1", 4)) as client:
        assert not isinstance(client._client._transport, DirectTransport)
