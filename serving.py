"""waitress, tuned for many slow answers at once, and a clean way out.

Threads are cheap in memory; select() breaks the process beyond 1023 open files, poll() does not; without look-ahead a
client that left goes unnoticed; above 1 MiB unsent, a reader that stalled holds its writer instead of the server's
memory.
"""

import contextlib
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
from types import FrameType
from typing import Any

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask, WSGITask

from routes.requests import SANE_REQUEST_ID
from settings import Settings

logger = logging.getLogger("orquestra.serving")

_DRAIN_SECONDS = 30.0
_BACKLOG = 1024
_OPEN_FILES = 8192
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
    """A request whose connection is closed after its answer, once the server is on its way out."""

    def build_response_header(self) -> bytes:
        """Tell the client not to send more on this connection."""
        if not self.channel.server.accepting:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class ProblemChannel(HTTPChannel):  # type: ignore[misc]
    """A connection whose low-level errors are problem documents."""

    error_task_class = ProblemTask
    task_class = ClosingTask


class Server:
    """A listening server that finishes its work before it goes."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        _allow_many_files()
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
        self._waitress = create_server(
            app,
            sockets=[listener],
            threads=settings.threads,
            connection_limit=1000,
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

    @property
    def url(self) -> str:
        """Return where it listens."""
        host = self._waitress.effective_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._waitress.effective_port}"

    def run(self, drain: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is in flight, within 30 s; a second signal ends at once.

        Args:
            drain: called at the signal, so that readiness says no.
        """

        def stop(_signal: int, _frame: FrameType | None) -> None:
            if self._finished.is_set():
                raise SystemExit(0)
            if self._stopping.is_set():
                os._exit(1)
            self._stopping.set()
            drain()
            threading.Thread(target=self._finish, name="drain", daemon=True).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        logger.info("serving", extra={"url": self.url})
        self._waitress.run()
        logger.info("stopped")

    def _finish(self) -> None:
        """Refuse new connections, wait for the requests in flight, then end waitress' loop in the main thread."""
        # Out of the loop's map first: seeing the socket end, the loop would close the pipe that answers wake it by,
        # and whatever file is opened next would get the pipe's number and its bytes.
        self._waitress.accepting = False
        self._waitress.del_channel()
        with contextlib.suppress(OSError):
            self._waitress.socket.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + _DRAIN_SECONDS
        quiet = 0
        while quiet < 3 and time.monotonic() < until:  # a thread that has just answered still has to put things away
            quiet = 0 if self._busy() else quiet + 1
            time.sleep(0.05)
        self._finished.set()
        signal.raise_signal(signal.SIGTERM)

    def _busy(self) -> bool:
        """Tell whether an answer is in flight; connections that only wait for another request are closed."""
        channels: list[Any] = list(self._waitress.active_channels.values())
        busy = [channel for channel in channels if channel.requests or channel.total_outbufs_len]
        for channel in channels:
            if channel not in busy:
                channel.will_close = True
        return bool(busy)


def _allow_many_files() -> None:
    """Raise the soft limit of open files: connections, streams to models and stores each take one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
