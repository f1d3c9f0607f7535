"""How many requests may keep a thread for long; one more is refused at once, and the others go on being answered."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar, cast
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import current_app, request
from prometheus_client import Gauge

from models.deadline import Deadline
from models.errors import CallCancelled, Unavailable
from routes.access import services

ROOM_KEY = "orquestra-room"
_PLACE = "orquestra.place"
_GONE = "waitress.client_disconnected"
_LOOK_SECONDS = 0.25
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(eq=False)
class Place:
    """What one request holds.

    Attributes:
        deadline: of the answer that it waits for; None when it waits for something else.
        gone: tells whether its client has left, so that nobody needs the answer; None where it is made all the same.
        part: what is for nobody else once the client has left, if that is only a part of the work.
    """

    deadline: Deadline | None = None
    gone: Callable[[], bool] | None = None
    part: Deadline | None = None


class Room:
    """The places for requests that may keep a thread for long: answers, streams, uploads that wait.

    One thread in eight, and two at least, stay free for everything else; a single thread has to do both.

    Args:
        threads: how many requests the process serves at the same time.
        used: shows how many places are taken.
    """

    def __init__(self, threads: int, used: Gauge) -> None:
        self.size = max(1, min(threads * 7 // 8, threads - 2))
        self._shown = used
        self._places: set[Place] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._watching = False

    @property
    def used(self) -> int:
        """Return how many places are taken."""
        return len(self._places)

    def enter(self, gone: Callable[[], bool] | None = None) -> Place:
        """Take a place.

        Args:
            gone: tells whether the client has left; its answer's deadline is then cancelled within half a second.

        Raises:
            Unavailable: code `server_full`, there is none; `server_draining`, the server is about to end.
        """
        with self._lock:
            if self._closed:
                raise cut_off()
            if len(self._places) >= self.size:
                raise Unavailable("The server answers as many as it can. Try again in a moment.", code="server_full")
            place = Place(gone=gone)
            self._places.add(place)
            self._shown.inc()
            self._see_to_watching(gone)
            return place

    def watched_part(self, place: Place | None, gone: Callable[[], bool] | None, deadline: Deadline) -> Deadline:
        """Return a deadline for the first part of an answer's work: this alone is cancelled when the client leaves."""
        part = deadline.child()
        if place is not None:
            with self._lock:
                place.gone, place.part = gone, part
                self._see_to_watching(gone)
        return part

    def _see_to_watching(self, gone: Callable[[], bool] | None) -> None:
        """Have a thread look at clients, if there is one to look at; the lock is held."""
        if gone is not None and not self._watching:
            self._watching = True
            threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def leave(self, place: Place) -> None:
        """Give a place back; a second time does nothing."""
        with self._lock:
            if place in self._places:
                self._places.remove(place)
                self._shown.dec()

    def _watch(self) -> None:
        """Cancel the answers whose clients have left, for as long as somebody is here whose client may leave."""
        while watched := self._watched():
            for place in watched:
                gone, deadline = place.gone, place.part or place.deadline
                if gone is not None and deadline is not None and gone():
                    deadline.cancel()
            time.sleep(_LOOK_SECONDS)

    def _watched(self) -> list[Place]:
        with self._lock:
            watched = [place for place in self._places if place.gone is not None]
            self._watching = bool(watched)
            return watched

    def close(self) -> None:
        """Cut the answers short that are still being waited for: the server ends."""
        with self._lock:
            self._closed = True
            waiting = [place.deadline for place in self._places]
        for deadline in waiting:
            if deadline is not None:
                deadline.cancel()

    def new_deadline(self, place: Place | None) -> Deadline:
        """Return the deadline of an answer that begins now; `close` cancels it."""
        deadline = services().conversations.new_deadline()
        with self._lock:
            closed = self._closed
            if place is not None:
                place.deadline = deadline
        if closed:
            deadline.cancel()
        return deadline

    def around(self, application: WSGIApplication) -> WSGIApplication:
        """Wrap an application so that a place is left when the response is closed, however it came to that.

        A response's own `call_on_close` would not do: it is skipped when the body's `close` fails, and nobody closes a
        response that a later failure replaces.
        """

        def kept(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            try:
                body = application(environ, start_response)
            except BaseException:
                self._leave_of(environ)
                raise
            return _Body(body, lambda: self._leave_of(environ)) if _PLACE in environ else body

        return kept

    def _leave_of(self, environ: WSGIEnvironment) -> None:
        if _PLACE in environ:
            self.leave(environ[_PLACE])


class _Body:
    """A response's body, and what is to be done once it is closed."""

    def __init__(self, body: Iterable[bytes], closed: Callable[[], None]) -> None:
        self._body = body
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            self._closed()


def room() -> Room:
    """Return the room of the running app."""
    return cast(Room, current_app.extensions[ROOM_KEY])


def cut_off() -> Unavailable:
    """Return what a caller is told whose answer the end of the server cut short."""
    return Unavailable("This server is being restarted. Send the request again.", code="server_draining")


def new_deadline() -> Deadline:
    """Return the deadline of this request's answer; the end of the server cancels it."""
    return room().new_deadline(request.environ.get(_PLACE))


def before_it_is_stored(deadline: Deadline) -> Deadline:
    """Return a deadline for what comes before this request's message is stored: it is cancelled if the client leaves.

    Args:
        deadline: of the request's answer, which goes on without the client.
    """
    return room().watched_part(request.environ.get(_PLACE), request.environ.get(_GONE), deadline)


def _always(*_: object, **__: object) -> bool:
    return True


def in_room(
    when: Callable[..., bool] = _always, *, watched: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a request in that may keep its thread for long, if there is room; it stands below all other decorators.

    Args:
        when: tells from the view's arguments whether this request may take long.
        watched: an answer is for this request alone: its deadline is cancelled when the client leaves, and a request
            whose client has left before its turn came is dropped. Its own repetition may have come first.
    """

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def counted(*args: P.args, **kwargs: P.kwargs) -> R:
            gone = request.environ.get(_GONE) if watched else None
            if gone is not None and gone():
                raise cut_off()
            if when(*args, **kwargs):
                request.environ[_PLACE] = room().enter(gone)
            try:
                return view(*args, **kwargs)
            except CallCancelled:  # whoever left does not read it; whoever is still there was cut off by us
                raise cut_off() from None

        return counted

    return decorate
