"""What `bench.retrieval` compares: Orquestra's index, plain FTS5 and bm25s, each alone in a process of its own."""

import hashlib
import multiprocessing
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import bm25s

from bench.corpus import LANGUAGES, Corpus
from bench.questions import Question
from bench.stored import ASSISTANT, opened_store
from services.knowledge.analysis import query_terms
from services.knowledge.fts_index import FtsIndex

LIMIT = 5
"""How many passages an engine may return."""

Finder = Callable[[str], Sequence[str]]
"""From a question to the texts of the passages found (or their digests), best first."""

_WARM_UP = 20
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Place:
    """Where an engine finds its passages and keeps its index.

    Attributes:
        store: a data directory whose embedded store holds the passages.
        folder: an empty one for the engine's files.
    """

    corpus: Path
    passages: int
    store: Path
    folder: Path


@dataclass(frozen=True)
class Measured:
    """What an engine did.

    Attributes:
        build: seconds from stored passages to the first answer.
        disk: MB of the index with what it needs to return the passages.
        memory: MiB that the process grew by at its peak.
        ranks: of the right passage for each question, 0 when it was not found.
        times: of each question, in milliseconds.
    """

    build: float
    disk: float
    memory: float
    ranks: Sequence[int]
    times: Sequence[float]


def measure(engine: str, place: Place, questions: Sequence[Question]) -> Measured:
    """Build an engine's index and ask it everything, in a new process."""
    return alone(_measure, engine, place, questions)


def alone(task: Callable[..., _Result], *arguments: object) -> _Result:
    """Run a task in a process that nothing else has grown."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def percentile(times: Iterable[float], share: float) -> float:
    """Return what this share of the times is not above."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _measure(engine: str, place: Place, questions: Sequence[Question]) -> Measured:
    before = _memory("VmRSS")
    began = time.perf_counter()
    with ENGINES[engine](place) as find:
        find(questions[0].text)
        build = time.perf_counter() - began
        for question in questions[:_WARM_UP]:
            find(question.text)
        ranks, times = [], []
        for question in questions:
            asked = time.perf_counter()
            found = find(question.text)
            times.append((time.perf_counter() - asked) * 1000)
            wanted = {question.target, digest(question.target)}
            ranks.append(next((rank for rank, text in enumerate(found, 1) if text in wanted), 0))
        memory = _memory("VmHWM") - before
    disk = sum(path.stat().st_size for path in place.folder.rglob("*") if path.is_file()) / 1e6
    return Measured(build, disk, memory, ranks, times)


def digest(text: str) -> str:
    """Return what stands for a text where keeping it would distort an engine's memory."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _memory(field: str) -> float:
    """Return a field of this process in MiB, from /proc."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


@contextmanager
def _orquestra(place: Place) -> Iterator[Finder]:
    with opened_store(place.store) as (documents, passages, assistants):
        index = FtsIndex(place.folder, documents, passages)
        assistant = assistants.get(ASSISTANT)
        if assistant is None:
            raise RuntimeError("the store has no assistant")
        yield lambda query: [scored.passage.text for scored in index.search(assistant, query, LIMIT)]


@contextmanager
def _plain_fts5(place: Place) -> Iterator[Finder]:
    with closing(sqlite3.connect(place.folder / "plain.sqlite3")) as connection:
        connection.execute("CREATE VIRTUAL TABLE passages USING fts5 (headings, body, tokenize = 'unicode61')")
        connection.executemany(
            "INSERT INTO passages VALUES (?, ?)",
            (
                (" ".join((document.name, *piece.headings)), text)
                for document in Corpus(place.corpus).select(place.passages)
                for piece, text in document.passages
            ),
        )
        connection.commit()
        select = "SELECT body FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT ?"

        def find(query: str) -> Sequence[str]:
            words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", query))
            return [body for (body,) in connection.execute(select, (words, LIMIT))]

        yield find


@contextmanager
def _bm25s_as_it_comes(place: Place) -> Iterator[Finder]:
    keys, texts = [], []
    for document in Corpus(place.corpus).select(place.passages):
        for piece, text in document.passages:
            keys.append(digest(text))
            texts.append(" ".join((document.name, *piece.headings, text)))
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    retriever.save(place.folder)
    del texts

    def find(query: str) -> Sequence[str]:
        return _retrieved(retriever, bm25s.tokenize([query], return_ids=False, show_progress=False), keys)

    yield find


@contextmanager
def _bm25s_with_our_terms(place: Place) -> Iterator[Finder]:
    keys, numbers, vocabulary = [], [], dict[str, int]()
    for document in Corpus(place.corpus).select(place.passages):
        for piece, text in document.passages:
            keys.append(digest(text))
            terms = " ".join(piece.terms).split()
            numbers.append([vocabulary.setdefault(term, len(vocabulary)) for term in terms])
    retriever = bm25s.BM25()
    retriever.index(bm25s.tokenization.Tokenized(numbers, vocabulary), show_progress=False)
    retriever.save(place.folder)
    del numbers

    def find(query: str) -> Sequence[str]:
        words = query_terms(query, LANGUAGES)
        asked = [word for word in words if word.informative] or words
        terms = sorted({term for word in asked for term in word.terms if term in vocabulary})
        return _retrieved(retriever, [terms], keys)

    yield find


def _retrieved(retriever: bm25s.BM25, terms: list[list[str]], keys: Sequence[str]) -> Sequence[str]:
    if not terms[0]:
        return []
    found, scores = retriever.retrieve(terms, k=LIMIT, show_progress=False)
    return [keys[number] for number, score in zip(found[0], scores[0], strict=True) if score > 0]


ENGINES = {
    "Orquestra": _orquestra,
    "plain FTS5 unicode61": _plain_fts5,
    "bm25s": _bm25s_as_it_comes,
    "bm25s, our terms": _bm25s_with_our_terms,
}
"""Name -> how to build it: a context in which it answers."""
