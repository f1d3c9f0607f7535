"""Start MCP servers, of others and of ours, on the loopback address or as programs.

`mcp-server-time` and `mcp-proxy`, which puts it on HTTP, come from PyPI, each into an environment of its own in
`MCP_SERVERS_VENVS` (default `~/.cache/orquestra`), which `python -m tests.emulators.mcp_servers` makes: the proxy wants
the `mcp` package of 2025, and so speaks as servers did then.
`@modelcontextprotocol/server-everything` comes from npm with the other emulators. Without them tests are skipped.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.tools import ToolServer, Transport
from tests.emulators.node import node
from tests.servers import free_port, missing

_FOLDER = Path(__file__).parent
_PROJECT = _FOLDER.parent.parent
_EVERYTHING = _FOLDER / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
_LOOPBACK = _FOLDER / "loopback.cjs"
_SUPPORT_DESK = _PROJECT / "assets" / "samples" / "support_desk" / "server.py"
_RECORDER = _FOLDER / "mcp_recorder.py"
_ENVIRONMENTS = Path(os.environ.get("MCP_SERVERS_VENVS") or Path.home() / ".cache" / "orquestra")
_TIME = _ENVIRONMENTS / "mcp-time" / "bin" / "mcp-server-time"
_PROXY = _ENVIRONMENTS / "mcp-proxy" / "bin" / "mcp-proxy"
_PACKAGES = {_TIME: ("mcp-server-time==2026.10.19",), _PROXY: ("mcp-proxy==0.13.0", "mcp==1.30.0")}
_START_SECONDS = 30.0

Command = tuple[list[str], Mapping[str, str]]
"""A program with its arguments, and the variables that it needs besides."""


@dataclass
class McpServer:
    """A server that can be reached, killed and started again at the same address; a program's host starts it.

    Attributes:
        server: how it is connected to; `trusted`, because it is on the loopback address.
    """

    server: ToolServer
    command: Command
    port: int = 0
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Return the id of the process that listens, or of the program that our host has started."""
        if self.server.transport is Transport.STDIO:
            return next(iter(children_running(self.command[0])))
        return self._processes[-1].pid

    def start(self) -> None:
        """Start it and wait until it takes connections; a program is started by whoever uses it."""
        if self.server.transport is Transport.STDIO:
            return
        command, env = self.command
        self._processes.append(
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**_environment(), **env}, start_new_session=True,
            )
        )  # fmt: skip
        _wait(self._processes[-1], self.port)

    def kill(self) -> None:
        """Kill it, with what it has started."""
        os.killpg(self.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


Start = Callable[[Transport], contextlib.AbstractContextManager[McpServer]]


@contextlib.contextmanager
def everything(transport: Transport) -> Iterator[McpServer]:
    """Run `@modelcontextprotocol/server-everything`, MCP's own test server."""
    if not _EVERYTHING.is_file():
        missing("server-everything is not installed: run `npm ci --ignore-scripts` in tests/emulators")
    names = {Transport.STDIO: "stdio", Transport.SSE: "sse", Transport.STREAMABLE_HTTP: "streamableHttp"}
    port = free_port()
    command = [node(), "--require", str(_LOOPBACK), str(_EVERYTHING), names[transport]]
    with _run("everything", transport, port, (command, {"PORT": str(port)})) as running:
        yield running


@contextlib.contextmanager
def time_server(transport: Transport) -> Iterator[McpServer]:
    """Run `mcp-server-time`; it is a program, and `mcp-proxy` puts it on HTTP."""
    if not all(program.is_file() for program in _PACKAGES):
        missing("mcp-server-time is not installed: run `.venv/bin/python -m tests.emulators.mcp_servers`")
    port, command = free_port(), [str(_TIME), "--local-timezone", "UTC"]
    if transport is not Transport.STDIO:
        command = [str(_PROXY), "--host", "127.0.0.1", "--port", str(port), "--", *command]
    with _run("time", transport, port, (command, {})) as running:
        yield running


@contextlib.contextmanager
def support_desk(transport: Transport) -> Iterator[McpServer]:
    """Run the sample of ours."""
    with _run_python("support_desk", transport, _SUPPORT_DESK, []) as running:
        yield running


@contextlib.contextmanager
def recorder(transport: Transport, record: Path, *, old: bool = False) -> Iterator[McpServer]:
    """Run mcp_recorder.py, which writes what happens to its calls into a file.

    Args:
        old: it speaks as servers did before MCP of 2026.
    """
    with _run_python("recorder", transport, _RECORDER, [str(record), *(["--old"] if old else [])]) as running:
        yield running


def listening_addresses(pid: int) -> set[str]:
    """Return the addresses on which a process listens, in the kernel's own tables; of IPv6 only that there are some."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(fd).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:  # 0A: LISTEN
                address = fields[1].partition(":")[0]
                found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]) if table == "tcp" else "IPv6")
    return found


def children_running(command: list[str]) -> set[int]:
    """Return the ids of this process's children, and theirs, that run a command."""
    wanted = "\0".join(command).encode()
    return {pid for pid in descendants(os.getpid()) if wanted in _command_line(pid)}


def descendants(pid: int) -> set[int]:
    """Return the ids of a process's children and theirs, also of those that nobody has waited for."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                found |= {int(child), *descendants(int(child))}
    return found


def install() -> None:
    """Make the environments, as far as they are not there."""
    for program, packages in _PACKAGES.items():
        if not program.is_file():
            subprocess.run([sys.executable, "-m", "venv", str(program.parent.parent)], check=True)
            pip = [str(program.parent / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *packages], check=True)


def _run_python(
    name: str, transport: Transport, program: Path, arguments: list[str]
) -> contextlib.AbstractContextManager[McpServer]:
    port = free_port()
    place = {
        Transport.STDIO: [],
        Transport.SSE: ["--sse", str(port)],
        Transport.STREAMABLE_HTTP: ["--http", str(port)],
    }
    return _run(name, transport, port, ([sys.executable, str(program), *arguments, *place[transport]], {}))


@contextlib.contextmanager
def _run(name: str, transport: Transport, port: int, command: Command) -> Iterator[McpServer]:
    if transport is Transport.STDIO:
        program, *args = command[0]
        server = ToolServer(name, transport, command=program, args=tuple(args), trusted=True)
    else:
        path = "sse" if transport is Transport.SSE else "mcp"
        server = ToolServer(name, transport, url=f"http://127.0.0.1:{port}/{path}", trusted=True)
    running = McpServer(server, command, port)
    try:
        running.start()
        yield running
    finally:
        running.close()


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    raise RuntimeError("an MCP server did not start")


if __name__ == "__main__":
    install()
