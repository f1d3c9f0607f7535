"""Threads of OpenAI's Assistants API, as JSON lines of messages in any order, read without holding the file."""

import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from models.clock import now
from models.errors import Invalid
from services.importing.folder import Remark

_LONGEST_LINE = 8 * 2**20
_LONGEST_ID = 256
_MOST_REMARKS = 100
_BOM = b"\xef\xbb\xbf"
_MARK = re.compile(r"(?<![ \t])[ \t]*【[^【】†\n]*†[^【】\n]*】")


@dataclass(frozen=True)
class ExportedMessage:
    """A message as the API gave it.

    Attributes:
        asked: whether a person wrote it, not the assistant.
        text: of all its parts, without the marks of citations.
    """

    id: str
    thread_id: str
    asked: bool
    text: str
    created_at: datetime
    metadata: Mapping[str, str]


class ThreadFile:
    """The threads of a file.

    What is held of it is where each message begins, and the messages of one thread at a time.

    Attributes:
        messages: how many messages can be read.
        skipped: messages without any text, such as images alone.
        failed: lines that cannot be read, the first hundred of them.
        unreadable: how many of these there are in all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages = 0
        self.skipped: list[Remark] = []
        self.failed: list[Remark] = []
        self.unreadable = 0
        self._offsets: dict[str, array[int]] = {}

    @property
    def threads(self) -> Sequence[str]:
        """Return the ids of the threads, in the order in which they come first."""
        return tuple(self._offsets)

    def scan(self, progress: Callable[[int, int, str], None]) -> None:
        """Read the file once, to know which messages are where.

        Args:
            progress: told how many bytes are read, of how many, and "".

        Raises:
            Invalid: there is no message in it.
            OSError: it cannot be read.
        """
        size, told = self.path.stat().st_size, 0
        with self.path.open("rb") as stream:
            for number, offset, line in _lines(stream):
                self._note(number, offset, line)
                if offset - told >= _LONGEST_LINE:
                    told = offset
                    progress(told, size, "")
        progress(size, size, "")
        if not self.messages:
            wrong = f" {self.failed[0].path}: {self.failed[0].reason}" if self.failed else ""
            raise Invalid(f"There is no message in {self.path}.{wrong} Each line is a message as the API gave it.")

    def of_thread(self, thread_id: str) -> Sequence[ExportedMessage]:
        """Return the messages of a thread, oldest first and each once.

        Raises:
            Invalid: the file is not as it was scanned.
        """
        found: dict[str, ExportedMessage] = {}
        with self.path.open("rb") as stream:
            for offset in self._offsets[thread_id]:
                stream.seek(offset)
                message = read_message(stream.readline(_LONGEST_LINE + 1).removeprefix(_BOM))
                if message is None or message.thread_id != thread_id:
                    raise Invalid(f"{self.path} was changed while it was read. Import it again.")
                found.setdefault(message.id, message)
        return _in_order(list(found.values()))

    def _note(self, number: int, offset: int, line: bytes) -> None:
        """Keep where a message is, or what is wrong with its line."""
        try:
            message = read_message(line)
        except Invalid as fault:
            self.unreadable += 1
            if len(self.failed) < _MOST_REMARKS:
                self.failed.append(Remark(f"line {number}", fault.detail))
            return
        if message is None:
            if len(self.skipped) < _MOST_REMARKS:
                self.skipped.append(Remark(f"line {number}", "The message has no text."))
            return
        self._offsets.setdefault(message.thread_id, array("Q")).append(offset)
        self.messages += 1


def read_message(line: bytes) -> ExportedMessage | None:
    """Return the message of a line; None if it has no text.

    Raises:
        Invalid: it is no message.
    """
    given = _object(line)
    if given.get("object", "thread.message") != "thread.message":
        raise Invalid("It is no message: its `object` is another.")
    if given.get("role") not in ("user", "assistant"):
        raise Invalid("Its `role` is neither `user` nor `assistant`.")
    asked = given["role"] == "user"
    text = _text(given.get("content"), asked)
    metadata = given.get("metadata")
    message = ExportedMessage(
        id=_identity(given, "id"),
        thread_id=_identity(given, "thread_id"),
        asked=asked,
        text=text,
        created_at=_time(given.get("created_at")),
        metadata=_pairs(metadata) if isinstance(metadata, dict) else {},
    )
    return message if text else None


def _lines(stream: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Yield number, offset and bytes of each line that is not blank; of longer ones than may be, only the beginning."""
    number, offset = 0, 0
    while line := stream.readline(_LONGEST_LINE + 1):
        number += 1
        length, rest = len(line), line
        while len(rest) > _LONGEST_LINE and not rest.endswith(b"\n"):
            rest = stream.readline(_LONGEST_LINE + 1)
            length += len(rest)
        if line.strip():
            yield number, offset, line.removeprefix(_BOM) if offset == 0 else line
        offset += length


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > _LONGEST_LINE:
        raise Invalid(f"It has more than {_LONGEST_LINE // 2**20} MiB.")
    try:
        given = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise Invalid("It is no JSON in UTF-8.") from None
    if not isinstance(given, dict):
        raise Invalid("It is no JSON object.")
    return given


def _identity(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST_ID or value != storable(value):
        raise Invalid(f"Its `{name}` is missing, or no text of 1 to {_LONGEST_ID} characters.")
    return value


def _time(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid("Its `created_at` is missing, or no number.")
    if not 1 <= value <= now().timestamp():
        raise Invalid("Its `created_at` is no time of the past in Unix seconds.")
    return datetime.fromtimestamp(int(value), UTC)


def _text(content: object, asked: bool) -> str:
    """Return the text of a message's parts.

    Raises:
        Invalid: the content is in no form that the API gives.
    """
    parts = [content] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise Invalid("Its `content` is missing, or neither text nor a list of parts.")
    text = "\n".join(filter(None, (_part(part) for part in parts)))
    return storable(text if asked else _MARK.sub("", text)).strip()


def _part(part: object) -> str:
    """Return the text of one part, without what its annotations mark as citations; "" for an image."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise Invalid("A part of its `content` is no object.")
    given = part.get("text", part.get("refusal", ""))
    value = given.get("value") if isinstance(given, dict) else given
    if not isinstance(value, str):
        raise Invalid("A text in its `content` has no `value`.")
    annotations = given.get("annotations") if isinstance(given, dict) else None
    for annotation in annotations if isinstance(annotations, list) else ():
        mark = annotation.get("text") if isinstance(annotation, dict) else None
        if isinstance(mark, str) and mark.startswith("【") and mark.endswith("】"):
            value = value.replace(mark, "")
    return value


def storable(text: str) -> str:
    """Return a text as every store can hold it: without NUL, with U+FFFD for halves of UTF-16 pairs."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _pairs(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {storable(name): storable(value) for name, value in metadata.items() if isinstance(value, str)}


def _in_order(messages: Sequence[ExportedMessage]) -> Sequence[ExportedMessage]:
    """Return messages by their times; those of the same second as they came, or the other way round.

    The API lists newest first: a file in which times mostly fall, or with one time only an answer comes first, is
    taken to be written like that.
    """
    steps = [later.created_at - earlier.created_at for earlier, later in pairwise(messages)]
    rising, falling = (sum(1 for step in steps if sign * step.total_seconds() > 0) for sign in (1, -1))
    newest_first = falling > rising or (falling == rising and not messages[0].asked)
    return sorted(reversed(messages) if newest_first else messages, key=lambda message: message.created_at)
