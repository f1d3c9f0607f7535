"""Parts that are made when they are first used: what hears and speaks takes time and memory that many never need."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Part = TypeVar("Part")


class OnUse(Generic[Part]):
    """Hold a part that is made with the first call; every call returns the same one.

    Args:
        make: returns the part; what it raises the caller gets, and the next call tries again.
    """

    def __init__(self, make: Callable[[], Part]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Part | None = None

    def __call__(self) -> Part:
        """Return the part."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
        return self._made

    def close(self) -> None:
        """Close the part if it was made and can be closed."""
        close = getattr(self._made, "close", None)
        if close is not None:
            close()
