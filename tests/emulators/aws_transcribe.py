"""A WebSocket server that speaks Amazon Transcribe's streaming protocol as a test tells it to.

It is ours, and therefore NOT an independent witness of what AWS does: no emulator of others streams, and botocore does
not describe the API. Frames are read by botocore; the signature is computed here by hand, as AWS' documentation "Create
a signed AWS API request" has it, from nothing but `hmac` and `hashlib`.
"""

import contextlib
import hashlib
import hmac
import json
import socket
import ssl
import struct
import threading
from binascii import crc32
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from botocore.eventstream import EventStreamBuffer
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

KEY_ID, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1"


class Act(Enum):
    """What a stream can do besides sending."""

    LISTEN = "take everything up to the end of the audio"
    DROP = "break the connection"
    WAIT = "do nothing until the other side leaves, or the test is over"


Step = bytes | Act
Script = Sequence[Step]


@dataclass
class Transcribing:
    """A running server.

    Attributes:
        scripts: what the next streams do, one each; the last one is repeated.
        refusal: the status of every handshake's answer, None to look at the signature.
        queries: the query of each handshake, in order.
        audio: the samples of each stream that was listened to.
        opened: set once a stream is open.
        late: what its clock is ahead by.
    """

    url: str
    scripts: list[Script]
    refusal: int | None = None
    queries: list[dict[str, str]] = field(default_factory=list)
    audio: list[bytes] = field(default_factory=list)
    opened: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    late: timedelta = timedelta()

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a handshake whose signature is wrong or too old."""
        address = urlsplit(request.path)
        query = dict(parse_qsl(address.query, strict_parsing=True))
        self.queries.append(query)
        status = self.refusal or _status(address.path, query, request.headers["Host"], datetime.now(UTC) + self.late)
        return None if status == HTTPStatus.OK else connection.respond(HTTPStatus(status), "refused\n")

    def answer(self, connection: ServerConnection) -> None:
        """Follow the next script."""
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.opened.set()
        with contextlib.suppress(ConnectionClosed):
            for step in script:
                if isinstance(step, bytes):
                    connection.send(step)
                elif step is Act.LISTEN:
                    self.audio.append(_listen(connection))
                elif step is Act.DROP:
                    connection.socket.shutdown(socket.SHUT_RDWR)
                else:
                    self._wait(connection)

    def _wait(self, connection: ServerConnection) -> None:
        while not self.over.wait(0.02) and connection.recv_events_thread.is_alive():
            pass


@contextlib.contextmanager
def transcribe(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Transcribing]:
    """Answer streams on a free port of the loopback address."""
    running = Transcribing("", list(scripts))
    options: Any = {"process_request": running.admit, "compression": None, "close_timeout": 0.1, "ssl": tls}
    with serve(running.answer, "127.0.0.1", 0, **options) as server:
        running.url = f"http{'s' if tls else ''}://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield running
        finally:
            running.over.set()
            server.shutdown()
            thread.join()


def result(text: str, *, partial: bool = False, language: str | None = None) -> bytes:
    """Return the frame of one result."""
    found: dict[str, object] = {"ResultId": "1", "StartTime": 0.0, "EndTime": 1.0, "IsPartial": partial}
    found["Alternatives"] = [{"Transcript": text, "Items": []}]
    if language is not None:
        found |= {"LanguageCode": language, "LanguageIdentification": [{"LanguageCode": language, "Score": 0.9}]}
    return event({"Transcript": {"Results": [found]}})


def event(content: object) -> bytes:
    """Return a frame with a TranscriptEvent."""
    return _frame({":message-type": "event", ":event-type": "TranscriptEvent"}, content)


def exception(name: str, words: str = "words of the service") -> bytes:
    """Return a frame with an exception."""
    return _frame({":message-type": "exception", ":exception-type": name}, {"Message": words})


def signature(secret: str, path: str, query: dict[str, str], host: str) -> str:
    """Return the signature that a GET of this address has to carry in its query."""
    signed = sorted((name, value) for name, value in query.items() if name != "X-Amz-Signature")
    line = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in signed)
    canonical = "\n".join(["GET", path, line, f"host:{host}\n", "host", hashlib.sha256(b"").hexdigest()])
    scope = query["X-Amz-Credential"].split("/", 1)[1]
    text = "\n".join([
        "AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, hashlib.sha256(canonical.encode()).hexdigest()
    ])  # fmt: skip
    key = b"AWS4" + secret.encode()
    for part in [*scope.split("/"), text]:
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


_AUDIO = {":content-type": "application/octet-stream", ":event-type": "AudioEvent", ":message-type": "event"}


def _status(path: str, query: dict[str, str], host: str, now: datetime) -> int:
    if path != "/stream-transcription-websocket":
        return 404
    signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
    key_id, day, region, service, end = query["X-Amz-Credential"].split("/")
    is_known = (key_id, region, service, end) == (KEY_ID, REGION, "transcribe", "aws4_request")
    is_timely = day == f"{signed_at:%Y%m%d}" and now < signed_at + timedelta(seconds=int(query["X-Amz-Expires"]))
    is_right = query["X-Amz-SignedHeaders"] == "host" and int(query["X-Amz-Expires"]) <= 300
    is_signed = hmac.compare_digest(query["X-Amz-Signature"], signature(SECRET, path, query, host))
    return 200 if is_known and is_timely and is_right and is_signed else 403


def _listen(connection: ServerConnection) -> bytes:
    """Return the samples of a stream, read to its end."""
    buffer, samples = EventStreamBuffer(), b""
    while True:
        buffer.add_data(connection.recv(decode=False))
        for message in buffer:
            headers: Any = message.headers
            assert headers == _AUDIO
            if not message.payload:
                return samples
            assert len(message.payload) <= 6_400, "more than 200 ms of samples"
            samples += message.payload


def _frame(headers: dict[str, str], content: object) -> bytes:
    named = {**headers, ":content-type": "application/json"}
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
        for name, value in named.items()
    )
    payload = json.dumps(content, ensure_ascii=False).encode()
    start = struct.pack(">II", 12 + len(head) + len(payload) + 4, len(head))
    start += struct.pack(">I", crc32(start)) + head + payload
    return start + struct.pack(">I", crc32(start))
