"""Questions to the file of a full-text index, ranked by BM25 (Robertson & Zaragoza 2009).

FTS5's own bm25() takes 1.3 microseconds for every passage that holds one of the terms: 60 ms for an ordinary question
over 200,000 passages. Hence two steps. The first adds up the weights of the terms that each passage holds, within
SQLite, at a quarter of that; the second computes BM25 for the best of these, with how often the terms are there and how
long the passage is. Terms that very many passages hold, and words like "how", count in the second step only.
"""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from models.documents import ScoredPassage
from services.knowledge.analysis import QueryWord, query_terms
from services.knowledge.fts_file import unpack

_TITLES = 2  # how often a term in the titles counts
_K1, _B = 1.2, 0.75
_FUNCTION_WORD = 0.2  # how much of their weight words like "how" keep
_MOST_TERMS = 64  # of a question in the first step; the rarest ones
_ROWS = 40_000  # that the first step may add up: some 0.35 microseconds each
_CANDIDATES = 60  # of the second step, at least
_TIMES = 4  # as many candidates as passages that are asked for


@dataclass(frozen=True)
class _Question:
    """A question as the file understands it.

    Attributes:
        total: how many passages the file has.
        length: how many terms a passage has on average.
        counts: in how many passages each known term is.
    """

    total: int
    length: float
    words: Sequence[QueryWord]
    counts: Mapping[str, int]

    def sought(self) -> list[str]:
        """Return the terms of the first step, the rarest first."""
        words = [word for word in self.words if word.informative] or self.words
        known = {term for word in words for term in word.terms if term in self.counts}
        sought: list[str] = []
        rows = 0
        for term in sorted(known, key=lambda term: (self.counts[term], term))[:_MOST_TERMS]:
            rows += self.counts[term]
            if rows > _ROWS and sought:
                break
            sought.append(term)
        return sought

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """Return what each known term weighs."""
        informative = {term for word in self.words if word.informative for term in word.terms}
        return {
            term: self._rarity(count) * (1.0 if term in informative else _FUNCTION_WORD)
            for term, count in self.counts.items()
        }

    def held(self, titles: str, body: str) -> dict[str, int]:
        """Return how often a passage has each of the terms that it has."""
        often = {term: _TITLES * titles.count(f" {term} ") + body.count(f" {term} ") for term in self.counts}
        return {term: count for term, count in often.items() if count}

    def score(self, held: Mapping[str, int], length: int) -> float:
        """Return the BM25 of a passage of this length."""
        norm = _K1 * (1 - _B + _B * length / self.length)
        return sum(self.weights[term] * often * (_K1 + 1) / (often + norm) for term, often in held.items())

    def coverage(self, held: Mapping[str, int]) -> float:
        """Return the share of the words' weight that a passage holds; words that no passage holds count in full."""
        whole = sum(weight for _, weight in self._asked)
        return sum(weight for terms, weight in self._asked if not terms.isdisjoint(held)) / whole if whole else 0.0

    @cached_property
    def _asked(self) -> Sequence[tuple[frozenset[str], float]]:
        """Return the informative words' terms, each with the weight of its commonest."""
        return [
            (word.terms, self._rarity(max(self.counts.get(term, 0) for term in word.terms)))
            for word in self.words
            if word.informative
        ]

    def _rarity(self, count: int) -> float:
        """Return the inverse document frequency, in the form that is never negative (Lucene's BM25Similarity)."""
        return math.log(1 + (self.total - count + 0.5) / (count + 0.5))


def find(connection: sqlite3.Connection, query: str, limit: int) -> list[ScoredPassage]:
    """Return the best passages for a question, best first."""
    question = _question(connection, query)
    scored = []
    for number, length, titles, body in _candidates(connection, question, max(_CANDIDATES, _TIMES * limit)):
        held = question.held(titles, body)
        scored.append((-question.score(held, length), number, question.coverage(held)))
    scored.sort()
    return [
        ScoredPassage(unpack(packed), -score, coverage)
        for score, number, coverage in scored[:limit]
        for (packed,) in connection.execute("SELECT packed FROM passages WHERE number = ?", (number,))
    ]


def score(connection: sqlite3.Connection, query: str, places: Sequence[tuple[str, int]]) -> list[ScoredPassage]:
    """Return the passages at these places (document id, position) with their coverage and a score of 0."""
    question = _question(connection, query)
    select = (
        "SELECT packed, titles, body FROM passages JOIN contents USING (number) WHERE document_id = ? AND position = ?"
    )
    return [
        ScoredPassage(unpack(packed), 0.0, question.coverage(question.held(titles, body)))
        for place in places
        for packed, titles, body in connection.execute(select, place)
    ]


def _question(connection: sqlite3.Connection, query: str) -> _Question:
    total, length, languages = connection.execute("SELECT passages, length, languages FROM state").fetchone()
    words = query_terms(query, languages.split(",")) if total else []
    terms = sorted({term for word in words for term in word.terms})
    counts: dict[str, int] = {}
    for start in range(0, len(terms), 500):
        some = terms[start : start + 500]
        known = f"SELECT term, passages FROM counts WHERE passages > 0 AND term IN ({','.join('?' * len(some))})"
        counts.update(connection.execute(known, some))
    return _Question(total, length / total if total else 0.0, words, counts)


def _candidates(
    connection: sqlite3.Connection, question: _Question, most: int
) -> Sequence[tuple[int, int, str, str]]:
    """Return number, length and terms of the passages that hold the heaviest of the terms."""
    terms = question.sought()
    if not terms:
        return []
    lists = " UNION ALL ".join(["SELECT rowid AS number, ? AS weight FROM terms WHERE terms MATCH ?"] * len(terms))
    heaviest = f"SELECT number FROM ({lists}) GROUP BY number ORDER BY sum(weight) DESC, number LIMIT {most:d}"
    arguments = [value for term in terms for value in (question.weights[term], f'"{term}"')]
    return connection.execute(
        f"SELECT number, length, titles, body FROM ({heaviest}) JOIN contents USING (number)", arguments
    ).fetchall()
