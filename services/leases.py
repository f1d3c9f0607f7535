"""Leases: how the servers know that an attempt at something is still alive."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from models.clock import now
from models.errors import OrquestraError

logger = logging.getLogger("orquestra.leases")

Renewal = Callable[[datetime], object]
"""Prolongs one lease until a point in time."""


class LeaseKeeper:
    """Renew the leases of this process's attempts from one thread, started with the first of them.

    A process that dies stops renewing, so its work can be taken over when the lease ends.

    Args:
        seconds: how long a lease holds without being renewed; it is renewed three times as often.
    """

    def __init__(self, seconds: float = 15.0) -> None:
        self.seconds = seconds
        self._held: dict[object, Renewal] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def end_of_lease(self) -> datetime:
        """Return when a lease taken now ends."""
        return now() + timedelta(seconds=self.seconds)

    @contextmanager
    def keep(self, renewal: Renewal) -> Iterator[None]:
        """Renew a lease while the block runs."""
        key = object()
        with self._lock:
            self._held[key] = renewal
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, name="leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._held[key]

    def close(self) -> None:
        """Stop renewing."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _renew_all(self) -> None:
        while not self._closed.wait(self.seconds / 3):
            with self._lock:
                held = list(self._held.values())
            for renewal in held:
                try:
                    renewal(self.end_of_lease())
                except OrquestraError as error:
                    logger.warning("a lease could not be renewed", extra={"code": error.code})
                except Exception:  # the other leases, and later ones, are renewed all the same
                    logger.exception("a lease could not be renewed")
