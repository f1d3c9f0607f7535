"""The room for requests that keep a thread: it is left once, however a request ends."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response
from prometheus_client import CollectorRegistry, Gauge
from werkzeug.test import create_environ

from models.deadline import Deadline
from models.errors import CallCancelled, ProviderFailed, Unavailable
from routes.errors import register_errors
from routes.room import ROOM_KEY, Room, in_room


def make_room(threads: int = 4) -> tuple[Room, Gauge]:
    """Return a room, and what it shows of itself."""
    gauge = Gauge("used", "places", registry=CollectorRegistry())
    return Room(threads, gauge), gauge


def shown(gauge: Gauge) -> float:
    """Return a gauge's value."""
    return float(next(iter(gauge.collect())).samples[0].value)


class Body:
    """A response's body that fails where a test says."""

    def __init__(self, fails_in: str = "") -> None:
        self._fails_in = fails_in

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        if self._fails_in == "iteration":
            raise OSError("the reader is gone")
        yield b"two"

    def close(self) -> None:
        """Close, or fail to."""
        if self._fails_in == "close":
            raise OSError("the bus is gone")


def fail(error: Exception) -> Callable[[], Response]:
    """Return a view that raises."""

    def view() -> Response:
        raise error

    return view


def serving(room: Room, view: Callable[[], Any]) -> Flask:
    """Return an app with that room and a view at /."""
    app = Flask(__name__)
    app.extensions[ROOM_KEY] = room
    app.wsgi_app = room.around(app.wsgi_app)  # type: ignore[assignment, method-assign]
    app.add_url_rule("/", "view", in_room()(view))
    register_errors(app)
    return app


def call(app: Flask) -> tuple[str, Any]:
    """Call an app as a WSGI server does; return the status and the body, not yet read nor closed."""
    statuses: list[str] = []
    body = app.wsgi_app(create_environ("/"), lambda status, headers, exc_info=None: statuses.append(status))  # type: ignore[arg-type]
    return statuses[-1], body


@pytest.mark.parametrize(
    ("threads", "size"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 6), (16, 14), (17, 14), (128, 112), (1000, 875)]
)
def test_one_thread_in_eight_and_two_at_least_stay_free(threads: int, size: int) -> None:
    assert make_room(threads)[0].size == size


def test_a_full_room_refuses_at_once_until_somebody_leaves() -> None:
    room, gauge = make_room(4)
    first, second = room.enter(), room.enter()
    with pytest.raises(Unavailable) as refused:
        room.enter()
    assert (refused.value.code, refused.value.retry_after >= 1) == ("server_full", True)
    assert shown(gauge) == room.used == 2
    room.leave(first)
    room.leave(first)
    assert shown(gauge) == room.used == 1
    room.enter()
    room.leave(second)
    assert shown(gauge) == room.used == 1


@pytest.mark.parametrize("fails_in", ["", "iteration", "close"])
def test_a_stream_keeps_its_place_until_it_is_closed(fails_in: str) -> None:
    room, gauge = make_room()
    status, body = call(serving(room, lambda: Response(Body(fails_in))))
    assert status == "200 OK"
    chunks = iter(body)
    assert next(chunks) == b"one"
    assert shown(gauge) == 1
    if fails_in == "iteration":
        with pytest.raises(OSError):
            next(chunks)
    if fails_in == "close":
        with pytest.raises(OSError):
            body.close()
    else:
        body.close()
    assert shown(gauge) == 0
    if not fails_in:
        body.close()
        assert shown(gauge) == 0


def test_a_response_that_nobody_reads_leaves_when_it_is_closed() -> None:
    room, gauge = make_room()
    _, body = call(serving(room, lambda: Response(Body())))
    body.close()
    assert shown(gauge) == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [(ProviderFailed("The model failed."), "502"), (ValueError("a bug"), "500"), (Unavailable("Down."), "503")],
)
def test_a_failure_leaves_the_room(error: Exception, status: str) -> None:
    room, gauge = make_room()
    found, body = call(serving(room, fail(error)))
    assert found.startswith(status)
    body.close()
    assert shown(gauge) == 0


def test_a_response_that_a_later_failure_replaces_leaves_the_room() -> None:
    room, gauge = make_room()
    app = serving(room, lambda: Response(Body()))

    @app.after_request
    def fail_late(_: Response) -> Response:
        raise ValueError("a bug")

    app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(ValueError):
        call(app)
    assert shown(gauge) == 0


def test_who_is_cut_off_is_told_to_come_back() -> None:
    room, _ = make_room()
    app = serving(room, fail(CallCancelled("The caller went away.")))
    answer = app.test_client().get("/")
    assert (answer.status_code, answer.json and answer.json["code"]) == (503, "server_draining")
    assert int(answer.headers["Retry-After"]) >= 1


def test_nobody_enters_a_closed_room() -> None:
    room, _ = make_room()
    room.close()
    with pytest.raises(Unavailable) as refused:
        room.enter()
    assert refused.value.code == "server_draining"


def test_a_request_that_does_not_wait_needs_no_place() -> None:
    room, gauge = make_room(1)
    room.enter()
    app = serving(room, lambda: Response("unused"))
    app.add_url_rule("/quick", "quick", in_room(when=lambda: False)(lambda: Response("ok")))
    assert app.test_client().get("/quick").status_code == 200
    assert app.test_client().get("/").status_code == 503
    assert shown(gauge) == 1


def test_only_the_first_part_of_the_work_ends_when_its_client_leaves() -> None:
    room, _ = make_room()
    place, answer = room.enter(), Deadline(30)
    place.deadline = answer
    left = threading.Event()
    part = room.watched_part(place, left.is_set, answer)
    assert not part.cancelled
    left.set()
    with pytest.raises(CallCancelled):
        part.sleep(5)
    assert not answer.cancelled, "what is stored is answered"
    room.close()
    assert answer.cancelled
    room.leave(place)


def test_the_end_of_the_server_ends_the_first_part_of_the_work_too() -> None:
    room, _ = make_room()
    place, answer = room.enter(), Deadline(30)
    place.deadline = answer
    part = room.watched_part(place, lambda: False, answer)
    room.close()
    assert part.cancelled
    room.leave(place)
