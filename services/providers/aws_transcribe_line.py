"""The WebSocket of a transcription: opened at a presigned address, cut when its deadline is cancelled.

Looking up the name, connecting and the TLS handshake are not cut, only bounded, as those of `http_sockets.py`.
"""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from models.deadline import Deadline
from services.providers.aws_calls import AwsService
from services.providers.aws_event_stream import audio_event
from services.providers.http_sockets import CONNECT_SECONDS

UNREACHABLE, LOST = "unreachable", "lost"

_CLOSE_SECONDS = 0.2
_MOST_BYTES = 1 << 24
"""Longer messages are none of Transcribe's."""

_CHUNK_BYTES = 3_200
"""100 ms of samples; AWS wants 50 to 200 in a frame."""


class Broken(Exception):
    """Tell that a transcription ended early.

    Args:
        code: one of AWS' codes, `UNREACHABLE` or `LOST`.
        status: of the answer to the handshake; 400 for whatever came later.
    """

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class Line:
    """An open connection: samples leave by a thread of its own while messages are read."""

    def __init__(self, connection: ClientConnection, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._sender: threading.Thread | None = None
        self._all_sent = False

    def send(self, samples: bytes) -> None:
        """Begin to send the samples, and their end."""
        self._sender = threading.Thread(target=self._send, args=(samples,), name="transcribe-sender", daemon=True)
        self._sender.start()

    def messages(self) -> Iterator[bytes]:
        """Yield the messages that come until the other side closes.

        Raises:
            Broken: code `LOST`.
            DeadlineExceeded, CallCancelled: as `Deadline.check`.
        """
        while True:
            self._deadline.check()
            try:
                yield self._connection.recv(timeout=self._deadline.remaining(), decode=False)
            except TimeoutError:
                continue
            except ConnectionClosed as closing:
                self._deadline.check()  # else it was cut here
                if isinstance(closing, ConnectionClosedOK) and self._all_sent:
                    return
                raise Broken(LOST) from closing

    def join(self) -> None:
        """Wait for the sending thread; it ends with the connection."""
        if self._sender is not None:
            self._sender.join()

    def _send(self, samples: bytes) -> None:
        try:
            for start in range(0, len(samples), _CHUNK_BYTES):
                self._connection.send(audio_event(samples[start : start + _CHUNK_BYTES]))
            self._all_sent = True
            self._connection.send(audio_event(b""))
        except ConnectionClosed:  # whoever reads learns why
            return


class _Knife:
    """Shuts a connection's socket, from any thread."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._socket: socket.socket | None = None
        deadline.on_cancel(self.cut)

    def make(self, sock: Any, *args: Any, **options: Any) -> ClientConnection:
        """Make the connection over this socket, which waits for the handshake's answer next."""
        self._socket = getattr(sock, "ssl_socket", sock)  # of a proxy's TLS, where there is TLS within it
        if self._deadline.cancelled:
            self.cut()
        return ClientConnection(sock, *args, **options)

    def cut(self) -> None:
        """Wake whoever waits for the socket."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # not SSLSocket's own shutdown: see `Cuttable.cut`
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@contextlib.contextmanager
def opened(url: str, deadline: Deadline, service: AwsService) -> Iterator[Line]:
    """Open a line and end it, with its threads, afterwards.

    Neither the address nor what quotes it is logged or chained: it carries a signature.

    Raises:
        Broken: code `UNREACHABLE`, or the status of the handshake's answer.
        DeadlineExceeded, CallCancelled: as `Deadline.check`.
    """
    knife = _Knife(deadline)
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(_connected(url, deadline, knife))
        except InvalidStatus as error:
            status = error.response.status_code
            service.log(logging.WARNING, "no connection", f"HTTP {status}")
            raise Broken("", status) from None
        except (OSError, WebSocketException) as error:
            deadline.check()
            service.log(logging.WARNING, "no connection", type(error).__name__)
            raise Broken(UNREACHABLE) from None
        line = Line(connection, deadline)
        stack.callback(line.join)
        stack.callback(knife.cut)  # before the sender is waited for: it may wait for a server that takes nothing
        yield line


def _connected(url: str, deadline: Deadline, knife: _Knife) -> ClientConnection:
    deadline.check()
    return connect(
        url,
        create_connection=cast("type[ClientConnection]", knife.make),
        compression=None,
        ping_interval=None,
        max_size=_MOST_BYTES,
        open_timeout=min(CONNECT_SECONDS, deadline.remaining()),
        close_timeout=_CLOSE_SECONDS,
    )
