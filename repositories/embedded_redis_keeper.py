"""Keep the embedded Valkey alive exactly as long as somebody uses it: a small program, started by `embedded_redis.py`.

    python -I -S embedded_redis_keeper.py <directory> <valkey-server> <socket>

It leaves a keeper in the background and returns when the server answers: exit code 0, or 1 with the reason on
stderr. All decisions rest on flock(2), which the kernel releases when a process dies, however it dies:

    keeper.lock  held by the one keeper; of several that start at once, the others only wait for the server
    server.lock  inherited by Valkey itself, so that two servers never write one append-only file
    users.lock   shared by every process that uses the server; once the keeper gets it for itself, nobody does

When Valkey dies the keeper ends, and the users, who look at keeper.lock, start another one. Standard library only,
without `site`: it starts in some 20 ms and stays below 10 MB.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: this module can be imported there, but not used
    pass

KEEPER_LOCK = "keeper.lock"
SERVER_LOCK = "server.lock"
USERS_LOCK = "users.lock"
READY_WITHIN = 30.0
_STOP_WITHIN = 10.0
_PAUSE = 0.02


def try_lock(file: IO[str]) -> bool:
    """Lock an open file for this holder alone, if nobody holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main(directory: Path, binary: str, socket_path: str) -> int:
    """Start the keeper in the background and report when the server is ready."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _detach()
        _Keeper(directory, binary, socket_path, writer).run()
        return 0
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        report = pipe.read()
    if report != "ready":
        sys.stderr.write(report or "the keeper of the embedded Valkey ended without a word")
        return 1
    return 0


def _detach() -> None:
    """Leave the terminal and the pipes of the starter; stay when a whole group of processes is told to end."""
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


class _Keeper:
    def __init__(self, directory: Path, binary: str, socket_path: str, report: int) -> None:
        self._directory = directory
        self._binary = binary
        self._socket = socket_path
        self._report: int | None = report
        self._unused = False

    def run(self) -> None:
        """Become the keeper, or find that there is one; either way report when the server answers."""
        deadline = time.monotonic() + READY_WITHIN
        with self._lock_file(KEEPER_LOCK) as keeper:
            while not try_lock(keeper):
                if self._answers("PING", "+PONG"):
                    return self._say("ready")
                if time.monotonic() > deadline:
                    return self._say("the server that is running already does not answer")
                time.sleep(_PAUSE)
            self._keep(deadline)

    def _keep(self, deadline: float) -> None:
        """Run the server until it dies or nobody uses it any more."""
        with self._lock_file(SERVER_LOCK) as lock:
            while not try_lock(lock):  # its keeper was killed: nothing would ever stop it
                self._answers("SHUTDOWN", "")
                if time.monotonic() > deadline:
                    return self._say("a server whose keeper was killed does not stop")
                time.sleep(_PAUSE)
            process = self._start(lock)
        threading.Thread(target=self._stop_when_unused, args=[process], daemon=True).start()
        self._say(self._wait_until_ready(process, deadline))
        process.wait()
        if self._unused and Path(self._socket).parent != self._directory:
            shutil.rmtree(Path(self._socket).parent, ignore_errors=True)

    def _start(self, lock: IO[str]) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": self._socket,
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "logfile": str(self._directory / "valkey.log"),
            "loglevel": "warning",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return subprocess.Popen([self._binary, *arguments], pass_fds=[lock.fileno()], stdin=subprocess.DEVNULL)

    def _stop_when_unused(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock_file(USERS_LOCK) as users:
            fcntl.flock(users, fcntl.LOCK_EX)  # from here until the keeper ends, new users wait at this lock
            self._unused = True
            process.terminate()
            try:
                process.wait(_STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
            process.wait()
            threading.Event().wait()  # the end of the process releases the lock, after the main thread has cleaned up

    def _wait_until_ready(self, process: subprocess.Popen[bytes], deadline: float) -> str:
        while not self._answers("PING", "+PONG"):
            if process.poll() is not None:
                return f"it ended with code {process.returncode}"
            if time.monotonic() > deadline:
                return "it does not answer yet"
            time.sleep(_PAUSE)
        return "ready"

    def _answers(self, command: str, expected: str) -> bool:
        """Send one command and tell whether the answer begins as expected."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1)
            try:
                client.connect(self._socket)
                client.sendall(f"{command}\r\n".encode())
                return client.recv(64).startswith(expected.encode())
            except OSError:
                return False

    def _lock_file(self, name: str) -> IO[str]:
        return open(self._directory / name, "a", encoding="utf-8")

    def _say(self, report: str) -> None:
        if self._report is not None:
            os.write(self._report, report.encode())
            os.close(self._report)
            self._report = None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
