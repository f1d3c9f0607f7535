"""A small HTTP server that sends exactly the bytes a test says, for what aimock cannot do.

It stalls before the first byte, trickles, cuts within an event, frames events oddly. It is our own and therefore NOT an
independent witness of what OpenAI does: what it sends as a chunk is at least checked against the SDK's
`ChatCompletionChunk`.
"""

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any

from openai.types.chat import ChatCompletionChunk


class Action(Enum):
    """What a reply can do besides sending."""

    CLOSE = "close the connection properly"
    RESET = "abort the connection"
    HANG = "send nothing more until the test is over"


Step = bytes | float | threading.Event | Action
"""Bytes to send, seconds to wait, an event to wait for (which a test sets once it has done its part), or an action."""

Reply = Sequence[Step]


@dataclass(frozen=True)
class Recorded:
    """A request as it came.

    Attributes:
        path: with its query.
        headers: names and values in lower case.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """Return the content, read as JSON."""
        return json.loads(self.content) if "json" in self.headers.get("content-type", "") else None


@dataclass
class WireServer:
    """A running server.

    Attributes:
        replies: to the next requests, in the order in which they come.
        by_model: replies to requests that name a model, where several are asked at once and the order is chance.
        requests: all requests so far.
        connections: how many connections were opened.
        gone: set when a client closed a connection before its reply was complete.
    """

    url: str
    replies: list[Reply]
    by_model: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    gone: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base_url(self) -> str:
        """Return the address for `openai.OpenAI(base_url=...)`."""
        return f"{self.url}/v1"

    def take(self, request: Recorded) -> Reply:
        """Note a request and return what it is answered with: the first that is noted gets the first reply."""
        with self._lock:
            self.requests.append(request)
            replies = self.replies
            if self.by_model and isinstance(request.body, dict):
                replies = self.by_model.get(request.body.get("model", ""), replies)
            assert replies, f"a request too many: {request.path}"
            return replies.pop(0)

    def forget(self) -> None:
        """Be as one that nobody has asked, and that answers nothing."""
        with self._lock:
            self.replies.clear()
            self.by_model.clear()
            self.requests.clear()
            self.gone.clear()


@contextlib.contextmanager
def wire(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[WireServer]:
    """Answer each request with the next reply, on a free port of the loopback address."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        scheme = "https" if tls else "http"
        server = WireServer(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", list(replies))
        acceptor = threading.Thread(target=_accept, args=(listener, server, threads, tls))
        acceptor.start()
        try:
            yield server
        finally:
            server.over.set()
            for thread in (acceptor, *threads):
                thread.join()


def chunk(text: str | None = None, *, finish: str | None = None, usage: tuple[int, int] | None = None) -> bytes:
    """Return a chunk as JSON: text, or an end, or a usage without choices."""
    choices: list[dict[str, Any]] = []
    if text is not None or finish is not None:
        choices = [{"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}]
    data: dict[str, Any] = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "wire-1", "choices": choices,
    }  # fmt: skip
    if usage is not None:
        prompt, completion = usage
        data["usage"] = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    ChatCompletionChunk.model_validate(data, strict=True)
    return json.dumps(data, ensure_ascii=False).encode()


def event(data: bytes) -> bytes:
    """Return a server-sent event."""
    return b"data: " + data + b"\n\n"


DONE = event(b"[DONE]")
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
"""The head of a streamed response; `piece` and `END` follow."""
END = b"0\r\n\r\n"


def piece(data: bytes) -> bytes:
    """Return bytes as one piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(*pieces: bytes) -> Reply:
    """Return the reply of a whole stream whose body comes in these pieces."""
    return [STREAM, *map(piece, pieces), END]


def calling(name: str, **arguments: object) -> Reply:
    """Return the reply of a model that wants a function to be called."""
    wanted = {"name": name, "arguments": json.dumps(arguments)}
    delta = {"role": "assistant", "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": wanted}]}
    data: dict[str, Any] = json.loads(chunk(""))
    data["choices"][0]["delta"] = delta
    ChatCompletionChunk.model_validate(data, strict=True)
    return stream(event(json.dumps(data).encode()), event(chunk(finish="tool_calls")), DONE)


def document(status: int, body: object, **headers: str) -> Reply:
    """Return the reply of a JSON response; underscores in names of headers become dashes."""
    content = json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return [head.encode() + b"\r\n" + content]


def _accept(
    listener: socket.socket, server: WireServer, threads: list[threading.Thread], tls: ssl.SSLContext | None
) -> None:
    while not server.over.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        connection.settimeout(None)
        server.connections += 1
        threads.append(threading.Thread(target=_serve, args=(connection, server, tls)))
        threads[-1].start()


def _serve(connection: socket.socket, server: WireServer, tls: ssl.SSLContext | None) -> None:
    with contextlib.suppress(OSError):
        if tls:
            connection = tls.wrap_socket(connection, server_side=True)
        with connection:
            connection.settimeout(0.05)
            while (request := _receive(connection, server)) is not None:
                if not _reply(connection, server, server.take(request)):
                    return


def _receive(connection: socket.socket, server: WireServer) -> Recorded | None:
    """Read one request; None when the client or the test is done."""
    data = b""
    while b"\r\n\r\n" not in data or len(data) < _length(data):
        try:
            more = connection.recv(65536)
        except TimeoutError:
            if server.over.is_set():
                return None
            continue
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split()
    return Recorded(method, path, dict(line.lower().split(": ", 1) for line in lines), body)


def _length(data: bytes) -> int:
    """Return how long the whole request is, once its head is there."""
    head = data.partition(b"\r\n\r\n")[0]
    sizes = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return len(head) + 4 + (sizes[0] if sizes else 0)


def _reply(connection: socket.socket, server: WireServer, reply: Reply) -> bool:
    """Follow a reply; tell whether the connection may go on."""
    for step in reply:
        if step is Action.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if step is Action.RESET or step is Action.CLOSE:
            return False
        try:
            if isinstance(step, bytes):
                connection.sendall(step)
                continue
            over = not _wait(connection, step, server.over)
        except ConnectionError:
            over = True
        if over:
            server.gone.set()
            return False
    return True


def _wait(connection: socket.socket, step: Step, over: threading.Event) -> bool:
    """Wait, but not when the client leaves or the test is over; tell whether the wait was a full one."""
    seconds = step if isinstance(step, float) else float("inf")
    waited = 0.0
    while waited < seconds and not over.is_set():
        if isinstance(step, threading.Event) and step.is_set():
            break
        try:
            if connection.recv(1) == b"":
                return False
        except TimeoutError:
            waited += 0.05
    return not over.is_set()
