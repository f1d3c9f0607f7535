"""`python -m bench.doors`: what the OpenAI door costs, beside a LiteLLM proxy with one worker in the same run.

The same client (bench/door_client.py) asks the same models (bench/door_upstream.py, a process of its own) straight,
through Orquestra and through LiteLLM, by turns. Orquestra is one process that stores every turn (SQLite, or MongoDB
where `MONGODB_URI` is set) in a thread of its own; LiteLLM stores nothing. Answers come whole; in 50 pieces as fast as
they can be sent; and in 50 pieces with a pause between them, as of a model that writes. All of it is on one machine,
so the ratios are what carries over. `python -m bench.doors stress` holds a growing number of clients against a model
that takes 1.29 s for an answer: the rate that comes of it beside the rate that would be ideal.
"""

import contextlib
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import httpx2

from bench.door_client import Measured, Target, load
from bench.door_upstream import PIECES, model
from bench.litellm_proxy import KEY, litellm_proxy
from bench.running import process_of, running_server

ROUNDS = 5
"""Loads of each way, by turns with the others; the medians count."""
OURS, THEIRS, STRAIGHT = "Orquestra", "LiteLLM", "straight"
PAUSE = 0.01
AT_ONCE = (1, 50)
STRESS = (1, 5, 10, 20, 50, 200)
STRESS_SECONDS = 1.29
STRESS_TURNS = 12
"""Requests of each client, one after the other."""
STRESS_THREADS = 256
"""One thread in eight stays free for everything but answers, so 200 answers at once need 229."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Kind:
    """What is asked for, and how often in a load of one, and of many at once."""

    name: str
    model: str
    stream: bool
    requests: tuple[int, int]


KINDS = (
    Kind("whole", model(), False, (40, 300)),
    Kind(f"{PIECES} pieces", model(), True, (30, 200)),
    Kind(f"{PIECES} pieces, {PAUSE * 1000:.0f} ms apart", model(0, PAUSE), True, (4, 200)),
)


@dataclass(frozen=True)
class Way:
    """A way to the models.

    Attributes:
        folder: the working directory of its processes; None when their time is of no interest.
    """

    name: str
    target: Callable[[str], Target]
    folder: Path | None = None

    def cpu_seconds(self) -> float:
        """Return the CPU time of its processes so far, embedded stores among them."""
        return sum(_cpu_seconds(process) for process in Path("/proc").iterdir() if self._runs(process))

    def _runs(self, process: Path) -> bool:
        with contextlib.suppress(OSError):
            return self.folder is not None and (process / "cwd").resolve().is_relative_to(self.folder.resolve())
        return False


@dataclass(frozen=True)
class Row:
    """The medians of a way's loads: answers a second, milliseconds to the first token, CPU milliseconds an answer."""

    per_second: float
    first_p50: float
    first_p95: float
    cpu_ms: float


def main(arguments: Sequence[str] = ()) -> int:
    """Measure and print a table in Markdown."""
    with process_of("bench.door_upstream") as upstream:
        if "stress" in arguments:
            _stress(upstream)
        else:
            _compare(upstream)
    return 0


def _compare(upstream: str) -> None:
    models = sorted({kind.model for kind in KINDS})
    with _ours(upstream, models) as ours, litellm_proxy(upstream, models) as proxy:
        theirs = Way(THEIRS, lambda name: Target(proxy.base_url, KEY, name), proxy.folder)
        ways = (_straight(upstream), ours, theirs)
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("flask", "waitress", "openai"))
        _say(f"LiteLLM {proxy.version}; Python {platform.python_version()}, {versions}; {os.cpu_count()} cores.\n")
        _say("| answers | at once | way | answers/s | first token p50 / p95 ms | CPU ms an answer | of LiteLLM's |")
        _say("|---|---|---|---|---|---|---|")
        for kind in KINDS:
            for at_once in AT_ONCE:
                rows = _measured(ways, kind, at_once)
                for name, row in rows.items():
                    _say(_line(kind, at_once, name, row, rows[THEIRS]))


def _stress(upstream: str) -> None:
    """Print the table of system 003's stress test."""
    slow = model(STRESS_SECONDS)
    with _ours(upstream, [slow], THREADS=str(STRESS_THREADS)) as ours:
        _say(f"A model that takes {STRESS_SECONDS} s; THREADS={STRESS_THREADS}.\n")
        _say("| at once | answers/s | ideal | share | straight | answer p50 / p95 ms |\n|---|---|---|---|---|---|")
        for at_once in STRESS:
            straight, through = (
                load(way.target(slow), at_once, at_once * STRESS_TURNS, stream=False, ramp=STRESS_SECONDS)
                for way in (_straight(upstream), ours)
            )
            ideal = at_once / STRESS_SECONDS
            shares = " | ".join(f"{one.per_second / ideal:.1%}" for one in (through, straight))
            times = f"{through.percentile(50):.0f} / {through.percentile(95):.0f}"
            _say(f"| {at_once} | {through.per_second:.2f} | {ideal:.2f} | {shares} | {times} |")


def _measured(ways: Sequence[Way], kind: Kind, at_once: int) -> Mapping[str, Row]:
    """Return each way's row; a round before the first warms up."""
    requests = kind.requests[at_once > 1]
    rows: dict[str, list[Row]] = {way.name: [] for way in ways}
    for way in ways:
        load(way.target(kind.model), at_once, at_once, stream=kind.stream)
    for _ in range(ROUNDS):
        for way in ways:
            before = way.cpu_seconds()
            done = load(way.target(kind.model), at_once, requests, stream=kind.stream)
            rows[way.name].append(_row(done, (way.cpu_seconds() - before) * 1000 / requests))
    return {name: _median(measured) for name, measured in rows.items()}


def _row(done: Measured, cpu_ms: float) -> Row:
    return Row(done.per_second, done.percentile(50), done.percentile(95), cpu_ms)


def _median(rows: Sequence[Row]) -> Row:
    names = ("per_second", "first_p50", "first_p95", "cpu_ms")
    return replace(rows[0], **{name: median(getattr(row, name) for row in rows) for name in names})


def _straight(upstream: str) -> Way:
    return Way(STRAIGHT, lambda name: Target(upstream, "none", name))


@contextlib.contextmanager
def _ours(upstream: str, models: Sequence[str], **settings: str) -> Iterator[Way]:
    """Run a server with an assistant for each model."""
    settings = {"OPENAI_BASE_URL": upstream, "MESSAGES_PER_MINUTE": "0", "LOG_LEVEL": "WARNING", **settings}
    settings |= {name: os.environ[name] for name in ("MONGODB_URI", "MONGODB_DATABASE") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="bench-orquestra-") as folder:
        with running_server(Path(folder), settings) as server:
            with httpx2.Client(base_url=server.url, timeout=60) as client:
                keys = {name: _assistant(client, name) for name in models}
            yield Way(OURS, lambda name: Target(f"{server.url}/v1", keys[name], name), Path(folder))


def _assistant(client: httpx2.Client, name: str) -> str:
    """Return the key of a new assistant that answers with this model."""
    admin = {"name": "Bench", "email": "bench@example.com", "password": "bench-password"}
    client.post("/auth/register", json=admin)
    login = client.post("/auth/login", json={"email": admin["email"], "password": admin["password"]})
    client.headers["Authorization"] = f"Bearer {login.raise_for_status().json()['token']}"
    assistant = client.post("/assistants/add", json={"name": name}).raise_for_status().json()
    client.put(f"/assistants/update/{assistant['_id']}", json={"model": name}).raise_for_status()
    return str(assistant["api_key"])


def _cpu_seconds(process: Path) -> float:
    with contextlib.suppress(OSError):
        user, system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS
    return 0.0


def _line(kind: Kind, at_once: int, name: str, row: Row, theirs: Row) -> str:
    cpu = "" if name == STRAIGHT else f"{row.cpu_ms:.1f}"
    return (
        f"| {kind.name} | {at_once} | {name} | {row.per_second:.1f} | {row.first_p50:.0f} / {row.first_p95:.0f} "
        f"| {cpu} | x{row.per_second / theirs.per_second:.1f} |"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
