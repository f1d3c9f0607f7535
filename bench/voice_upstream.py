"""What `bench.voice` asks: a model that writes as fast as people say that models do, and speech in both directions.

A process of its own on OpenAI's paths. The model writes sentences of twelve words, the first one after
`FIRST_TOKEN_SECONDS`, then `WORDS_PER_SECOND`. Speech is the same MP3 for every sentence, all of it after a set time,
and every recording is heard as the next question, after `TRANSCRIPTION_SECONDS`. `GET /v1/log` tells what took how
long; `POST /v1/delay/<seconds>` sets the time that speech takes. Run as `python -m bench.voice_upstream`; it prints
its address and ends when its standard input closes.
"""

import asyncio
import contextlib
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from itertools import count

from bench.voice_sounds import sentence_mp3

FIRST_TOKEN_SECONDS = 0.35
WORDS_PER_SECOND = 46
WORDS = 12
"""Of a sentence; it can be spoken when the first word of the next one, or the answer's end, is there."""
TRANSCRIPTION_SECONDS = 0.3
_ASKED = re.compile(r"question (\d+) of (\d+) sentences")
_SPOKEN = re.compile(r"answer (\d+) this is part (\d+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class Noted:
    """What went into the answer to one question, in seconds.

    Attributes:
        heard: what the transcription of the question took.
        written: from the model's request until each sentence could be spoken.
        spoken: what the synthesizer took for each, by its number.
    """

    heard: float = 0.0
    written: list[float] = field(default_factory=list)
    spoken: dict[str, float] = field(default_factory=dict)


def question(number: int, sentences: int) -> str:
    """Return what is answered with so many sentences that name this number."""
    return f"This is question {number} of {sentences} sentences."


class Upstream:
    """Answer requests, and note when."""

    def __init__(self) -> None:
        self._mp3 = sentence_mp3()
        self._delay = 0.0
        self._heard = count(900_000)
        self._log: defaultdict[str, Noted] = defaultdict(Noted)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer every request of a connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                path = head.split(b" ", 2)[1].decode()
                await self._route(path)(path, body, writer)
                await writer.drain()
        writer.close()

    def _route(self, path: str) -> Callable[[str, bytes, asyncio.StreamWriter], Awaitable[None]]:
        paths = {"completions": self._write, "speech": self._speak, "transcriptions": self._hear, "log": self._tell}
        return paths.get(path.rsplit("/", 1)[1], self._set)

    async def _write(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        """Stream an answer, and note when each of its sentences could be spoken."""
        began = time.monotonic()
        number, sentences = _ASKED.findall(body.decode())[-1]
        written = self._log[number].written = []
        words = " ".join(_sentence(number, part) for part in range(int(sentences))).split(" ")
        writer.write(_head("text/event-stream", "Transfer-Encoding: chunked"))
        for place, word in enumerate(words):
            await _until(began + FIRST_TOKEN_SECONDS + place / WORDS_PER_SECOND)
            writer.write(_event({"content": f" {word}" if place else word}))
            if place and place % WORDS == 0:
                written.append(time.monotonic() - began)
        writer.write(_event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        written.append(time.monotonic() - began)

    async def _speak(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        asked = time.monotonic()
        number, part = _SPOKEN.findall(json.loads(body)["input"])[0]
        await _until(asked + self._delay)
        writer.write(_whole("audio/mpeg", self._mp3))
        self._log[number].spoken[part] = time.monotonic() - asked

    async def _hear(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        asked, number = time.monotonic(), next(self._heard)
        await _until(asked + TRANSCRIPTION_SECONDS)
        writer.write(_whole("application/json", json.dumps({"text": question(number, 2)}).encode()))
        self._log[str(number)].heard = time.monotonic() - asked

    async def _tell(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        log = {number: asdict(noted) for number, noted in self._log.items()}
        writer.write(_whole("application/json", json.dumps(log).encode()))

    async def _set(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        self._delay = float(path.rsplit("/", 1)[1])
        writer.write(_whole("text/plain", b"ok"))


def _sentence(number: str, part: int) -> str:
    return f"In answer {number} this is part {part} and it has twelve words."


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


def _head(mimetype: str, how_long: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {mimetype}\r\n{how_long}\r\n\r\n".encode()


def _whole(mimetype: str, body: bytes) -> bytes:
    return _head(mimetype, f"Content-Length: {len(body)}") + body


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
    data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


async def _serve() -> None:
    server = await asyncio.start_server(Upstream().converse, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
