"""An OpenAI-shaped chat endpoint with set latency, as its own process, so that it costs the measured server nothing.

Not an emulator: it streams the same answer to everybody, `FIRST_TOKEN_SECONDS` after the request and then a piece every
`PIECE_SECONDS`. Run as `python -m bench.upstream`; it prints its address and ends when its standard input closes.
"""

import asyncio
import json
import sys

FIRST_TOKEN_SECONDS = 0.2
PIECE_SECONDS = 0.02
PIECES = 20
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
    data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with the same stream."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if lengths:
                await reader.readexactly(int(lengths[0].split(b":")[1]))
            await asyncio.sleep(FIRST_TOKEN_SECONDS)
            writer.write(_HEAD + _event({"role": "assistant", "content": ""}))
            for number in range(PIECES):
                writer.write(_event({"content": f"word{number} "}))
                await writer.drain()
                await asyncio.sleep(PIECE_SECONDS)
            writer.write(_event({}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}/v1\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
