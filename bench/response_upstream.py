"""A Responses endpoint without latency, as its own process, so that it costs the measured process nothing.

Not an emulator: it streams the same answer to everybody, in as many pieces as the request's model says (`"100"`), each
event as OpenAI sends it and valid by the SDK's own types. Run as `python -m bench.response_upstream`; it prints its
address and ends when its standard input closes.
"""

import asyncio
import functools
import json
import sys
from collections.abc import Iterator
from typing import Any

from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
_EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
_ITEM = "msg_68b1f2c0a4b88190a2f2d6e0c1d7e3f4052a9bb01ad44ef1"
_PLACE = {"item_id": _ITEM, "output_index": 0, "content_index": 0}


def text(pieces: int) -> str:
    """Return what an answer in so many pieces says."""
    return "".join(f" word{number}" for number in range(pieces))


@functools.cache
def body(pieces: int) -> bytes:
    """Return the stream of an answer, each event a chunk of HTTP."""
    parts = [_chunk({**event, "sequence_number": number}) for number, event in enumerate(_events(pieces))]
    return b"".join((_HEAD, *parts, b"0\r\n\r\n"))


def _events(pieces: int) -> Iterator[dict[str, Any]]:
    whole = text(pieces)
    yield {"type": "response.created", "response": _response("in_progress", [])}
    yield {"type": "response.in_progress", "response": _response("in_progress", [])}
    yield {"type": "response.output_item.added", "output_index": 0, "item": _message("in_progress", [])}
    yield {"type": "response.content_part.added", **_PLACE, "part": _part("")}
    for number in range(pieces):
        delta = {"delta": f" word{number}", "logprobs": [], "obfuscation": "x" * (16 - len(str(number)))}
        yield {"type": "response.output_text.delta", **_PLACE, **delta}
    yield {"type": "response.output_text.done", **_PLACE, "text": whole, "logprobs": []}
    yield {"type": "response.content_part.done", **_PLACE, "part": _part(whole)}
    item = _message("completed", [_part(whole)])
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": _response("completed", [item], pieces)}


def _part(words: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": words}


def _message(status: str, content: list[Any]) -> dict[str, Any]:
    return {"id": _ITEM, "type": "message", "status": status, "content": content, "role": "assistant"}


def _response(status: str, output: list[Any], tokens: int | None = None) -> dict[str, Any]:
    usage = tokens and {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 100 + tokens,
    }
    return {
        "id": "resp_68b1f2bf9d4c8190b1f9f6a2c3d4e5f6052a9bb01ad44ef1", "object": "response", "created_at": 1788000000,
        "status": status, "background": False, "error": None, "incomplete_details": None, "instructions": "Be kind.",
        "max_output_tokens": None, "metadata": {}, "model": "bench", "output": output, "parallel_tool_calls": True,
        "previous_response_id": None, "reasoning": {"effort": None, "summary": None}, "service_tier": "auto",
        "store": False, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "auto", "usage": usage,
        "user": None,
    }  # fmt: skip


def _chunk(event: dict[str, Any]) -> bytes:
    _EVENTS.validate_python(event)
    data = f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with the stream that its model says."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            asked = json.loads(await reader.readexactly(int(length.split(b":")[1])))
            writer.write(body(int(asked["model"])))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}/v1\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
