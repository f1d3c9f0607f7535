"""`python -m bench.retrieval_server`: how soon does a server find passages among many, asked over HTTP?

A real server with its embedded stores gets the corpus of `bench.retrieval` put into its store while it runs, as another
process would do. Then questions go to `POST /documents/search` and to the channel endpoint, whose answers tell what
retrieval took within the server; the offline model answers, so that nothing else weighs.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from bench.corpus import LANGUAGES, Corpus, corpus, missing_packages
from bench.engines import LIMIT, percentile
from bench.overhead import own, resident_mib
from bench.questions import Item, Question, Vocabulary, questions
from bench.retrieval import DEFAULT_CORPUS, SEED
from bench.running import RunningServer, running_server
from bench.stored import add, opened_store

_EACH = 25  # questions of a kind in a language
_CLIENTS = (1, 8)
_CHATS = 120
_UPLOADS = 5
_UPLOADED = 50  # sections of an uploaded file, each a passage
_SETTINGS = {"MESSAGES_PER_MINUTE": "0", "LOG_LEVEL": "WARNING"}
_HEAD = "| clients | asked | per second | p50 / p95 / p99 ms |\n|---|---|---|---|\n"
_numbers = count()


@dataclass(frozen=True)
class _House:
    """A server with an assistant."""

    server: RunningServer
    client: httpx2.Client
    assistant_id: str
    key: str


def main() -> int:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval_server", description="Measure search over HTTP.")
    parser.add_argument("--passages", type=int, default=20_000, help="how many; default 20000")
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS, help="where the text that was read is kept")
    asked = parser.parse_args()
    if missing_packages():
        sys.stderr.write(f"Install what the text comes from: apt-get install {' '.join(missing_packages())}\n")
        return 1
    source = corpus(asked.corpus)
    with (
        tempfile.TemporaryDirectory(prefix="orquestra-bench-") as folder,
        running_server(Path(folder), _SETTINGS) as server,
        httpx2.Client(base_url=server.url, timeout=300) as client,
    ):
        house = _prepare(server, client)
        before = resident_mib(server)
        chosen = _fill(house, Path(folder) / "var", source, asked.passages)
        began = time.perf_counter()
        _search(house, chosen[0])
        seconds = time.perf_counter() - began
        sys.stdout.write(f"First search after {asked.passages:,} passages came: {seconds:.1f} s\n\n")
        _measure(house, chosen)
        sys.stdout.write("\n" + _uploads(house))
        after = resident_mib(server)
        sys.stdout.write(f"Server memory (RSS): {before:.0f} MiB before, {after:.0f} MiB after.\n")
    return 0


def _prepare(server: RunningServer, client: httpx2.Client) -> _House:
    """Register an admin and create an assistant."""
    admin = {"name": "Bench", "email": "bench@example.com", "password": "bench-password"}
    client.post("/auth/register", json=admin).raise_for_status()
    login = client.post("/auth/login", json={"email": admin["email"], "password": admin["password"]})
    client.headers["Authorization"] = f"Bearer {login.raise_for_status().json()['token']}"
    assistant = client.post("/assistants/add", json={"name": "Bench"}).raise_for_status().json()
    return _House(server, client, str(assistant["_id"]), str(assistant["api_key"]))


def _fill(house: _House, data: Path, source: Corpus, passages: int) -> list[Question]:
    """Put the corpus into the running server's store, and return questions about it."""
    items: list[Item] = []
    with opened_store(data) as stores:
        for number, document in enumerate(source.select(passages)):
            add(stores, house.assistant_id, f"{number:06}-{document.name}", document)
            if document.language in LANGUAGES:
                texts = (text for _, text in document.passages)
                items.extend(Item(document.language, text, " ".join(text.lower().split())) for text in texts)
        stores[2].bump_index_version(house.assistant_id)
    return questions(items, Vocabulary(item.text for item in items), _EACH, SEED)


def _measure(house: _House, chosen: Sequence[Question]) -> None:
    """Print what searches and chats take, with one client and with several."""
    sys.stdout.write(_HEAD)
    for clients in _CLIENTS:
        times, per_second, found = _asked(clients, chosen, lambda question: _search(house, question))
        recall = sum(found) / len(found)
        sys.stdout.write(_row(clients, f"`/documents/search`, recall@{LIMIT} {recall:.3f}", per_second, times))
    for clients in _CLIENTS:
        some = list(islice(cycle(chosen), _CHATS))
        times, per_second, within = _asked(clients, some, lambda question: _chat(house, question))
        sys.stdout.write(_row(clients, "a whole chat", per_second, times))
        sys.stdout.write(_row(clients, "of it `timings.retrieval_ms`", per_second, within))


def _asked(
    clients: int, chosen: Sequence[Question], ask: Callable[[Question], float]
) -> tuple[Sequence[float], float, Sequence[float]]:
    """Return each question's milliseconds, how many a second were answered, and what the answers told."""

    def timed(question: Question) -> tuple[float, float]:
        began = time.perf_counter()
        told = ask(question)
        return (time.perf_counter() - began) * 1000, told

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(timed, chosen[: 2 * clients]))
        began = time.perf_counter()
        outcome = list(pool.map(timed, chosen))
        seconds = time.perf_counter() - began
    times, told = zip(*outcome, strict=True)
    return times, len(times) / seconds, told


_clients = threading.local()


def _search(house: _House, question: Question) -> float:
    """Search, and tell whether the passage was found."""
    body = {"assistant_id": house.assistant_id, "query": question.text, "limit": LIMIT}
    found = _posted(house, "/documents/search", body, {"Authorization": house.client.headers["Authorization"]})
    return float(any(passage["passage"] == question.target for passage in found))


def _chat(house: _House, question: Question) -> float:
    """Ask as a channel would, and return what retrieval took within the server."""
    body = {"id": f"bench-{next(_numbers)}", "message_service": "bench", "message": question.text}
    chat = _posted(house, "/chats/enviarMensagemLLM", body, {"X-API-Key": house.key})
    return float(chat["timings"]["retrieval_ms"])


def _posted(house: _House, path: str, body: Mapping[str, object], headers: dict[str, str]) -> Any:
    answer = own(_clients).post(house.server.url + path, json=body, headers=headers)
    return answer.raise_for_status().json()


def _uploads(house: _House) -> str:
    """Upload files through the API, wait until they answer, and tell what that took."""
    seconds = []
    for number in range(_UPLOADS):
        sections = (f"# Rule {part}\n\n{'Xylograph ' * 20}{number} {part}." for part in range(_UPLOADED))
        file = (f"uploaded-{number}.md", "\n\n".join(sections).encode())
        began = time.perf_counter()
        form = {"assistant_id": house.assistant_id, "type": "rag"}
        house.client.post("/documents/add?wait=true", data=form, files={"file": file}).raise_for_status()
        body = {"assistant_id": house.assistant_id, "query": f"xylograph {number}", "limit": 50}
        headers = {"Authorization": house.client.headers["Authorization"]}
        while file[0] not in {passage["filename"] for passage in _posted(house, "/documents/search", body, headers)}:
            time.sleep(0.01)
        seconds.append(time.perf_counter() - began)
    return (
        f"Uploading a file of {_UPLOADED} passages, until it is found: {median(seconds):.2f} s "
        f"(at most {max(seconds):.2f} s).\n"
    )


def _row(clients: int, asked: str, per_second: float, times: Sequence[float]) -> str:
    shown = " / ".join(f"{percentile(times, share):.1f}" for share in (0.5, 0.95, 0.99))
    return f"| {clients} | {asked} | {per_second:.0f} | {shown} |\n"


if __name__ == "__main__":
    sys.exit(main())
