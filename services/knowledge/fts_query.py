"""Questions to the file of a full-text index, ranked by BM25 (Robertson & Zaragoza 2009).

FTS5's own bm25() takes 1.3 microseconds for every passage that holds one of the terms: 60 ms for an ordinary question
over 200,000 passages. Hence two steps. The first adds up the weights of the terms that each passage holds, within
SQLite, at a quarter of that; the second computes BM25 for the best of these, with how often the terms are there and how
long the passage is. Terms that very many passages hold, and words like "how", count in the second step only.
"""

import math
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from models.documents import ScoredPassage
from services.knowledge.analysis import QueryWord, query_terms
from services.knowledge.fts_file import LEVELS, prominence, unpack

_FUNCTION_WORD = 0.2  # how much of their weight words like "how" keep
_MOST_TERMS = 64  # of a question in the first step; the rarest ones
_ROWS = 40_000  # that the first step may add up: some 0.35 microseconds each
_LONG = 100  # terms of a question from which on it is quicker to count all terms of a passage
_CANDIDATES = 60  # of the second step, at least
_TIMES = 3  # as many candidates as passages that are asked for


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

    def found(self, held: str) -> dict[str, int]:
        """Return how often each of the question's terms is among a passage's, if it is."""
        if len(self.counts) > _LONG:
            all_of_them = Counter(held.split())
            return {term: all_of_them[term] for term in self.counts.keys() & all_of_them.keys()}
        often = {term: held.count(f" {term} ") for term in self.counts}
        return {term: count for term, count in often.items() if count}

    def score(self, found: Mapping[str, int], length: int) -> float:
        """Return the BM25 of a passage of this length."""
        share = length / self.length
        return sum(self.weights[term] * prominence(often, share) for term, often in found.items())

    def coverage(self, found: Mapping[str, int]) -> float:
        """Return the share of the words' weight that a passage holds; words that no passage holds count in full."""
        whole = sum(weight for _, weight in self._asked)
        return sum(weight for terms, weight in self._asked if not terms.isdisjoint(found)) / whole if whole else 0.0

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
    for number, length, held in _candidates(connection, question, max(_CANDIDATES, _TIMES * limit)):
        found = question.found(held)
        scored.append((-question.score(found, length), number, found))
    scored.sort(key=lambda candidate: candidate[:2])
    return [
        ScoredPassage(unpack(packed), -score, question.coverage(found))
        for score, number, found in scored[:limit]
        for (packed,) in connection.execute("SELECT packed FROM passages WHERE number = ?", (number,))
    ]


def score(connection: sqlite3.Connection, query: str, places: Sequence[tuple[str, int]]) -> list[ScoredPassage]:
    """Return the passages at these places (document id, position) with their coverage and a score of 0."""
    question = _question(connection, query)
    select = "SELECT packed, held FROM passages JOIN contents USING (number) WHERE document_id = ? AND position = ?"
    return [
        ScoredPassage(unpack(packed), 0.0, question.coverage(question.found(held)))
        for place in places
        for packed, held in connection.execute(select, place)
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


def _candidates(connection: sqlite3.Connection, question: _Question, most: int) -> Sequence[tuple[int, int, str]]:
    """Return number, length and terms of the passages that hold the heaviest of the terms."""
    weighed = [
        (gain * question.weights[term], f'"{term}{mark}"')
        for term in question.sought()
        for mark, gain in (("", 1.0), *((level.mark, level.gain) for level in LEVELS))
    ]
    if not weighed:
        return []
    lists = " UNION ALL ".join(["SELECT rowid AS number, ? AS weight FROM terms WHERE terms MATCH ?"] * len(weighed))
    heaviest = f"SELECT number FROM ({lists}) GROUP BY number ORDER BY sum(weight) DESC, number LIMIT {most:d}"
    return connection.execute(
        f"SELECT number, length, held FROM ({heaviest}) JOIN contents USING (number)",
        [value for pair in weighed for value in pair],
    ).fetchall()
