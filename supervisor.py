"""Several server processes on one socket: started, watched, replaced and ended together.

The supervisor binds the socket and serves nobody itself. Its workers are new processes of the same command, which
inherit the socket: a fork of a process that has threads would inherit their locks, but not the threads. A pair of
sockets ties each worker to the supervisor: a byte on it says that the worker serves, and its end that the other side
is gone, however it went. SIGTERM and SIGINT end everything, a second one at once; SIGHUP replaces the workers one
after another, each when its successor serves.
"""

import logging
import selectors
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from serving import end_process

logger = logging.getLogger("orquestra.supervisor")

INHERITED = "ORQUESTRA_INHERITED"
"""The variable by which a worker knows its two sockets."""

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_END_SECONDS = 60.0
_LAST_SECONDS = 5.0
_YOUNG_SECONDS = 10.0
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
_MOST_FAILURES = 5


class Tie:
    """A worker's side: the socket it serves on, and the line to its supervisor.

    Args:
        inherited: what the supervisor wrote into the variable `INHERITED`.
    """

    def __init__(self, inherited: str) -> None:
        listener, line = (int(number) for number in inherited.split(","))
        self.listener = socket.socket(fileno=listener)
        self._line = socket.socket(fileno=line)
        for one in (self.listener, self._line):
            one.set_inheritable(False)
        threading.Thread(target=self._end_with_supervisor, name="supervisor", daemon=True).start()

    def ready(self) -> None:
        """Tell the supervisor that this worker serves."""
        try:
            self._line.send(b"+")
        except OSError:
            logger.warning("there is no supervisor to tell that this process serves")

    def _end_with_supervisor(self) -> None:
        try:
            while self._line.recv(1):
                pass
        except ConnectionError:
            pass
        logger.warning("the supervisor is gone, this process ends")
        end_process()


@dataclass(eq=False)
class _Worker:
    """A worker as its supervisor sees it.

    Attributes:
        replaces: the worker that is told to end when this one serves.
        serves_by: when it is killed, if it does not serve by then.
        killed_at: when it is killed, if it has not ended by then; None unless it was told to end.
    """

    number: int
    process: subprocess.Popen[bytes]
    line: socket.socket
    serves_by: float
    replaces: "_Worker | None" = None
    serving: bool = False
    killed_at: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def overdue_at(self) -> float | None:
        """Return when it is killed: it does not end, or does not serve, in time."""
        return self.killed_at if self.killed_at is not None or self.serving else self.serves_by


class Supervisor:
    """Keep so many workers running.

    Args:
        command: starts a worker, which finds its side of the tie in the variable `INHERITED`.
        env: the environment of the workers; the supervisor adds its own variables.
        folder: where they put their metrics together; whatever is in it is deleted.
        start_seconds: how long a worker may take until it serves.
    """

    def __init__(
        self,
        listener: socket.socket,
        workers: int,
        command: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        start_seconds: float = 120.0,
    ) -> None:
        self._listener = listener
        self._start_seconds = start_seconds
        self._wanted = workers
        self._command = list(command)
        self._env = {**env, METRICS_FOLDER: str(folder)}
        self._folder = folder
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._due: dict[int, float] = {}
        self._to_replace: deque[_Worker] = deque()
        self._served = False
        self._failures = 0
        self._code = 0
        self._ending = False

    def run(self, serving: Callable[[], None]) -> int:
        """Supervise until a signal; return the exit code, which is not 0 when the workers could not serve.

        Args:
            serving: called when the first worker serves; the others start after it.
        """
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        with _signals() as wakeups:
            self._selector.register(wakeups, selectors.EVENT_READ)
            self._start(1)
            self._turn_until(wakeups, lambda: self._served)
            if not self._ending:
                serving()
                self._due = dict.fromkeys(range(2, self._wanted + 1), time.monotonic())
            self._turn_until(wakeups, lambda: False)
        shutil.rmtree(self._folder, ignore_errors=True)
        return self._code

    def _turn_until(self, wakeups: socket.socket, done: Callable[[], bool]) -> None:
        """Do what is to be done, until that is so or there is nothing left to supervise."""
        while (self._workers or self._due) and not done():
            times = [*self._due.values(), *(one.overdue_at for one in self._workers if one.overdue_at is not None)]
            pause = max(0.0, min(times) - time.monotonic()) if times else None
            for key, _ in self._selector.select(pause):
                if key.fileobj is wakeups:
                    for number in wakeups.recv(64):
                        self._heed(signal.Signals(number))
                else:
                    self._hear(key.data)
            self._start_due()
            self._replace_next()
            self._kill_overdue()

    def _heed(self, number: signal.Signals) -> None:
        if number not in _SIGNALS:
            return
        if number is signal.SIGHUP:
            if self._served and not self._ending:
                self._to_replace = deque(worker for worker in self._workers if worker.killed_at is None)
        elif not self._ending:
            self._end()
        else:
            for worker in self._workers:
                worker.process.kill()

    def _end(self) -> None:
        """Tell all workers to end. Nobody listens any more as soon as the last of them has closed its socket, too."""
        self._ending = True
        self._listener.close()
        self._due.clear()
        self._to_replace.clear()
        for worker in self._workers:
            if worker.killed_at is None:  # a second signal would end it at once, whatever it is still answering
                _tell_to_end(worker)

    def _kill_overdue(self) -> None:
        for worker in self._workers:
            if worker.overdue_at is not None and worker.overdue_at < time.monotonic():
                logger.error("a server process does not end, or does not serve, and is killed", extra=_named(worker))
                worker.process.kill()
                worker.serves_by += _END_SECONDS
                if worker.killed_at is not None:
                    worker.killed_at += _END_SECONDS

    def _start(self, number: int, replaces: _Worker | None = None) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = [self._listener.fileno(), theirs.fileno()]
            process = subprocess.Popen(
                self._command,
                env={**self._env, INHERITED: ",".join(map(str, descriptors))},
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the supervisor
            )
        worker = _Worker(number, process, ours, time.monotonic() + self._start_seconds, replaces)
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        logger.info("a server process was started", extra=_named(worker))

    def _start_due(self) -> None:
        for number in [number for number, at in self._due.items() if at <= time.monotonic()]:
            del self._due[number]
            self._start(number)

    def _replace_next(self) -> None:
        """Start the next successor, unless one is on its way or its predecessor is still leaving."""
        if self._to_replace and all(one.replaces is None and one.killed_at is None for one in self._workers):
            worker = self._to_replace.popleft()
            if worker in self._workers:
                self._start(worker.number, replaces=worker)

    def _hear(self, worker: _Worker) -> None:
        """Take in what a worker's line says: it serves, or it is gone."""
        try:
            said = worker.line.recv(16)
        except ConnectionError:
            said = b""
        if not said:
            self._selector.unregister(worker.line)
            self._workers.remove(worker)
            self._bury(worker)
            return
        worker.serving = self._served = True
        logger.info("a server process serves", extra=_named(worker))
        if worker.replaces is not None:
            _tell_to_end(worker.replaces)
            worker.replaces = None

    def _bury(self, worker: _Worker) -> None:
        """Clean up after a worker that is gone, and decide what comes after it."""
        worker.line.close()
        code = _exit_code(worker.process)
        mark_process_dead(worker.process.pid, str(self._folder))  # type: ignore[no-untyped-call]
        logger.info("a server process has ended", extra={**_named(worker), "exit_code": code})
        successor = next((other for other in self._workers if other.replaces is worker), None)
        if self._ending:
            self._code = self._code or int(worker.serving and code != 0)
        elif successor is not None:
            successor.replaces = None
        elif worker.replaces is not None:
            self._to_replace.clear()
            logger.error("the new server process could not start; the old ones go on", extra=_named(worker))
        elif worker.killed_at is None:
            self._start_again(worker, code)

    def _start_again(self, worker: _Worker, code: int) -> None:
        """Put another in its place: at once, or after a pause if it did not live long; give up when none can serve."""
        young = not worker.serving or time.monotonic() - worker.began < _YOUNG_SECONDS
        self._failures = self._failures + 1 if young else 0
        hopeless = self._failures >= _MOST_FAILURES and not any(one.serving for one in self._workers)
        if hopeless or not self._served:
            logger.error("no server process can serve; the lines above say why", extra={"exit_code": code})
            self._code = max(code, 1)
            self._end()
            return
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self._failures - 1)) if self._failures else 0.0
        logger.error("a server process died", extra={**_named(worker), "exit_code": code, "starts_in": pause})
        self._due[worker.number] = time.monotonic() + pause


def _tell_to_end(worker: _Worker) -> None:
    worker.process.terminate()
    worker.killed_at = time.monotonic() + _END_SECONDS


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a process that has closed all it had."""
    try:
        return process.wait(_LAST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _named(worker: _Worker) -> dict[str, int]:
    return {"worker": worker.number, "worker_pid": worker.process.pid}


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket on which every signal appears as the byte of its number."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno())
        handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        try:
            yield ours
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
