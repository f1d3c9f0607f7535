"""Our own servers in a chaos run: `python main.py` on fixed ports, started again by hand whenever they have ended."""

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.running import RunningServer, running_server

_STARTS = 5
_PAUSE_SECONDS = 1.0
_STOP_SECONDS = 60.0
_REPLACED_SECONDS = 15.0
_LOOK_SECONDS = 0.1


class Slot:
    """A place for a server; each start of it has a label of its own, which the model sees in its address.

    Attributes:
        busy: somebody is ending or starting it.
        logs: what each start has written to its log.
    """

    def __init__(self, name: str, folder: Path, port: int, settings: Mapping[str, str], workers: int = 1) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.busy = False
        self.logs: dict[str, list[str]] = {}
        self.workers = workers
        self._name, self._folder, self._port, self._settings = name, folder, port, settings
        self._starts = 0
        self._stack = contextlib.ExitStack()
        self._server: RunningServer | None = None

    @property
    def label(self) -> str:
        """Return its name and which start of it this is."""
        return f"{self._name}.{self._starts}"

    def start(self) -> None:
        """Start a server, more than once if it ends by itself, as a service manager does.

        Raises:
            RuntimeError: it does not start; the message holds its log.
        """
        for left in reversed(range(_STARTS)):
            try:
                self._start()
            except RuntimeError:
                if left == 0:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return

    def kill(self) -> None:
        """End all its processes as a power cut would."""
        for pid in self.children():
            _kill(pid)
        if self._server is not None:
            self._server.kill()
        self._stack.close()

    def kill_worker(self, number: int) -> None:
        """End one of its processes, and return when it has replaced it by itself, or does not."""
        children = self.children()
        if not children:
            return
        _kill(children[number % len(children)])
        end = time.monotonic() + _REPLACED_SECONDS
        while time.monotonic() < end and not self._is_replaced(children):
            time.sleep(_LOOK_SECONDS)

    def _is_replaced(self, before: Sequence[int]) -> bool:
        now = self.children()
        return len(now) == len(before) and set(now) != set(before)

    def stop(self) -> int:
        """End it as an operator does, and return its exit code."""
        if self._server is None:
            return 0
        code = self._server.stop(_STOP_SECONDS)
        self._stack.close()
        return code

    def children(self) -> Sequence[int]:
        """Return the process ids of its workers; none when it has no supervisor."""
        if self._server is None or self.workers == 1:
            return []
        pid = self._server.process.pid
        with contextlib.suppress(OSError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def _start(self) -> None:
        self._starts += 1
        own = {
            "PORT": str(self._port),
            "WORKERS": str(self.workers),
            "OPENAI_BASE_URL": f"{self._settings['OPENAI_BASE_URL']}/{self.label}/v1",
        }
        self._stack = contextlib.ExitStack()
        self._server = self._stack.enter_context(running_server(self._folder, {**self._settings, **own}))
        self.logs[self.label] = self._server.log


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
