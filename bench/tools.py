"""`python -m bench.tools`: what calls of MCP tools cost this server, by transport.

The servers are the tests': `@modelcontextprotocol/server-everything` (MCP of 2025) and our sample support desk (MCP of
2026), each a process of its own on this machine. Each way is measured from its threads: opening a session and listing
its tools, then calls one after the other, then from 50 threads at once. CPU time is this process's alone.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

from models.deadline import Deadline
from models.tools import ToolServer, Transport
from services.providers.mcp_tools import McpToolHost
from tests.emulators.mcp_servers import Start, everything, support_desk

OPENINGS = 9
CALLS = 1000
THREADS = 50
_SECONDS = 30.0

Tool = tuple[str, Mapping[str, object]]


def main() -> int:
    """Measure and print a table in Markdown."""
    print("| server | transport | open and list, ms (CPU) | a call, ms (CPU) | 50 threads: calls/s |")
    print("|---|---|---|---|---|")
    ways: tuple[tuple[str, Start, Tool], ...] = (
        ("server-everything", everything, ("echo", {"message": "hi"})),
        ("support_desk", support_desk, ("get_customer_info", {"customer_id": "C001"})),
    )
    for name, start, tool in ways:
        for transport in Transport:
            with start(transport) as running:
                print(f"| {name} | {transport} | {_measured(running.server, tool)} |")
    return 0


def _measured(server: ToolServer, tool: Tool) -> str:
    def call(host: McpToolHost, times: int) -> None:
        for _ in range(times):
            output = host.call(server, tool[0], tool[1], _SECONDS, Deadline(_SECONDS))
            assert not output.failed, output.text

    openings = []
    for _ in range(OPENINGS):
        with contextlib.closing(McpToolHost()) as fresh:
            openings.append(_timed(partial(fresh.tools, server, Deadline(_SECONDS))))
    with contextlib.closing(McpToolHost()) as host, ThreadPoolExecutor(THREADS) as threads:
        host.tools(server, Deadline(_SECONDS))
        wall, cpu = _timed(partial(call, host, CALLS))
        together, _ = _timed(lambda: list(threads.map(partial(call, host), [CALLS // THREADS] * THREADS)))
    opened = f"{median(one[0] for one in openings):.0f} ({median(one[1] for one in openings):.0f})"
    return f"{opened} | {wall / CALLS:.2f} ({cpu / CALLS:.2f}) | {CALLS / together * 1000:.0f}"


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return how many milliseconds something takes, and how many of CPU time."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - began) * 1000, (time.process_time() - used) * 1000


if __name__ == "__main__":
    sys.exit(main())
