"""Models for `bench.doors` that cost nearly nothing: the same answer to everybody, made once, after a set time.

A model's name says how many seconds it waits before an answer, and between the pieces of a streamed one; without a
pause each piece is still a write of its own. Run as `python -m bench.door_upstream`: it prints its address and ends
when its standard input closes.
"""

import asyncio
import json
import re
import sys
import time

PIECES = 50
TEXT = "".join(f"word{number} " for number in range(PIECES))
_MODEL = re.compile(rb'"model": ?"after-([0-9.]+)-pause-([0-9.]+)"')
_TOKENS = {"prompt_tokens": 100, "completion_tokens": PIECES, "total_tokens": 100 + PIECES}
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
    b"Cache-Control: no-cache\r\n\r\n"
)


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _chunk(choices: list[dict[str, object]], **fields: object) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": int(time.time()), "model": "bench"}
    return _piece(b"data: " + json.dumps({**chunk, "choices": choices, **fields}).encode() + b"\n\n")


def _delta(finish: str | None = None, **delta: str) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


_PIECES = [_chunk(_delta(content=f"word{number} ")) for number in range(PIECES)]
_PIECES[0] = _chunk(_delta(role="assistant", content="word0 "))
_LAST = _chunk(_delta("stop")) + _chunk([], usage=_TOKENS) + _piece(b"data: [DONE]\n\n") + b"0\r\n\r\n"
_MESSAGE = {"role": "assistant", "content": TEXT, "refusal": None}
_BODY = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": int(time.time()), "model": "bench",
        "choices": [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}], "usage": _TOKENS,
    }
).encode()  # fmt: skip
_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


def model(seconds: float = 0.0, pause: float = 0.0) -> str:
    """Return the name of the model that takes its time like this."""
    return f"after-{seconds}-pause-{pause}"


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            named = _MODEL.search(body)
            seconds, pause = map(float, named.groups()) if named else (0.0, 0.0)
            if seconds:
                await asyncio.sleep(seconds)
            if b'"stream":true' in body.replace(b": ", b":"):
                await _stream(writer, pause)
            else:
                writer.write(_WHOLE)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _stream(writer: asyncio.StreamWriter, pause: float) -> None:
    writer.write(_STREAM)
    for piece in _PIECES:
        writer.write(piece)
        await asyncio.sleep(pause)
    writer.write(_LAST)


async def _serve() -> None:
    server = await asyncio.start_server(_converse, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
