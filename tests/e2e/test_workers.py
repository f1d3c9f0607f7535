"""Several server processes on one port: who starts them, replaces them and ends them, and what they show together."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from bench.running import ROOT, RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.aimock import aimock
from tests.emulators.openai_wire import Action, Reply, wire

SLOW = {
    "match": {"userMessage": "slow"},
    "response": {"content": "An answer that takes a while to come, word by word."},
    "latency": 150,
}
TOKEN = {"Authorization": f"Bearer {SETTINGS['METRICS_TOKEN']}"}
ANEW = httpx2.Client(headers={"Connection": "close"}, timeout=30)
"""A connection for each request: any worker may take it."""


@contextmanager
def workers(folder: Path, number: int, settings: dict[str, str]) -> Iterator[RunningServer]:
    """Run so many server processes on one port, all of them serving, with a first account."""
    with running_server(folder, {**SETTINGS, **settings}, ["--workers", str(number)]) as server:
        wait_until(lambda: len(pids(server)) == number)
        with Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
        yield server


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for something that is bound to happen soon."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def metric(server: RunningServer, name: str) -> float:
    """Return the sum of a metric's values; a name may go on with labels."""
    text = ANEW.get(f"{server.url}/metrics", headers=TOKEN).text
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}.* (\S+)$", text, re.MULTILINE))


def pids(server: RunningServer, message: str = "a server process serves") -> list[int]:
    """Return the ids of the processes that the supervisor has said this of."""
    return [json.loads(line)["worker_pid"] for line in list(server.log) if f'"{message}"' in line]


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def exit_codes(server: RunningServer) -> list[int]:
    """Return how the workers have ended so far."""
    return [json.loads(line)["exit_code"] for line in list(server.log) if '"a server process has ended"' in line]


def test_four_workers_begin_with_an_empty_folder(tmp_path: Path) -> None:
    with workers(tmp_path, 4, {}) as server:
        with Api(server.url) as api:
            api.login(ADMIN["email"], ADMIN["password"])
            assistant = api.new_assistant()
            login = {"Authorization": api.headers["Authorization"]}
        said = {"id": "1", "message_service": "test", "message": "hello", "message_id": "m"}
        key = {"X-API-Key": assistant["api_key"]}

        def meet(_: int) -> tuple[str, str]:  # a connection each: whoever takes it knows the secret and the stores
            me = ANEW.get(f"{server.url}/auth/me", headers=login).json()["email"]
            chat = ANEW.post(f"{server.url}/chats/enviarMensagemLLM", json=said, headers=key).json()
            return me, chat["_id"]

        with ThreadPoolExecutor(16) as pool:
            met = set(pool.map(meet, range(48)))
        assert len(met) == 1 and met.pop()[0] == ADMIN["email"]
        started = pids(server)
        assert len(set(started)) == 4
        assert len([line for line in server.log if "Orquestra" in line and " serves " in line]) == 1
        assert len([line for line in server.log if "offline mode" in line]) == 1
        assert server.stop() == 0
        assert exit_codes(server) == [0] * 4
        assert not any(map(is_alive, started))
    assert not (tmp_path / "var" / "metrics").exists() or not list((tmp_path / "var" / "metrics").iterdir())


def test_a_worker_that_is_killed_is_replaced_and_metrics_are_those_of_all(tmp_path: Path) -> None:
    with workers(tmp_path, 3, {"THREADS": "16"}) as server:
        for _ in range(60):
            ANEW.get(f"{server.url}/version")
        counted = 'orquestra_http_requests_total{method="GET",route="/version"'
        wait_until(lambda: metric(server, counted) == 60)  # counted when it has been sent
        assert metric(server, "orquestra_room_size") == 3 * 14
        victim = pids(server)[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim in pids(server, "a server process has ended"))
        for _ in range(20):
            assert ANEW.get(f"{server.url}/version").status_code == 200
        wait_until(lambda: len(pids(server)) == 4)
        assert metric(server, "orquestra_server_processes") == 3
        wait_until(lambda: metric(server, counted) == 80)  # what the dead one has counted stays
        assert metric(server, "orquestra_room_size") == 3 * 14
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"THREADS": "many"}, "THREADS must be a whole number"), ({}, "can be read by others (mode 644)")],
    ids=["before there are workers", "by the first worker"],
)
def test_what_keeps_them_from_starting_is_told_once(settings: dict[str, str], told: str, tmp_path: Path) -> None:
    secret = tmp_path / "var" / "jwt_secret"
    secret.parent.mkdir()
    secret.write_text("x" * 64)
    secret.chmod(0o644)
    env = {"PATH": os.environ["PATH"], "PORT": "0", "WORKERS": "3", "DATA_DIR": str(tmp_path / "var"), **settings}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "main.py")], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert ended.stderr.count("Orquestra stops.") == ended.stderr.count(told) == 1
    assert "serves http" not in ended.stderr


def test_workers_finish_their_answers_when_everybody_is_told_to_end(tmp_path: Path) -> None:
    """A service manager sends SIGTERM to all processes, and the supervisor sends one more to each worker."""
    with aimock([SLOW]) as model, workers(tmp_path, 2, {"OPENAI_BASE_URL": model.base_url}) as server:
        with ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(ask, server, number) for number in range(6)]
            wait_until(lambda: len(model.journal()) == 6)
            for pid in pids(server):
                os.kill(pid, signal.SIGTERM)
            assert server.stop() == 0
            assert {answer.result() for answer in answers} == {"answered"}
        assert exit_codes(server) == [0, 0]


def test_workers_finish_their_answers_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with aimock([SLOW]) as model, workers(tmp_path, 2, {"OPENAI_BASE_URL": model.base_url}) as server:
        with ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(ask, server, number) for number in range(6)]
            wait_until(lambda: len(model.journal()) == 6)
            server.kill()
            assert {answer.result() for answer in answers} == {"answered"}
        wait_until(lambda: not any(map(is_alive, pids(server))))
        with pytest.raises(httpx2.ConnectError):
            ANEW.get(f"{server.url}/healthz")


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    hangs: Reply = [Action.HANG]
    with wire(hangs, hangs) as model, workers(tmp_path, 2, {"OPENAI_BASE_URL": model.base_url}) as server:
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(ask, server, number) for number in range(2)]
            wait_until(lambda: len(model.requests) == 2)
            server.process.terminate()
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(20) == 1
            assert not any(map(is_alive, pids(server)))
            for answer in answers:
                assert isinstance(answer.exception(), httpx2.HTTPError)


def ask(server: RunningServer, number: int) -> str:
    """Send a message in a conversation of its own and return how it ended."""
    with Api(server.url) as api:
        api.login(ADMIN["email"], ADMIN["password"])
        return str(api.say(api.new_assistant(), "a slow question", id=str(number)).json()["status"])
