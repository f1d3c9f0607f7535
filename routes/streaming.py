"""Server-sent events: a live stream that shows failures, keeps connections open and notices who left."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, json, request

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, OrquestraError
from routes.room import cut_off

_POLL_SECONDS = 0.25
_PING_SECONDS = 10.0
_END = object()
PING = b": ping\n\n"


def frame(event: str, data: Any) -> bytes:
    """Return one event in the wire format of the HTML standard, section 9.2."""
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def event_stream(chunks: Iterator[bytes]) -> Response:
    """Return a response that sends these bytes as they come."""
    response = Response(chunks, content_type="text/event-stream; charset=utf-8")
    response.headers["Cache-Control"] = "no-cache, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def stream(
    frames: Iterator[bytes],
    deadline: Deadline,
    failed: Callable[[OrquestraError], bytes],
    ended: Callable[[], None] = lambda: None,
) -> Response:
    """Send frames that a thread of their own makes, with a ping whenever they are silent for 10 s.

    The first frame is awaited before the response starts, so that a failure before it is a real HTTP status; a model
    that is silent for longer than a ping's time begins the response, and its later failure is the frame that
    `failed` makes. When the client leaves, the deadline is cancelled, which stops the frames' source.

    Args:
        ended: called once all frames have gone out.

    Raises:
        OrquestraError: the source failed before its first frame.
    """
    pump = _Pump(frames, deadline, request.environ.get("waitress.client_disconnected"))
    first = pump.next()
    if isinstance(first, OrquestraError):
        raise first
    response = event_stream(_relay(pump, first, failed, ended))
    response.call_on_close(deadline.cancel)
    return response


def _relay(
    pump: "_Pump", first: object, failed: Callable[[OrquestraError], bytes], ended: Callable[[], None]
) -> Iterator[bytes]:
    item = first
    while item is not _END:
        if isinstance(item, OrquestraError):
            yield failed(item)
            return
        yield item if isinstance(item, bytes) else PING
        item = pump.next()
    ended()


class _Pump:
    """Run an iterator in a thread and hand its frames over, or None after a silent ping time.

    Frames that have gathered are handed over together: a busy server then writes less often, and no later.
    """

    def __init__(self, frames: Iterator[bytes], deadline: Deadline, client_gone: Callable[[], bool] | None) -> None:
        self._frames = frames
        self._deadline = deadline
        self._client_gone = client_gone
        self._items: queue.Queue[object] = queue.Queue(maxsize=64)
        self._ending: object | None = None
        self._cut = False
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def _run(self) -> None:
        ending: object = OrquestraError("The server failed. The request_id finds the reason in its log.")
        try:
            for item in self._frames:
                self._hand_over(item)
            ending = _END
        except CallCancelled:
            ending = cut_off()
        except OrquestraError as error:
            ending = error
        finally:
            self._hand_over(_unread() if self._cut else ending)

    def _hand_over(self, item: object) -> None:
        """Queue an item; when nobody reads any more, drop it, so that the source runs to its end and settles.

        A client that stays and does not read is cut off at the deadline: others wait for their turn behind it.
        """
        while True:
            try:
                self._items.put(item, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                if not self._deadline.cancelled and self._deadline.remaining() <= 0:
                    self._deadline.cancel()
                if self._deadline.cancelled:
                    self._cut = True
                    return

    def next(self) -> object:
        """Return the next frames, `_END`, an error, or None for a ping."""
        if self._ending is not None:
            return self._ending
        silent_since = time.monotonic()
        while time.monotonic() - silent_since < _PING_SECONDS:
            try:
                item = self._items.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._cut:
                    return _unread()
                if self._client_gone is not None and self._client_gone():
                    self._deadline.cancel()
            else:
                return self._with_what_has_gathered(item)
        return None

    def _with_what_has_gathered(self, item: object) -> object:
        frames = []
        while isinstance(item, bytes):
            frames.append(item)
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                return b"".join(frames)
        if not frames:
            return item
        self._ending = item
        return b"".join(frames)


def _unread() -> DeadlineExceeded:
    """Return what a reader is told that took so long that frames had to be dropped."""
    return DeadlineExceeded("The answer was not read in time. Send the request again.")
