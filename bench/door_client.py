"""The client of `bench.doors`: so many requests, so many at once, over plain sockets, and what each of them took.

It is the same for every server, and does as little as it can: an HTTP client's own work would be measured along.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from statistics import quantiles
from urllib.parse import urlsplit

PROMPT = "How many vacation days do I get per year?"
_FIRST_TOKEN = b'"content":"word0', b'"content": "word0'
_TIMEOUT = 300.0


@dataclass(frozen=True)
class Target:
    """What is asked: a server that speaks OpenAI's chat completions.

    Attributes:
        base_url: with `/v1`.
    """

    base_url: str
    key: str
    model: str

    def request(self, *, stream: bool) -> bytes:
        """Return a request's bytes."""
        message = {"role": "user", "content": PROMPT}
        body = json.dumps({"model": self.model, "messages": [message], "stream": stream}).encode()
        parts = urlsplit(self.base_url)
        head = (
            f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class Measured:
    """What a load did.

    Attributes:
        per_second: answers.
        firsts: milliseconds to the first token of each answer; of one that comes whole, to its end.
    """

    per_second: float
    firsts: Sequence[float]

    def percentile(self, percent: int) -> float:
        """Return what so many percent of the first tokens took at most."""
        return quantiles(self.firsts, n=100, method="inclusive")[percent - 1]


def load(target: Target, at_once: int, requests: int, *, stream: bool, ramp: float = 0.0) -> Measured:
    """Ask and wait for all answers.

    Args:
        ramp: seconds over which the clients begin; the rate is that of the time in which all of them ask.

    Raises:
        RuntimeError: an answer is not what it should be.
    """
    return asyncio.run(_load(_Load(target, requests, stream), at_once, ramp))


@dataclass(frozen=True)
class _Load:
    """What all clients share, and what came of it: when each request began, had its first token and was answered."""

    target: Target
    requests: int
    stream: bool
    numbers: Iterator[int] = field(default_factory=count)
    times: list[tuple[float, float, float]] = field(default_factory=list)


async def _load(load: _Load, at_once: int, ramp: float) -> Measured:
    began = time.perf_counter()
    asking = (_ask_on(load, ramp * number / at_once) for number in range(at_once))
    await asyncio.wait_for(asyncio.gather(*asking), _TIMEOUT)
    firsts = [(first - start) * 1000 for start, first, _ in load.times]
    if not ramp:
        return Measured(load.requests / (time.perf_counter() - began), firsts)
    until = max(start for start, _, _ in load.times)
    ends = sorted(end for _, _, end in load.times if began + ramp <= end <= until)
    return Measured((len(ends) - 1) / (ends[-1] - ends[0]), firsts)


async def _ask_on(load: _Load, after: float) -> None:
    """Ask one after the other on one connection, a new one where the server has closed it, until all are asked."""
    place, request = urlsplit(load.target.base_url), load.target.request(stream=load.stream)
    reader = writer = None
    await asyncio.sleep(after)
    try:
        while next(load.numbers) < load.requests:
            start = time.perf_counter()
            if reader is None or writer is None:
                reader, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(request)
            first, kept = await _answer(reader, load.stream)
            load.times.append((start, first, time.perf_counter()))
            if not kept:
                writer.close()
                reader = writer = None
    finally:
        if writer is not None:
            writer.close()


async def _answer(reader: asyncio.StreamReader, stream: bool) -> tuple[float, bool]:
    """Read an answer to its end; return when its first token came, and whether the connection can be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"no answer: {head!r} {await reader.read(1000)!r}")
    kept = b"connection: close" not in head
    if b"transfer-encoding: chunked" not in head:
        body = await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        first = time.perf_counter()
    else:
        body, first = await _chunks(reader)
    if b"word49" not in body or (stream and not body.rstrip().endswith(b"[DONE]")):
        raise RuntimeError(f"another answer: {body[-500:]!r}")
    return first, kept


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, float]:
    body, first = bytearray(), 0.0
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
        if not first and any(mark in body for mark in _FIRST_TOKEN):
            first = time.perf_counter()
    await reader.readline()
    if not first:
        raise RuntimeError("an answer without a token")
    return bytes(body), first
