"""What a client of the voice routes sees: the borders of HTTP's chunks, and what the bytes sound like."""

import io
import json
import math
import socket
import struct
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import av
import httpx2


@dataclass(frozen=True)
class Received:
    """A response as its bytes came.

    Attributes:
        headers: names in lower case.
        chunks: the body's, as the server cut them.
        is_whole: it ended as HTTP says that a response ends.
    """

    status: int
    headers: Mapping[str, str]
    chunks: list[bytes]
    is_whole: bool

    @property
    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(self.chunks)


def request(path: str, body: dict[str, Any], *, version: str = "1.1", **headers: str) -> bytes:
    """Return a POST of JSON; underscores in names of headers become dashes."""
    content = json.dumps(body).encode()
    fields = {
        "Host": "x",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"POST {path} HTTP/{version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + content


def form_request(path: str, key: str, files: dict[str, Any], data: dict[str, Any] | None = None) -> bytes:
    """Return a POST of a form, with an assistant's key."""
    form = httpx2.Request("POST", "http://x", data=data, files=files)
    content = form.read()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
    head += f"Content-Type: {form.headers['Content-Type']}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def connect(url: str) -> socket.socket:
    """Return a connection to a server."""
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 80), timeout=30)


def exchange(url: str, sent: bytes, on_sound: Callable[[], object] = lambda: None) -> Received:
    """Send a request and read until the server closes.

    Args:
        on_sound: called once the first of a body has come.
    """
    with connect(url) as connection:
        connection.sendall(sent)
        data = begun(connection)
        on_sound()
        while more := connection.recv(65536):
            data += more
    return parsed(data)


def begun(connection: socket.socket) -> bytes:
    """Return a response up to the first of its body, or to its end."""
    data = b""
    while not data.partition(b"\r\n\r\n")[2] and (more := connection.recv(65536)):
        data += more
    return data


def parsed(data: bytes) -> Received:
    """Read a response."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    status = int(first.split()[1])
    if headers.get("transfer-encoding") != "chunked":
        return Received(status, headers, [body], len(body) == int(headers.get("content-length", -1)))
    chunks: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return Received(status, headers, chunks, True)
        chunks.append(body[:length])
        body = body[length + 2 :]
    return Received(status, headers, chunks, False)


def seconds_of(data: bytes, format: str = "mp3") -> float:
    """Return how long a file of sound is, by decoding all of it."""
    with av.open(io.BytesIO(data), "r", format=format) as container:
        return sum((frame.samples / frame.sample_rate for frame in container.decode(audio=0)), 0.0)


def tone(seconds: float, rate: int) -> bytes:
    """Return samples of a tone: signed 16 bit, little endian, mono."""
    count = int(seconds * rate)
    return struct.pack(f"<{count}h", *(int(9000 * math.sin(2 * math.pi * 440 * at / rate)) for at in range(count)))


def wav(seconds: float = 1.0, rate: int = 16_000) -> bytes:
    """Return a WAV file of a tone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes(tone(seconds, rate))
    return file.getvalue()
