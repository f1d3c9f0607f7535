"""An MCP server that writes down what becomes of its calls: started by tests, as a program of its own."""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import anyio
from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp_types import METHOD_NOT_FOUND

_SLEEP = 60.0


def main() -> None:
    """Serve; the first argument is the file to write to, one line an event."""
    parser = argparse.ArgumentParser()
    parser.add_argument("record", type=Path)
    parser.add_argument("--old", action="store_true", help="speak MCP of 2025")
    parser.add_argument("--http", type=int)
    parser.add_argument("--sse", type=int)
    chosen = parser.parse_args()
    server = _server(chosen.record, old=chosen.old)
    if chosen.http is not None:
        server.run("streamable-http", host="127.0.0.1", port=chosen.http)
    elif chosen.sse is not None:
        server.run("sse", host="127.0.0.1", port=chosen.sse)
    else:
        server.run("stdio")


def _server(record: Path, *, old: bool) -> MCPServer:
    notes = _Notes(record)
    server = MCPServer("recorder", log_level="CRITICAL", middleware=[notes.watch, *([_of_2025] if old else [])])
    notes.add(f"started {os.getpid()}")
    for tool in (notes.sleep, notes.say, notes.freeze, notes.die, environment):
        server.add_tool(tool, structured_output=False)

    @server.tool(structured_output=False)
    async def learn(name: str, context: Context) -> str:
        """Offer one more tool, and say so in the way of the time."""
        server.add_tool(lambda: name, name=name, description="A new one.", structured_output=False)
        if old:
            await context.request_context.session.send_tool_list_changed()
        else:
            await context.notify_tools_changed()
        return name

    return server


class _Notes:
    """The file, and the tools that write into it."""

    def __init__(self, record: Path) -> None:
        self._record = record

    def add(self, event: str) -> None:
        with self._record.open("a", encoding="utf-8") as file:
            file.write(f"{event}\n")

    async def watch(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Note each list of tools that is asked for."""
        if ctx.method == "tools/list":
            self.add("listed")
        return await call_next(ctx)

    async def sleep(self, name: str) -> str:
        """Sleep for a minute, unless cancelled."""
        self.add(f"begun {name}")
        try:
            await anyio.sleep(_SLEEP)
        except anyio.get_cancelled_exc_class():
            self.add(f"cancelled {name}")
            raise
        return name

    def say(self, text: str, times: int) -> str:
        """Return a text so many times."""
        self.add("said")
        return text * times

    async def freeze(self) -> str:
        """Answer nothing and read nothing from now on."""
        self.add("frozen")
        time.sleep(_SLEEP)
        return "thawed"

    def die(self) -> str:
        """End the process at once."""
        self.add("dying")
        os._exit(1)


def environment() -> str:
    """Return the names and values of all variables."""
    return "\n".join(f"{name}={value}" for name, value in sorted(os.environ.items()))


async def _of_2025(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    if ctx.method == "server/discover":
        raise MCPError(METHOD_NOT_FOUND, "Method not found")
    return await call_next(ctx)


if __name__ == "__main__":
    main()
