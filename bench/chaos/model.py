"""A model for chaos runs: OpenAI's chat completions, streamed, by a process of its own.

It is our own and therefore NOT independent: that the server speaks to real models is shown elsewhere, with OpenAI's SDK
and with aimock. Here it matters that every call is answered with a text that no other call gets, that every call is
recorded with what it was shown, and that some fail: refused, broken, cut in the middle, or silent for ever. The seed,
the message and how often it was asked about decide which; no message has more than `_MOST_FAILURES` of them.

    python -m bench.chaos.model <seed> <file for the calls>

It prints its port, answers `/<server>/v1/chat/completions`, so that it knows who asks, and writes the calls when its
standard input closes.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from bench.chaos.records import Call, Ending

MESSAGE_ID = re.compile(r"\bc\d{3,}-\d{2,}\b")
"""What a message's text holds once: its id."""

_FATES = ((0.03, Ending.REFUSED), (0.06, Ending.BROKE), (0.10, Ending.CUT), (0.11, Ending.STALLED))
"""Below which share of calls which failure is planted; the rest are answered."""

_MOST_FAILURES = 2
_ASKED_AGAIN = 2
"""So often the server asks again within one attempt, when a call failed before its first byte."""

_FIRST_SECONDS = (0.05, 0.5)
_PIECE_SECONDS = (0.02, 0.12)
_PIECES = 8
_LOOK_SECONDS = 0.05
_STATUSES = {Ending.REFUSED: b"429 Too Many Requests", Ending.BROKE: b"500 Internal Server Error"}
_EXCUSE = b'{"error": {"message": "by chance"}}'
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Gone(Exception):
    """The server closed the connection."""


class Connection:
    """A connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def request(self) -> tuple[str, Any]:
        """Return the path and the body of the next request."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?im)^content-length: *(\d+)", head)
        body = await self._reader.readexactly(int(length.group(1))) if length else b"{}"
        return head.split()[1], json.loads(body)

    async def sleep(self, seconds: float) -> None:
        """Wait, but not for a server that has gone.

        Raises:
            Gone: it has.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            await asyncio.sleep(min(left, _LOOK_SECONDS))
        self.check()

    def check(self) -> None:
        """Notice a server that has gone.

        Raises:
            Gone: it has.
        """
        if self._reader.at_eof() or self._reader.exception() is not None:
            raise Gone

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """Close it."""
        self._writer.close()


class Model:
    """The emulator and its calls."""

    def __init__(self, seed: str) -> None:
        self.calls: list[Call] = []
        self._seed = seed
        self._asked: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._turned_away: dict[str, list[Ending]] = defaultdict(list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a connection's requests, one after the other."""
        connection = Connection(reader, writer)
        try:
            while await self._answer(connection, *await connection.request()):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            connection.close()

    async def _answer(self, connection: Connection, path: str, body: Any) -> bool:
        """Answer one request, and tell whether the connection may go on."""
        shown = _shown(body["messages"])
        message = shown[-1].removeprefix("user:") if shown else ""
        self._asked[message] += 1
        chance = Random(f"{self._seed}/{message}/{self._asked[message]}")
        call = Call(len(self.calls), path.split("/")[1], message, shown, time.time(), 0.0, Ending.GONE, "")
        self.calls.append(call)
        fate = self._fate(message, chance)
        pieces = [f"Answer {call.number} to {message}:", *(f" {chance.getrandbits(24):06x}" for _ in range(_PIECES))]
        sent: list[str] = []
        ending = Ending.GONE
        try:
            ending = await _play(connection, fate, pieces, sent, chance)
        except (Gone, ConnectionError):
            ending = Ending.STALLED if fate is Ending.STALLED else Ending.GONE
        finally:
            ended = Call(call.number, call.server, message, shown, call.began, time.time(), ending, "".join(sent))
            self.calls[call.number] = ended
        return ending in {Ending.WHOLE, Ending.REFUSED, Ending.BROKE}

    def _fate(self, message: str, chance: Random) -> Ending:
        """Return how a call is to end; who is turned away may be turned away again, until the server gives up."""
        if self._turned_away[message]:
            return self._turned_away[message].pop()
        share = chance.random()
        fate = next((ending for below, ending in _FATES if share < below), Ending.WHOLE)
        if fate is Ending.WHOLE or self._failed[message] >= _MOST_FAILURES:
            return Ending.WHOLE
        self._failed[message] += 1
        if fate in _STATUSES:
            self._turned_away[message] = [fate] * chance.choice((0, _ASKED_AGAIN))
        return fate


async def _play(connection: Connection, fate: Ending, pieces: list[str], sent: list[str], chance: Random) -> Ending:
    """Send an answer as its fate will have it; `sent` is what was sent of it.

    Raises:
        Gone: the server left before the end.
    """
    await connection.sleep(chance.uniform(*_FIRST_SECONDS))
    if fate in _STATUSES:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        await connection.send(head % (_STATUSES[fate], len(_EXCUSE)) + _EXCUSE)
        return fate
    await connection.send(_STREAM + _event({"role": "assistant", "content": ""}))
    last = len(pieces) if fate is Ending.WHOLE else chance.randrange(len(pieces))
    for piece in pieces[:last]:
        await connection.send(_event({"content": piece}))
        sent.append(piece)
        await connection.sleep(chance.uniform(*_PIECE_SECONDS))
    if fate is Ending.STALLED:
        await connection.sleep(3600)
    if fate is Ending.CUT:
        return fate
    await connection.send(_event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    return fate


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "chaos", "choices": [choice]}
    data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def _shown(messages: list[dict[str, str]]) -> list[str]:
    """Return the turns of a request: of a person's, the ids of the messages in it, since neighbours come joined."""
    turns: list[str] = []
    for message in messages:
        if message["role"] == "user":
            turns += [f"user:{found}" for found in MESSAGE_ID.findall(message["content"])]
        elif message["role"] == "assistant":
            turns.append(f"assistant:{message['content']}")
    return turns


async def _serve(seed: str, file: Path) -> None:
    model = Model(seed)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    file.write_text("\n".join(json.dumps(asdict(call)) for call in model.calls))


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2])))
