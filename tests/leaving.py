"""A caller who leaves while something is waited for, and how soon that ends."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from models.deadline import Deadline

SOON = 5.0
"""Seconds: long enough on any machine, and far less than what is waited for would take."""

_LOOK_EVERY = 0.01


@contextlib.contextmanager
def leaving(deadline: Deadline, is_time: Callable[[], object]) -> Iterator[None]:
    """Cancel a deadline once it is time, and expect that the block, which waits, ends soon after.

    Args:
        is_time: asked by a thread of its own; it may block.
    """
    left_at, over = list[float](), threading.Event()

    def leave() -> None:
        while not over.is_set():
            if is_time():
                left_at.append(time.monotonic())
                deadline.cancel()
                return
            time.sleep(_LOOK_EVERY)

    caller = threading.Thread(target=leave)
    caller.start()
    try:
        yield
    finally:
        over.set()
        caller.join()
        assert left_at, "it ended before the caller left"
        assert time.monotonic() - left_at[0] < SOON, "it went on without the caller"
