"""waitress, tuned for many slow answers at once, and a clean way out.

Threads are cheap in memory; select() breaks the process beyond 1023 open files, poll() does not; without look-ahead a
client that left goes unnoticed; above 1 MiB unsent, a reader that stalled holds its writer instead of the server's
memory.
"""

import gc
import json
import logging
import os
import resource
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask, WSGITask

from models.errors import OrquestraError
from routes.requests import SANE_REQUEST_ID
from settings import Settings

logger = logging.getLogger("orquestra.serving")

_LINGER_SECONDS = 1.0
"""Idle connections stay open that long: who uses theirs all the time then learns from a header that it will close."""

_CUT_SECONDS = 25.0
_DRAIN_SECONDS = 30.0
_STALLED_SECONDS = 60.0
"""A client that has taken none of the bytes that wait for it for so long is not there any more."""

_BACKLOG = 1024
_OPEN_FILES = 8192
_CONNECTIONS = 4096
"""Idle ones mostly: each costs the loop 1 us a turn, and 3 KB; so many add 5 ms to a request."""

_FILES_OF_A_THREAD = 8
"""Connections to a model, stores and Redis, and what a request writes into."""
_CODES = {413: "too_large", 431: "headers_too_large", 501: "not_implemented"}
_SPARE_BYTES = 4 * 2**20


class ProblemTask(ErrorTask):  # type: ignore[misc]  # waitress has no types
    """Answer a request that never reaches the app in the same shape as every other failure."""

    def execute(self) -> None:
        """Write the problem document, and a log line that its request id finds."""
        error = self.request.error
        given = self.request.headers.get("X_REQUEST_ID", "")
        request_id = given if SANE_REQUEST_ID.match(given) else secrets.token_hex(12)
        body = json.dumps(
            {
                "type": "about:blank",
                "title": error.reason,
                "status": error.code,
                "detail": "The server cannot take this request: its head or its size is not acceptable.",
                "code": _CODES.get(error.code, "bad_request"),
                "request_id": request_id,
            }
        ).encode()
        logger.info("refused", extra={"request_id": request_id, "status": error.code})
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/problem+json"))
        self.response_headers.append(("X-Request-ID", request_id))
        self.content_length = len(body)
        self.set_close_on_finish()
        self.write(body)


class ClosingTask(WSGITask):  # type: ignore[misc]
    """A request whose connection is closed after its answer, once the server is on its way out.

    A response that breaks off is cut, without the chunk that ends it, so that its client does not take it for whole.
    """

    _is_cut = False

    def execute(self) -> None:
        """Send the response; whoever made its body has logged why it broke off."""
        try:
            super().execute()
        except OrquestraError:
            if not self.wrote_header:
                raise
            self._is_cut = self.close_on_finish = True

    def finish(self) -> None:
        """End the response, if it is whole."""
        if not self._is_cut:
            super().finish()

    def build_response_header(self) -> bytes:
        """Tell the client not to send more on this connection."""
        if not self.channel.server.accepting:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class ProblemChannel(HTTPChannel):  # type: ignore[misc]
    """A connection whose low-level errors are problem documents, and that does not wait for ever for its reader.

    waitress looks for idle connections only where no request is being answered, and closes them only once they can be
    written to: a reader that stalled would keep the thread that writes to it.
    """

    error_task_class = ProblemTask
    task_class = ClosingTask
    _waiting_since: float | None = None

    def writable(self) -> bool:
        """Tell the loop, once a second at least, whether there is something to write; close if nobody takes it."""
        if not self.total_outbufs_len:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = time.time()
        elif time.time() - max(self._waiting_since, self.last_activity) > _STALLED_SECONDS:
            self.handle_close()
        return bool(super().writable())


@dataclass(frozen=True)
class Ending:
    """What a server tells the rest of the process while it ends.

    Attributes:
        drain: called at the signal, so that readiness says no.
        cut_short: called when the time is nearly up, so that who still waits gets an answer that says so.
    """

    drain: Callable[[], None]
    cut_short: Callable[[], None]


def listen(settings: Settings) -> socket.socket:
    """Return the socket that clients connect to.

    Raises:
        OSError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)


def url_of(listener: socket.socket) -> str:
    """Return the address of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server:
    """A listening server that finishes its work before it goes.

    Args:
        supervised: somebody else starts and ends this process; repeated signals then mean nothing, because a service
            manager and the supervisor send one each.
    """

    def __init__(self, app: Flask, settings: Settings, listener: socket.socket, *, supervised: bool = False) -> None:
        files = _allow_many_files()
        self._url = url_of(listener)
        self._supervised = supervised
        self._waitress = create_server(
            app,
            sockets=[listener],
            threads=settings.threads,
            connection_limit=_most_connections(files, settings.threads),
            backlog=_BACKLOG,
            asyncore_use_poll=True,
            channel_request_lookahead=1,
            outbuf_high_watermark=2**20,
            max_request_body_size=settings.max_upload_mb * 2**20 + _SPARE_BYTES,
            max_request_header_size=64 * 2**10,
            ident="orquestra",
            clear_untrusted_proxy_headers=settings.proxy_hops == 0,
        )
        self._waitress.channel_class = ProblemChannel
        self._stopping = threading.Event()
        self._finished = threading.Event()

    def run(self, ending: Ending, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is in flight, within 30 s; a second signal ends at once.

        Args:
            ready: called when it serves.
        """

        def stop(_signal: int, _frame: FrameType | None) -> None:
            if self._finished.is_set():
                raise SystemExit(0)
            if not self._stopping.is_set():
                self._stopping.set()
                ending.drain()
                threading.Thread(target=self._finish, args=[ending.cut_short], name="drain", daemon=True).start()
            elif not self._supervised:
                os._exit(1)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        logger.info("serving", extra={"url": self._url})
        gc.collect()
        gc.freeze()  # what is loaded by now stays, and need not be looked through again and again
        ready()
        self._waitress.run()
        logger.info("stopped")

    def _finish(self, cut_short: Callable[[], None]) -> None:
        """Refuse new connections, wait for the requests in flight, then end waitress' loop in the main thread."""
        # Out of the loop's map first: it must not look at a closed socket, whose number the next file may get. Closed
        # and not shut down: other processes may listen on the same socket, and go on with those who wait in its queue.
        self._waitress.accepting = False
        self._waitress.del_channel()
        self._waitress.socket.close()
        began = time.monotonic()
        quiet = 0
        while quiet < 3 and (passed := time.monotonic() - began) < _DRAIN_SECONDS:
            if passed > _CUT_SECONDS:
                cut_short()
            # a thread that has just answered still has to put things away
            quiet = 0 if self._busy(lingering=passed < _LINGER_SECONDS) else quiet + 1
            time.sleep(0.05)
        self._finished.set()
        end_process()

    def _busy(self, lingering: bool) -> bool:
        """Tell whether there is something to wait for; later, connections that only wait for a request are closed."""
        channels: list[Any] = list(self._waitress.active_channels.values())
        if lingering:
            return bool(channels)
        busy = [one for one in channels if one.requests or one.request is not None or one.total_outbufs_len]
        for channel in channels:
            if channel not in busy:
                channel.will_close = True
        return bool(busy)


def end_process() -> None:
    """Send this process SIGTERM, from any thread, in a way that wakes the main thread."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGTERM)


def _allow_many_files() -> int:
    """Raise the soft limit of open files: connections, streams to models and stores each take one; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _OPEN_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _most_connections(files: int, threads: int) -> int:
    """Return how many clients may be connected, nearly all of them idle, before new ones have to wait."""
    return min(_CONNECTIONS, max(files - _FILES_OF_A_THREAD * threads, files // 2))
