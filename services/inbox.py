"""Where the threads that work on one answer leave what they have, for the one that tells it."""

import queue
from typing import Generic, TypeVar

from models.deadline import Deadline

Item = TypeVar("Item")
_WAKE = object()


class Inbox(Generic[Item]):
    """Hand items over from several threads to one, which waits no longer than the deadline allows."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._items: queue.SimpleQueue[Item | object] = queue.SimpleQueue()
        deadline.on_cancel(lambda: self._items.put(_WAKE))

    def put(self, item: Item) -> None:
        """Leave an item. It never blocks."""
        self._items.put(item)

    def next(self) -> Item:
        """Return the oldest item that was not taken yet, once there is one.

        Raises:
            DeadlineExceeded, CallCancelled: as `Deadline.check`.
        """
        while True:
            if self._deadline.cancelled:
                self._deadline.check()
            try:
                item = self._items.get(timeout=self._deadline.remaining())
            except queue.Empty:
                self._deadline.check()
                continue
            if item is not _WAKE:
                return item  # type: ignore[return-value]
