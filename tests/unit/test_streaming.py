"""A live stream whose reader stalls."""

import threading
from collections.abc import Iterator
from itertools import islice

from flask import Flask

from models.deadline import Deadline
from models.errors import OrquestraError
from routes.streaming import stream


def test_a_stream_that_nobody_reads_ends_its_source_at_the_deadline_and_says_so() -> None:
    deadline, over = Deadline(1.0), threading.Event()

    def endless() -> Iterator[bytes]:
        while not deadline.cancelled:
            yield b"frame\n"
        over.set()

    def failed(error: OrquestraError) -> bytes:
        return error.code.encode()

    with Flask(__name__).test_request_context():
        response = stream(endless(), deadline, failed)
    frames = iter(response.response)
    assert b"frame" in next(frames)
    assert over.wait(10)
    assert list(islice(frames, 100))[-1] == b"deadline_exceeded"
