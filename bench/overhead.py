"""`make bench`: what the server adds to a model's own time.

The same load goes straight to a model endpoint with set latency (bench/upstream.py) and through the server that asks
that endpoint: streams, read to their end by the same client. Everything on this machine, on loopback, bounded by
`REQUESTS` a row. The numbers that matter are the ratios and differences between the two ways of the same row.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median, quantiles

import httpx2

from bench.demo import prepare
from bench.running import RunningServer, process_of, running_server

CONCURRENCIES = (1, 16, 64)
REQUESTS = 320
PROMPT = "How many vacation days do I get per year?"
_numbers = count()


@dataclass(frozen=True)
class Row:
    """What one way did under one load; times in milliseconds."""

    per_second: float
    first_p50: float
    first_p99: float
    total_p50: float
    total_p99: float


def main() -> int:
    """Measure and print a table in Markdown."""
    with process_of("bench.upstream") as model, tempfile.TemporaryDirectory(prefix="orquestra-bench-") as folder:
        settings = {"OPENAI_BASE_URL": model, "MESSAGES_PER_MINUTE": "0", "LOG_LEVEL": "WARNING"}
        with running_server(Path(folder), settings) as server, client_of(server.url) as client:
            key = prepare(client, say=lambda line: None)
            idle = resident_mib(server)
            sys.stdout.write(
                "| at once | way | answers/s | first token p50 / p99 ms | whole answer p50 / p99 ms |\n"
                "|---|---|---|---|---|\n"
            )
            for at_once in CONCURRENCIES:
                straight = load(at_once, straight_to(model))
                through = load(at_once, through_us(server.url, key))
                for way, row in (("straight", straight), ("through Orquestra", through)):
                    sys.stdout.write(line(at_once, way, row))
                sys.stdout.write(added(at_once, straight, through))
            sys.stdout.write(f"\nServer memory (RSS): {idle:.0f} MiB before, {resident_mib(server):.0f} MiB after.\n")
    return 0


def load(at_once: int, ask: Callable[[], tuple[float, float]]) -> Row:
    """Ask `REQUESTS` times (fewer when one at a time), so many at once, after a warm-up."""
    requests = REQUESTS if at_once > 1 else 40
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda _: ask(), range(at_once)))
        began = time.perf_counter()
        times = list(pool.map(lambda _: ask(), range(requests)))
        seconds = time.perf_counter() - began
    firsts, totals = zip(*times, strict=True)
    return Row(requests / seconds, median(firsts), percentile(firsts), median(totals), percentile(totals))


def straight_to(model: str) -> Callable[[], tuple[float, float]]:
    """Return a way to ask the model endpoint itself."""
    body = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
    clients = threading.local()

    def ask() -> tuple[float, float]:
        return timed(own(clients), f"{model}/chat/completions", body, {}, b'"content": "word')

    return ask


def through_us(url: str, key: str) -> Callable[[], tuple[float, float]]:
    """Return a way to ask through the channel endpoint, each time in a conversation of its own."""
    clients = threading.local()

    def ask() -> tuple[float, float]:
        body = {"id": f"bench-{next(_numbers)}", "message_service": "bench", "message": PROMPT, "stream": True}
        headers = {"X-API-Key": key}
        return timed(own(clients), f"{url}/chats/enviarMensagemLLM", body, headers, b"event: message")

    return ask


def timed(
    client: httpx2.Client, url: str, body: dict[str, object], headers: dict[str, str], first_token: bytes
) -> tuple[float, float]:
    """Send, read to the end, and return milliseconds to the first token and to the end."""
    began, first, read = time.perf_counter(), 0.0, b""
    with client.stream("POST", url, json=body, headers=headers) as answer:
        answer.raise_for_status()
        for piece in answer.iter_raw():
            if not first:
                read += piece
                first = time.perf_counter() if first_token in read else 0.0
    ended = time.perf_counter()
    if not first:
        raise RuntimeError("an answer without a token")
    return (first - began) * 1000, (ended - began) * 1000


def own(clients: threading.local) -> httpx2.Client:
    """Return the calling thread's client: one connection each, as separate channels would have."""
    if not hasattr(clients, "client"):
        clients.client = httpx2.Client(timeout=120)
    client: httpx2.Client = clients.client
    return client


def client_of(url: str) -> httpx2.Client:
    """Return a client for the preparations."""
    return httpx2.Client(base_url=url, timeout=60)


def resident_mib(server: RunningServer) -> float:
    """Return the server's resident memory in MiB, from /proc."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def percentile(times: tuple[float, ...]) -> float:
    """Return the 99th percentile."""
    return quantiles(times, n=100, method="inclusive")[98]


def line(at_once: int, way: str, row: Row) -> str:
    """Return a row of the table."""
    return (
        f"| {at_once} | {way} | {row.per_second:.1f} | {row.first_p50:.0f} / {row.first_p99:.0f} "
        f"| {row.total_p50:.0f} / {row.total_p99:.0f} |\n"
    )


def added(at_once: int, straight: Row, through: Row) -> str:
    """Return the row that compares the two ways."""
    return (
        f"| {at_once} | *added* | x{through.per_second / straight.per_second:.2f} "
        f"| +{through.first_p50 - straight.first_p50:.0f} / +{through.first_p99 - straight.first_p99:.0f} "
        f"| +{through.total_p50 - straight.total_p50:.0f} / +{through.total_p99 - straight.total_p99:.0f} |\n"
    )


if __name__ == "__main__":
    sys.exit(main())
