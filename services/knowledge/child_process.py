"""The parent's side of the parser's child process: start it, feed it, bound its time and its answer, leave nothing.

The child has a session of its own, no environment but the place for temporary files, and limits that it sets itself
(services/knowledge/reading.py). Its standard input stays open for as long as the parent lives, and the kernel ends it
when that closes.
"""

import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import IO

import msgspec

from models.documents import ParsedText
from models.errors import Invalid
from services.child_processes import start_child

logger = logging.getLogger("orquestra.parsing")

_CHUNK = 2**16
_LONGEST_ANSWER = 512 * 2**20
_TO_EXIT = 1.0  # seconds
_GAVE_UP = (
    "Reading the file took too much time or memory. Split it into smaller ones, or save it anew in a simpler format, "
    "then upload that."
)


@dataclass(frozen=True)
class Answer:
    """What the child found: a text, or the code and the message of what is wrong."""

    parsed: ParsedText | None
    code: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Limits:
    """What a child may use: seconds by the clock (and twice that of processor time), bytes of address space."""

    seconds: float
    memory: int


_DECODER = msgspec.msgpack.Decoder(Answer)


def read_in_child(extension: str, filename: str, content: bytes, limits: Limits) -> ParsedText:
    """Have a child process read a file.

    Raises:
        Invalid: as `Parser.parse`; code `document_too_complex` when the child did not survive the file.
        Unavailable: no process could be started.
    """
    name = filename.encode("utf-8", "surrogateescape")
    numbers = (2 * int(limits.seconds + 1), limits.memory, len(name), len(content))
    command = [sys.executable, "-m", "services.knowledge.reading", extension, *map(str, numbers)]
    deadline = time.monotonic() + limits.seconds
    with start_child(command, "to read the file") as child:
        said: bytes | None = None
        try:
            said = _converse(child, (name, content), deadline)
        finally:
            _end(child, _TO_EXIT if said else 0)
    if said is None or child.returncode != 0:
        logger.warning("a document was given up", extra={"format": extension, "exit_code": child.returncode})
        raise Invalid(_GAVE_UP, code="document_too_complex")
    answer = _DECODER.decode(said)
    if answer.parsed is None:
        raise Invalid(answer.detail, code=answer.code)
    return answer.parsed


def _converse(child: "subprocess.Popen[bytes]", parts: tuple[bytes, ...], deadline: float) -> bytes | None:
    """Write to the child while reading from it, until it ends; None when it takes too long or says too much."""
    assert child.stdin is not None and child.stdout is not None
    waiting = [memoryview(part) for part in parts if part]
    said = bytearray()
    with selectors.DefaultSelector() as selector:
        os.set_blocking(child.stdin.fileno(), False)
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stdin, selectors.EVENT_WRITE)
        while len(said) <= _LONGEST_ANSWER and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if key.fileobj is child.stdin:
                    waiting = _written(child.stdin, waiting)
                    if not waiting:
                        selector.unregister(child.stdin)
                elif heard := os.read(child.stdout.fileno(), _CHUNK):
                    said += heard
                else:
                    return bytes(said)
    return None


def _written(pipe: IO[bytes], waiting: list[memoryview]) -> list[memoryview]:
    """Write what the pipe takes and return the rest; none when the child no longer reads."""
    try:
        count = os.write(pipe.fileno(), waiting[0][: 16 * _CHUNK])
    except BrokenPipeError:
        return []
    return [waiting[0][count:], *waiting[1:]] if count < len(waiting[0]) else waiting[1:]


def _end(child: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Let the child end by itself within some seconds, else kill it with all that it may have started."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
