"""A transcriber of English without any key: pocketsphinx in a child process.

Where somebody speaks clearly it gets one word of twenty wrong, or one of four, and elsewhere more; its name in every
answer tells whose errors they are. The child starts with the first recording and stays, since loading its model takes
half a second.
"""

import contextlib
import importlib.util
import logging
import os
import selectors
import struct
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import IO

from models.deadline import Deadline
from models.errors import Invalid, ProviderFailed, Unavailable
from models.voice import Recording, Transcript
from services.child_processes import start_child

logger = logging.getLogger("orquestra.providers")

LENGTH = struct.Struct("!I")
"""What stands before a recording, and before its text: how many bytes follow."""

_COMMAND = (sys.executable, "-m", "services.providers.pocketsphinx_child")
_LANGUAGE = "en-US"
_GLANCE_SECONDS = 0.1
_CLOSE_SECONDS = 5.0
_READ_BYTES = 1 << 16


class PocketsphinxTranscriber:
    """Implement `Transcriber`; recordings are written down one after another, in the order of the calls."""

    name = "pocketsphinx"

    def __init__(self) -> None:
        self._queue: deque[object] = deque()
        self._moved = threading.Condition()
        self._child: _Child | None = None
        self._closed = False

    def transcribe(self, recording: Recording, language: str | None, deadline: Deadline) -> Transcript:
        """Return what is said, in lower case and without punctuation; raises as `Transcriber.transcribe`.

        Raises:
            Invalid: code `language_unsupported`, English is not what is expected.
            ProviderFailed: code `offline_transcriber_missing`, pocketsphinx is not installed.
            Unavailable: the server is stopping, or no process could be started.
        """
        if language is not None and language.lower().partition("-")[0] != "en":
            raise Invalid(
                f"The offline transcriber knows English only, not {language!r}. Set TRANSCRIBER to a provider that "
                "knows it.",
                code="language_unsupported",
            )
        with self._turn(deadline):
            child = self._running()
            try:
                text = child.ask(recording.samples, deadline)
            except BaseException:
                child.end()  # it would go on with what nobody waits for
                raise
        return Transcript(text, _LANGUAGE)

    def close(self) -> None:
        """End the child process, and whatever it is doing; nothing is written down any more."""
        with self._moved:
            self._closed, child = True, self._child
        if child is not None:
            child.kill()
            with self._turn(Deadline(_CLOSE_SECONDS)):
                child.end()

    @contextlib.contextmanager
    def _turn(self, deadline: Deadline) -> Iterator[None]:
        """Wait until nobody who came earlier is waiting."""
        ticket = object()
        with self._moved:
            self._queue.append(ticket)
        try:
            with self._moved:
                while self._queue[0] is not ticket:
                    self._moved.wait(_GLANCE_SECONDS)
                    deadline.check()
            yield
        finally:
            with self._moved:
                self._queue.remove(ticket)
                self._moved.notify_all()

    def _running(self) -> "_Child":
        """Return the child, another one if it has ended."""
        with self._moved:
            if self._closed:
                raise Unavailable("The server is stopping. Try again in a moment.")
            if self._child is not None and not self._child.is_alive:
                self._child.end()
                self._child = None
            if self._child is None:
                self._child = _Child()
            return self._child


class _Child:
    """A process that transcribes one recording at a time."""

    def __init__(self) -> None:
        if importlib.util.find_spec("pocketsphinx") is None:
            raise ProviderFailed(
                "The offline transcriber is not installed. Run `pip install -r requirements-offline.txt` (Python "
                "before 3.14), or set TRANSCRIBER to a provider.",
                code="offline_transcriber_missing",
            )
        self._process = start_child(_COMMAND, "to hear the recording")
        self._to, self._from = _pipe(self._process.stdin), _pipe(self._process.stdout)
        os.set_blocking(self._to.fileno(), False)

    @property
    def is_alive(self) -> bool:
        """Tell whether it can be asked."""
        return self._process.poll() is None

    def ask(self, samples: bytes, deadline: Deadline) -> str:
        """Return what is said in samples.

        Raises:
            ProviderFailed: the child did not survive them.
            DeadlineExceeded, CallCancelled: as the deadline says; the child goes on.
        """
        waiting = memoryview(LENGTH.pack(len(samples)) + samples)
        said = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            selector.register(self._to, selectors.EVENT_WRITE)
            while len(said) < LENGTH.size or len(said) < LENGTH.size + LENGTH.unpack_from(said)[0]:
                deadline.check()
                for key, _ in selector.select(min(_GLANCE_SECONDS, deadline.remaining())):
                    if key.fileobj is self._from:
                        said += self._heard()
                        continue
                    waiting = self._written(waiting)
                    if not waiting:
                        selector.unregister(self._to)
        return said[LENGTH.size :].decode()

    def kill(self) -> None:
        """Stop it, at once; whoever waits for an answer hears of it."""
        self._process.kill()

    def end(self) -> None:
        """Stop it and give everything back that belongs to it; nobody may be waiting for an answer."""
        self.kill()
        self._process.wait()
        self._to.close()
        self._from.close()

    def _heard(self) -> bytes:
        heard = os.read(self._from.fileno(), _READ_BYTES)
        if not heard:
            raise self._failed()
        return heard

    def _written(self, waiting: memoryview) -> memoryview:
        try:
            return waiting[os.write(self._to.fileno(), waiting[:_READ_BYTES]) :]
        except BrokenPipeError:
            raise self._failed() from None

    def _failed(self) -> ProviderFailed:
        logger.error("the offline transcriber ended", extra={"exit_code": self._process.poll()})
        return ProviderFailed("The offline transcriber failed. Try again, or send a shorter recording.")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
