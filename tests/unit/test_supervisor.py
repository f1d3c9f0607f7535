"""The supervisor's rules, with workers that do nothing: who is started again, when it gives up, how it ends."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Supervised:
    """A running supervisor, and the lines it has written."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, text: str, times: int = 1) -> list[int]:
        """Wait until so many lines hold the text; return the process ids in them."""

        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        with self.news:
            assert self.news.wait_for(lambda: len(found()) >= times, 30), self.lines
            return [int(pid) for line in found() for pid in re.findall(r"pid=(\d+)", line)]

    def follow(self) -> None:
        """Collect the lines."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line)
                self.news.notify_all()


@contextmanager
def supervised(folder: Path, workers: int, mode: str = "serve") -> Iterator[Supervised]:
    """Run a supervisor whose workers do as `mode` says."""
    (folder / "mode").write_text(mode)
    command = [sys.executable, "-m", "tests.unit.supervised", str(folder), str(workers)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        running = Supervised(process, folder)
        reader = threading.Thread(target=running.follow)
        reader.start()
        try:
            yield running
        finally:
            process.kill()
            reader.join()


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_dies_has_a_successor_at_once_and_later_ones_after_pauses(tmp_path: Path) -> None:
    with supervised(tmp_path, 2) as running:
        first, _ = running.wait_for("process serves", 2)
        os.kill(first, signal.SIGKILL)
        running.wait_for("died")
        third = running.wait_for("was started", 3)[2]
        assert third != first
        running.process.terminate()
        assert running.process.wait(30) == 0
        assert not any(map(is_alive, running.wait_for("was started")))


def test_it_stops_at_once_when_the_first_worker_cannot_start(tmp_path: Path) -> None:
    with supervised(tmp_path, 4, "die") as running:
        assert running.process.wait(30) == 3
        assert len(running.wait_for("was started")) == 1
        running.wait_for("no server process can serve")


def test_it_gives_up_when_no_worker_can_start_any_more(tmp_path: Path) -> None:
    with supervised(tmp_path, 2) as running:
        pids = running.wait_for("process serves", 2)
        (tmp_path / "mode").write_text("die")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert running.process.wait(60) == 3
        assert 5 <= len(running.wait_for("has ended", 5)) <= 8
        running.wait_for("no server process can serve")


def test_new_workers_come_before_the_old_ones_go(tmp_path: Path) -> None:
    with supervised(tmp_path, 2) as running:
        old = running.wait_for("process serves", 2)
        running.process.send_signal(signal.SIGHUP)
        gone = running.wait_for("has ended", 2)
        assert sorted(gone) == sorted(old)
        new = running.wait_for("process serves", 4)[2:]
        assert all(map(is_alive, new))
        order = [line.partition(" pid")[0] for line in running.lines if "was started" in line or "has ended" in line]
        started, ended = "a server process was started", "a server process has ended"
        assert order == [started, started, started, ended, started, ended]
        running.process.terminate()
        assert running.process.wait(30) == 0


def test_new_workers_that_cannot_start_leave_the_old_ones_alone(tmp_path: Path) -> None:
    with supervised(tmp_path, 2) as running:
        old = running.wait_for("process serves", 2)
        (tmp_path / "mode").write_text("die")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("the old ones go on")
        assert all(map(is_alive, old))
        running.process.terminate()
        assert running.process.wait(30) == 0
        assert len(running.wait_for("was started")) == 3


def test_a_new_worker_that_does_not_come_up_is_killed_and_the_old_ones_go_on(tmp_path: Path) -> None:
    with supervised(tmp_path, 1) as running:
        (old,) = running.wait_for("process serves")
        (tmp_path / "mode").write_text("stall")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("does not serve, and is killed")
        running.wait_for("could not start; the old ones go on")
        assert is_alive(old)
        (tmp_path / "mode").write_text("serve")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("process serves", 2)
        running.process.terminate()
        assert running.process.wait(30) == 0


def test_an_end_in_the_middle_of_an_exchange_lets_the_old_worker_finish(tmp_path: Path) -> None:
    with supervised(tmp_path, 1, "long") as running:
        running.wait_for("process serves")
        (tmp_path / "mode").write_text("serve")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("process serves", 2)
        running.process.terminate()
        assert running.process.wait(30) == 0


def test_a_second_signal_ends_workers_that_do_not_listen(tmp_path: Path) -> None:
    with supervised(tmp_path, 2, "hang") as running:
        pids = running.wait_for("process serves", 2)
        running.process.terminate()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 1
        assert not any(map(is_alive, pids))


def test_workers_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, 2) as running:
        pids = running.wait_for("process serves", 2)
        running.process.kill()
        running.process.wait()
        for pid in pids:
            wait_until_gone(pid)


def wait_until_gone(pid: int) -> None:
    """Wait for the end of somebody else's process."""
    ended = threading.Event()
    for _ in range(600):
        if not is_alive(pid):
            return
        ended.wait(0.05)
    raise AssertionError(f"{pid} is still there")
