"""Readers that stall, against the server's own connections in a loop of their own."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from waitress import wasyncore
from waitress.server import create_server

import serving
from models.errors import ProviderFailed

_MIB = b"x" * 2**20
_STALLED_SECONDS = 1.5


class Endless:
    """An application that answers with as much as its client takes, and tells when that was over."""

    def __init__(self, pieces: int, pause: float = 0.0, piece: bytes = _MIB) -> None:
        self.over = threading.Event()
        self._pieces, self._pause, self._piece = pieces, pause, piece

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        try:
            for _ in range(self._pieces):
                time.sleep(self._pause)
                yield self._piece
        finally:
            self.over.set()


@contextlib.contextmanager
def asked(application: Any) -> Iterator[socket.socket]:
    """Give a connection on which a request was sent to a server of this application."""
    loop: dict[int, Any] = {}
    ends = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = create_server(
            application, map=loop, sockets=[listener], threads=1, asyncore_use_poll=True, outbuf_high_watermark=2**20
        )
        server.channel_class = serving.ProblemChannel

        def serve() -> None:
            while not ends.is_set():
                wasyncore.loop(timeout=0.1, use_poll=True, map=loop, count=1)

        running = threading.Thread(target=serve)
        running.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=20) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                yield connection
        finally:
            server.task_dispatcher.shutdown()
            ends.set()
            running.join()
            wasyncore.close_all(loop)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server lose its patience soon."""
    monkeypatch.setattr(serving, "_STALLED_SECONDS", _STALLED_SECONDS)


def test_a_reader_that_stalls_gives_its_thread_back() -> None:
    endless = Endless(10_000)
    with asked(endless):
        assert endless.over.wait(20)


def test_what_nobody_fetches_of_a_finished_answer_is_dropped() -> None:
    finished = Endless(1, piece=_MIB * 16)
    with asked(finished) as connection:
        assert finished.over.wait(20)
        time.sleep(_STALLED_SECONDS + 1)
        assert received(connection) < 16 * len(_MIB)


def test_a_slow_reader_and_a_slow_writer_are_waited_for() -> None:
    slow = Endless(6, pause=_STALLED_SECONDS / 3)
    with asked(slow) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        assert received(connection, pause=0.02) > 6 * len(_MIB)
    late = Endless(2, pause=_STALLED_SECONDS + 0.5)
    with asked(late) as connection:
        assert received(connection) > 2 * len(_MIB)


class Broken:
    """An application whose answer breaks off with an error, in the middle or at once."""

    def __init__(self, error: Exception, *pieces: bytes) -> None:
        self._error, self._pieces = error, pieces

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        yield from self._pieces
        raise self._error


def everything(connection: socket.socket) -> bytes:
    """Return what comes until the connection ends."""
    return b"".join(iter(lambda: connection.recv(2**18), b""))


def test_an_answer_that_breaks_off_is_cut_without_the_chunk_that_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    with asked(Broken(ProviderFailed("It failed."), b"one", b"two")) as connection:
        assert everything(connection).endswith(b"3\r\none\r\n3\r\ntwo\r\n")
    assert not [record for record in caplog.records if record.exc_info], "whoever made the body has logged it"


def test_an_answer_that_breaks_off_before_it_began_or_by_a_mistake_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with asked(Broken(ProviderFailed("It failed."))) as connection:
        assert everything(connection).startswith(b"HTTP/1.1 500 ")
    with asked(Broken(KeyError("a mistake"), b"one")) as connection:
        assert everything(connection).endswith(b"3\r\none\r\n")
    assert len([record for record in caplog.records if record.exc_info]) == 2


def received(connection: socket.socket, pause: float = 0.0) -> int:
    """Return how many bytes come until the connection ends, however it does."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(2**18):
            count += len(more)
            time.sleep(pause)
    return count
