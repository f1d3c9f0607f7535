"""A supervisor whose workers do nothing but what the file `mode` says when they start.

That is to `serve`, to `die`, to `stall` before they serve, to take `long` to end, or to `hang` when they are to end.

    python -m tests.unit.supervised <folder> <workers>

It writes what happens to standard output. With INHERITED in the environment it is one of the workers.
"""

import logging
import os
import signal
import sys
import time
from pathlib import Path

from serving import listen
from settings import Settings
from supervisor import INHERITED, Supervisor, Tie


def work(folder: Path) -> int:
    """Be a worker."""
    mode = (folder / "mode").read_text()
    tie = Tie(os.environ[INHERITED])
    if mode == "die":
        return 3
    if mode == "stall":
        time.sleep(60)
    if mode == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: finish(1.0 if mode == "long" else 0.0))
    tie.ready()
    while True:
        time.sleep(60)


def finish(seconds: float) -> None:
    """End after so long; a second signal ends it at once, as it ends a real server process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(seconds)
    sys.exit(0)


def supervise(folder: Path, workers: int) -> int:
    """Be the supervisor."""
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s pid=%(worker_pid)s", defaults={"worker_pid": ""}))
    logging.basicConfig(level="INFO", handlers=[lines])
    listener = listen(Settings.from_env({"PORT": "0"}))
    command = [sys.executable, "-m", "tests.unit.supervised", str(folder), str(workers)]
    supervisor = Supervisor(listener, workers, command, os.environ, folder / "metrics", start_seconds=5)
    return supervisor.run(lambda: logging.info("serving"))


if __name__ == "__main__":
    place, number = Path(sys.argv[1]), int(sys.argv[2])
    sys.exit(work(place) if INHERITED in os.environ else supervise(place, number))
