"""Whose client leaves a whole answer, and whose client has left before its turn came."""

import threading
import time
from collections.abc import Callable

import pytest
from flask import Flask, Response
from prometheus_client import CollectorRegistry, Gauge

from models.deadline import Deadline
from models.errors import CallCancelled
from routes import room as room_module
from routes.errors import register_errors
from routes.room import ROOM_KEY, Place, Room, in_room


def make_room() -> Room:
    """Return a room for four threads."""
    return Room(4, Gauge("used", "places", registry=CollectorRegistry()))


def occupy(room: Room, gone: Callable[[], bool] | None) -> Place:
    """Return a place whose answer is being made."""
    place = room.enter(gone)
    place.deadline = Deadline(60)
    return place


def until(true: Callable[[], bool]) -> bool:
    """Wait up to 30 s."""
    end = time.monotonic() + 30
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def watchers() -> int:
    """Return how many threads watch."""
    return sum(thread.name == "watch" for thread in threading.enumerate())


def test_who_leaves_needs_no_answer() -> None:
    room, left = make_room(), threading.Event()
    leaving, staying = occupy(room, left.is_set), occupy(room, lambda: False)
    assert leaving.deadline is not None and staying.deadline is not None
    left.set()
    assert until(lambda: leaving.deadline is not None and leaving.deadline.cancelled)
    assert room_module._LOOK_SECONDS <= 0.5, "whoever waits for this is patient, or a busy machine would fail it"
    assert not staying.deadline.cancelled
    room.leave(leaving)
    room.leave(staying)


def test_nobody_watches_an_empty_room() -> None:
    room = make_room()
    assert until(lambda: watchers() == 0)
    for _ in range(2):
        place = occupy(room, lambda: False)
        assert watchers() == 1
        room.leave(place)
        assert until(lambda: watchers() == 0)


def test_an_answer_that_is_made_all_the_same_is_not_watched() -> None:
    room = make_room()
    assert until(lambda: watchers() == 0)
    place = occupy(room, None)
    assert watchers() == 0
    room.leave(place)


@pytest.mark.parametrize(("watched", "called"), [(True, False), (False, True)])
def test_who_has_left_in_the_queue_is_not_served(watched: bool, called: bool) -> None:
    room, app, served = make_room(), Flask(__name__), threading.Event()
    app.extensions[ROOM_KEY] = room
    app.wsgi_app = room.around(app.wsgi_app)  # type: ignore[assignment, method-assign]
    register_errors(app)

    def view() -> Response:
        served.set()
        return Response("")

    app.add_url_rule("/", "view", in_room(watched=watched)(view))
    app.test_client().get("/", environ_overrides={"waitress.client_disconnected": lambda: True}).close()
    assert served.is_set() is called
    assert room.used == 0


def test_a_cancelled_answer_ends_its_request() -> None:
    room, app, left = make_room(), Flask(__name__), threading.Event()
    app.extensions[ROOM_KEY] = room
    app.wsgi_app = room.around(app.wsgi_app)  # type: ignore[assignment, method-assign]
    register_errors(app)
    ended: list[BaseException] = []

    def view() -> Response:
        (place,) = room._places
        place.deadline = Deadline(60)
        left.set()
        try:
            place.deadline.sleep(60)
        except CallCancelled as error:
            ended.append(error)
            raise
        return Response("")

    app.add_url_rule("/", "view", in_room(watched=True)(view))
    answer = app.test_client().get("/", environ_overrides={"waitress.client_disconnected": left.is_set})
    assert (len(ended), answer.status_code) == (1, 503)
