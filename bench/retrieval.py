"""`python -m bench.retrieval`: does the index find the right passage, how soon, and at what cost?

Known-item questions (`bench.questions`) over real text in Portuguese, English and Chinese (`bench.corpus`), asked of
Orquestra's index, of plain FTS5 and of bm25s in the same run. The ratios to plain FTS5 are what carries over to other
machines. The first run reads 15,000 files, which takes some minutes more.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import median

from bench.corpus import LANGUAGES, Corpus, CorpusDocument, corpus, missing_packages
from bench.engines import ENGINES, LIMIT, Measured, Place, alone, measure, percentile
from bench.questions import Item, Question, Vocabulary, questions
from bench.stored import ASSISTANT, add, load, opened_store
from services.knowledge.analysis import passage_terms
from services.knowledge.fts_index import FtsIndex

SIZES = (1_000, 20_000, 200_000)
EACH = 50
"""Questions of a kind in a language."""
SEED = 2026
"""What chooses the questions. The constants of `fts_query` were chosen with others."""

DEFAULT_CORPUS = Path(tempfile.gettempdir()) / "orquestra-bench" / "corpus.sqlite3"
"""Where the text that was read is kept from run to run."""

_CROWD_AT = 20_000  # passages at which threads and additions are measured
_THREADS = 8
_ADDITIONS = 10
_ADDED = 50  # passages of an added document


def main() -> int:
    """Measure and print tables in Markdown."""
    asked = _arguments()
    missing = missing_packages()
    if missing:
        sys.stderr.write("The text comes from Debian packages; install them, then run this again:\n")
        sys.stderr.write(f"  apt-get install --no-install-recommends {' '.join(missing)}\n")
        return 1
    source = corpus(asked.corpus)
    sys.stdout.write(_described(source))
    rows, details, crowds = [_HEAD], [_DETAIL_HEAD], list[str]()
    for size in asked.passages or SIZES:
        with tempfile.TemporaryDirectory(prefix="orquestra-bench-") as folder:
            place = Place(asked.corpus, size, Path(folder) / "store", Path(folder) / "index")
            held = _prepared(place, asked.seed)
            measured = {engine: _measured(engine, place, held.questions) for engine in ENGINES}
            rows.extend(_row(held.passages, engine, measured) for engine in ENGINES)
            details.extend(_details(held, measured))
            if held.passages >= _CROWD_AT and not crowds:
                place.folder.mkdir()
                crowds.append(_told(alone(_crowd, place, held.questions), held.passages))
    sys.stdout.write("\n" + "".join(rows) + "\n" + "".join(details) + "\n" + "".join(crowds))
    sys.stdout.write(f"Making the terms of a passage, when its file is parsed: {_analysis(source):.2f} ms.\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.retrieval", description="Measure retrieval.")
    parser.add_argument("--passages", type=int, action="append", help=f"how many, may be repeated; default {SIZES}")
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS, help="where the text that was read is kept")
    parser.add_argument("--seed", type=int, default=SEED, help=f"what chooses the questions; default {SEED}")
    return parser.parse_args()


@dataclass(frozen=True)
class _Held:
    """What a store was filled with."""

    passages: int
    questions: Sequence[Question]


def _prepared(place: Place, seed: int) -> _Held:
    """Fill the store, and make the questions, in a process that ends with it."""
    return alone(_prepare, place, seed)


def _prepare(place: Place, seed: int) -> _Held:
    source = Corpus(place.corpus)
    load(place.store, source.select(place.passages))
    chosen = [(document.language, text) for document in source.select(place.passages) for _, text in document.passages]
    items = [Item(language, text, " ".join(text.lower().split())) for language, text in chosen if language in LANGUAGES]
    return _Held(len(chosen), questions(items, Vocabulary(item.text for item in items), EACH, seed))


def _measured(engine: str, place: Place, asked: Sequence[Question]) -> Measured:
    place.folder.mkdir()
    try:
        return measure(engine, place, asked)
    finally:
        shutil.rmtree(place.folder)


@dataclass(frozen=True)
class _Crowd:
    """Times in milliseconds with several threads, and of additions: the store's writes, and the first search after."""

    alone: Sequence[float]
    together: Sequence[float]
    per_second: float
    writes: Sequence[float]
    searches: Sequence[float]


def _crowd(place: Place, asked: Sequence[Question]) -> _Crowd:
    """Ask with one and with several threads, then add documents and look for them."""
    with opened_store(place.store) as stores:
        documents, passages, assistants = stores
        index = FtsIndex(place.folder, documents, passages)
        assistant = assistants.get(ASSISTANT)
        if assistant is None:
            raise RuntimeError("the store has no assistant")
        index.refresh(assistant)

        def ask(question: Question) -> float:
            began = time.perf_counter()
            index.search(assistant, question.text, LIMIT)
            return (time.perf_counter() - began) * 1000

        one = [ask(question) for question in asked]
        gate = threading.Barrier(_THREADS)
        with ThreadPoolExecutor(_THREADS, initializer=gate.wait) as pool:
            began = time.perf_counter()
            together = list(pool.map(ask, [*asked, *asked]))
            per_second = len(together) / (time.perf_counter() - began)
        writes, searches = [], []
        chosen = _additions(Corpus(place.corpus), place.passages)
        for number, document in enumerate(chosen):
            began = time.perf_counter()
            add(stores, ASSISTANT, f"added-{number}.html", document)
            assistants.bump_index_version(ASSISTANT)
            written = time.perf_counter()
            newest = replace(assistant, index_version=assistant.index_version + number + 1)
            found = index.search(newest, document.passages[0][1], 2 * LIMIT)
            searched = time.perf_counter()
            if f"added-{number}.html" not in {scored.passage.filename for scored in found}:
                raise RuntimeError("an added document was not found")
            writes.append((written - began) * 1000)
            searches.append((searched - written) * 1000)
    return _Crowd(one, together, per_second, writes, searches)


def _additions(source: Corpus, taken: int) -> list[CorpusDocument]:
    """Make documents of so many passages out of those that the store already has."""
    texts = [
        (document.language, passage)
        for document in source.select(min(taken, 3 * _ADDITIONS * _ADDED))
        for passage in document.passages
    ]
    return [
        CorpusDocument(
            f"added {number}", texts[start][0], tuple(passage for _, passage in texts[start : start + _ADDED])
        )
        for number, start in enumerate(range(0, _ADDITIONS * _ADDED, _ADDED))
    ]


def _analysis(source: Corpus) -> float:
    """Return the milliseconds that the analysis of a passage takes."""
    chosen = [(document, *passage) for document in source.select(600) for passage in document.passages]
    began = time.perf_counter()
    for document, piece, text in chosen:
        passage_terms(document.name, piece.headings, piece.header, text, document.language)
    return (time.perf_counter() - began) * 1000 / len(chosen)


def _described(source: Corpus) -> str:
    shares = ", ".join(f"{source.passages(language):,} {language}" for language in LANGUAGES)
    return f"The corpus has {source.passages():,} different passages ({shares}, the rest in other languages).\n"


_HEAD = (
    "| passages | engine | recall@5 | MRR | p50 / p95 ms | p50 / p95 to FTS5 | build s | disk MB | memory MiB |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)
_DETAIL_HEAD = f"| passages | language | question | {' | '.join(ENGINES)} |\n|---|---|---|{'---|' * len(ENGINES)}\n"


def _row(passages: int, engine: str, measured: Mapping[str, Measured]) -> str:
    one, plain = measured[engine], measured["plain FTS5 unicode61"]
    p50, p95 = percentile(one.times, 0.5), percentile(one.times, 0.95)
    ratios = f"x{p50 / percentile(plain.times, 0.5):.2f} / x{p95 / percentile(plain.times, 0.95):.2f}"
    return (
        f"| {passages:,} | {engine} | {_recall(one.ranks):.3f} | {_mrr(one.ranks):.3f} | {p50:.1f} / {p95:.1f} "
        f"| {ratios} | {one.build:.1f} | {one.disk:.0f} | {one.memory:.0f} |\n"
    )


def _details(held: _Held, measured: Mapping[str, Measured]) -> list[str]:
    """Return a row for each kind of question, and one for each language as a whole."""
    rows = []
    numbered = list(enumerate(held.questions))
    for language, of_language in groupby(numbered, key=lambda one: one[1].language):
        group = list(of_language)
        for kind, of_kind in groupby(group, key=lambda one: one[1].kind):
            rows.append(_detail(held.passages, language, kind, [number for number, _ in of_kind], measured))
        rows.append(_detail(held.passages, language, "*all*", [number for number, _ in group], measured))
    return rows


def _detail(passages: int, language: str, kind: str, numbers: Sequence[int], measured: Mapping[str, Measured]) -> str:
    cells = []
    for one in measured.values():
        ranks = [one.ranks[number] for number in numbers]
        cells.append(f"{_recall(ranks):.2f} / {_mrr(ranks):.2f}")
    return f"| {passages:,} | {language} | {kind} ({len(numbers)}) | {' | '.join(cells)} |\n"


def _recall(ranks: Sequence[int]) -> float:
    return sum(rank > 0 for rank in ranks) / len(ranks)


def _mrr(ranks: Sequence[int]) -> float:
    return sum(1 / rank for rank in ranks if rank) / len(ranks)


def _told(crowd: _Crowd, passages: int) -> str:
    return (
        f"Orquestra at {passages:,} passages, one process: one thread p50 {percentile(crowd.alone, 0.5):.1f} ms, p95 "
        f"{percentile(crowd.alone, 0.95):.1f} ms; {_THREADS} threads at once p50 {percentile(crowd.together, 0.5):.1f} "
        f"ms, p95 {percentile(crowd.together, 0.95):.1f} ms, {crowd.per_second:.0f} questions/s.\n"
        f"Adding a document of {_ADDED} passages ({_ADDITIONS} times): stored in {median(crowd.writes):.0f} ms, found "
        f"{median(crowd.searches):.0f} ms after that (at most {max(crowd.searches):.0f} ms).\n"
    )


if __name__ == "__main__":
    sys.exit(main())
