"""MCP servers that are programs on this machine: started by us, spoken to over their standard input and output.

The `mcp` package has this transport too, but reads lines of any length, and lets what programs say on standard error
into our own. https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio
"""

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from models.tools import ToolServer
from services.providers.mcp_faults import ENDED, TOO_LARGE, Fault
from services.providers.mcp_http import LARGEST_MESSAGE

logger = logging.getLogger("orquestra.tools")

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]

_EXIT_SECONDS = 2.0
_POLL_SECONDS = 0.01
_LOGGED_BYTES = 500
_LOGGED_LINES = 100
_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)


@contextlib.asynccontextmanager
async def stdio_transport(server: ToolServer, lost: Callable[[Fault], None]) -> AsyncGenerator[Streams]:
    """Start a program, give the streams that MCP's client wants, and end the program with all that it started.

    It gets a few harmless variables of our environment, and those of its own. Its standard input ends when this
    process does, whatever ends it.

    Args:
        lost: called when the program ends or says more at once than is read.

    Raises:
        OSError: it cannot be started.
    """
    process = await anyio.open_process(
        [server.command, *server.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=get_default_environment() | dict(server.env),
        start_new_session=True,
    )
    incoming, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write_stream, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as tasks:
        try:
            tasks.start_soon(_read, process, incoming, lost)
            tasks.start_soon(_write, process, outgoing, lost)
            tasks.start_soon(_log, process, server.name)
            yield read_stream, write_stream
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
                for stream in (incoming, read_stream, write_stream, outgoing):
                    stream.close()
            tasks.cancel_scope.cancel()


async def _read(
    process: Process, incoming: MemoryObjectSendStream[SessionMessage | Exception], lost: Callable[[Fault], None]
) -> None:
    """Hand messages on, one a line; lines that are none are dropped, many programs print greetings."""
    lines, fault = BufferedByteReceiveStream(_output(process)), ENDED
    async with incoming:
        try:
            while True:
                line = await lines.receive_until(b"\n", LARGEST_MESSAGE)
                with contextlib.suppress(ValueError):
                    await incoming.send(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))
        except anyio.DelimiterNotFound:
            fault = TOO_LARGE
        except _GONE:
            pass
    lost(fault)


async def _write(
    process: Process, outgoing: MemoryObjectReceiveStream[SessionMessage], lost: Callable[[Fault], None]
) -> None:
    assert process.stdin is not None
    try:
        async with outgoing:
            async for message in outgoing:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(text.encode() + b"\n")
    except _GONE:
        lost(ENDED)


async def _log(process: Process, name: str) -> None:
    """Write the first lines that a program says about itself, cut, for who has set LOG_LEVEL=DEBUG; drop the others."""
    assert process.stderr is not None
    lines = BufferedByteReceiveStream(process.stderr)
    with contextlib.suppress(*_GONE, anyio.DelimiterNotFound):
        for _ in range(_LOGGED_LINES):
            line = await lines.receive_until(b"\n", _LOGGED_BYTES)
            logger.debug("a tool server says", extra={"server": name, "line": line.decode(errors="replace")})
    with contextlib.suppress(*_GONE):
        while True:
            await process.stderr.receive()


def _output(process: Process) -> ByteReceiveStream:
    assert process.stdout is not None
    return process.stdout


async def _end(process: Process) -> None:
    """End a program as MCP's specification says, then kill what is left of its process group."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.aclose()
    if not await _has_ended(process):
        _signal(process, signal.SIGTERM)
        await _has_ended(process)
    _signal(process, signal.SIGKILL)
    await process.aclose()


async def _has_ended(process: Process) -> bool:
    with anyio.move_on_after(_EXIT_SECONDS):
        while process.returncode is None:
            await anyio.sleep(_POLL_SECONDS)
    return process.returncode is not None


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
