"""A real server process, started as the README says, for the demo, the measurements and the end-to-end tests."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_SERVES = re.compile(r"serves (http://\S+)|works on (jobs)")
_START_SECONDS = 60.0


@contextmanager
def process_of(module: str) -> Iterator[str]:
    """Run a module in a process of its own and give its first line, its address; it ends with its standard input."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


@dataclass
class RunningServer:
    """A server that answers at `url`.

    Attributes:
        log: everything it has written to standard error so far.
    """

    url: str
    process: subprocess.Popen[str]
    log: list[str]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 40.0) -> int:
        """End it as an operator does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def running_server(
    folder: Path, env: Mapping[str, str] | None = None, command: Sequence[str] = ()
) -> Iterator[RunningServer]:
    """Start `python main.py` on a free port with its data in `folder`, and stop it at the end.

    Args:
        env: settings besides; of the machine's environment only what programs need to run is passed on.
        command: what follows `main.py`, such as `worker`, which has no address.

    Raises:
        RuntimeError: it did not start; the message holds its log.
    """
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR"}}
    settings = {"PORT": "0", "DATA_DIR": str(folder / "var"), "DOCUMENTS_URL": str(folder / "documents")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *command],
        cwd=folder,
        env={**kept, **settings, **(env or {})},
        stderr=subprocess.PIPE,
        text=True,
    )
    server = RunningServer("", process, [])
    ready = threading.Event()
    reader = threading.Thread(target=_follow, args=(server, ready), daemon=True)
    reader.start()
    try:
        if not ready.wait(_START_SECONDS) or not server.url:
            raise RuntimeError("the server did not start:\n" + "".join(server.log))
        yield server
    finally:
        if process.poll() is None:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                server.kill()
        reader.join(5)
        if process.stderr is not None:
            process.stderr.close()


def _follow(server: RunningServer, ready: threading.Event) -> None:
    """Collect the log, and tell when the address is known or the process has ended."""
    if server.process.stderr is None:
        return
    for line in server.process.stderr:
        server.log.append(line)
        found = _SERVES.search(line)
        if found and not server.url:
            server.url = found.group(1) or found.group(2)
            ready.set()
    ready.set()
