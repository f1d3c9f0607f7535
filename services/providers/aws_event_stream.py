"""The event stream of Amazon Transcribe: its frames, as AWS documents them under "Event stream encoding".

A frame is its length, the length of its headers, a CRC of the two, headers, payload, and a CRC of it all; numbers have
32 bits, big endian. A header is its name's length (8 bits), the name, 7 for a string, the string's length (16 bits) and
the string. botocore reads frames but writes none.
"""

import struct
from binascii import crc32
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.eventstream import EventStreamBuffer, ParserError

_STRING = 7
_PRELUDE_BYTES = 12
_CRC_BYTES = 4
_NAMED_BY = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}


class NoFrame(Exception):
    """Tell that bytes are no frames of an event stream."""


@dataclass(frozen=True)
class Message:
    """One frame that came.

    Attributes:
        kind: "event", "exception" or "error".
        name: the type of the event or exception, or the code of the error.
    """

    kind: str
    name: str
    payload: bytes


class Incoming:
    """Read frames as their bytes come."""

    def __init__(self) -> None:
        self._buffer = EventStreamBuffer()

    def read(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with these bytes.

        Raises:
            NoFrame: they are none.
        """
        try:
            self._buffer.add_data(data)
            for one in self._buffer:
                headers: Any = one.headers
                kind = headers[":message-type"]
                yield Message(kind, headers[_NAMED_BY[kind]], one.payload)
        except (ParserError, KeyError, struct.error, UnicodeDecodeError) as error:
            raise NoFrame(type(error).__name__) from error


def audio_event(samples: bytes) -> bytes:
    """Return the frame of some samples; without any it ends the audio."""
    total = _PRELUDE_BYTES + len(_AUDIO_HEADERS) + len(samples) + _CRC_BYTES
    lengths = struct.pack("!II", total, len(_AUDIO_HEADERS))
    frame = b"".join((lengths, struct.pack("!I", crc32(lengths)), _AUDIO_HEADERS, samples))
    return frame + struct.pack("!I", crc32(frame))


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack("!B", len(name)) + name + struct.pack("!BH", _STRING, len(value)) + value


_AUDIO_HEADERS = (
    _header(b":content-type", b"application/octet-stream")
    + _header(b":event-type", b"AudioEvent")
    + _header(b":message-type", b"event")
)
