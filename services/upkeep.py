"""Work that a server does by itself, again and again."""

import logging
import threading
from collections.abc import Callable

from models.errors import OrquestraError

logger = logging.getLogger("orquestra.upkeep")


class Upkeep:
    """Do something now and then every so many seconds, in a thread, until it is closed.

    Args:
        task: may raise our errors: they are logged, and the next turn tries again.
        seconds: between the end of a turn and the next.
    """

    def __init__(self, task: Callable[[], None], seconds: float) -> None:
        self._task = task
        self._seconds = seconds
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let the turn that is going on end, and begin no other."""
        self._closed.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._task()
            except OrquestraError as error:
                logger.warning("upkeep failed and is tried again", extra={"code": error.code})
            except Exception:  # a fault of ours must not end what keeps documents from being stuck
                logger.exception("upkeep failed and is tried again")
            self._closed.wait(self._seconds)
