"""Search by words and by meaning at once, fused by reciprocal rank.

There is no floor of similarity but zero. Where "unrelated" begins differs between models (some put any two texts above
0.7, others below 0.1), so any other number would be wrong for most of them; a vector that points away from the
question's shares nothing with it in all of them. Whether a passage answers is for the model to judge, which sees the
words' side of it in `coverage`; the offline provider uses only what that covers.
"""

import logging
from collections.abc import Sequence

from models.assistants import Assistant
from models.documents import ScoredPassage
from models.errors import Unavailable
from services.knowledge.fts_index import FtsIndex
from services.knowledge.question_vectors import QuestionVectors
from services.knowledge.vector_files import VectorHit
from services.knowledge.vector_index import VectorIndex
from services.ports import Embedder

logger = logging.getLogger("orquestra.knowledge")

_RANK_CONSTANT = 60  # of Cormack, Clarke & Buettcher 2009, "Reciprocal Rank Fusion outperforms Condorcet ..."
_FEWEST = 20
_TIMES = 4

_Place = tuple[str, int]
"""A document's id and a passage's position in it."""


class HybridIndex:
    """Implement `KnowledgeIndex` over a full-text index and a vector index; the words alone will do when they must.

    Args:
        question_seconds: how long the embedding of a question may take.
        pause_seconds: how long the embeddings endpoint is left alone after it failed.
    """

    def __init__(
        self,
        words: FtsIndex,
        vectors: VectorIndex,
        embedder: Embedder,
        question_seconds: float = 2.0,
        pause_seconds: float = 30.0,
    ) -> None:
        self._words = words
        self._vectors = vectors
        self._questions = QuestionVectors(embedder, question_seconds, pause_seconds)

    def search(self, assistant: Assistant, query: str, limit: int) -> Sequence[ScoredPassage]:
        """Return the best passages of the assistant's documents as of its `index_version`, best first.

        Their score is the sum of 1 / (60 + rank) over the two rankings that hold them.

        Raises:
            Unavailable: as `FtsIndex.search`.
        """
        depth = max(_FEWEST, _TIMES * limit)
        found = {_place(scored): scored for scored in self._words.search(assistant, query, depth)}
        scores = {place: _reciprocal(rank) for rank, place in enumerate(found, 1)}
        hits = self._by_meaning(assistant, query, depth)
        unknown = [(hit.document_id, hit.position) for hit in hits if (hit.document_id, hit.position) not in found]
        if unknown:
            found |= self._words.score(assistant, query, unknown)
        for rank, place in enumerate(_current(hits, found), 1):
            scores[place] = scores.get(place, 0.0) + _reciprocal(rank)
        best = sorted(scores, key=lambda place: -scores[place])[:limit]
        return [ScoredPassage(found[place].passage, scores[place], found[place].coverage) for place in best]

    def refresh(self, assistant: Assistant) -> None:
        """Take in what has changed, so that the next search need not.

        Raises:
            Unavailable: as `FtsIndex.refresh`.
        """
        self._words.refresh(assistant)
        try:
            self._vectors.refresh(assistant)
        except Unavailable as error:
            logger.warning("the vector index is brought up to date later", extra={"code": error.code})

    def held(self) -> Sequence[str]:
        """Return the ids of the assistants that something is kept locally for."""
        return self._words.held()

    def forget(self, assistant_id: str) -> None:
        """Drop what is kept locally for a deleted assistant."""
        self._words.forget(assistant_id)
        self._vectors.forget(assistant_id)

    def close(self) -> None:
        """Let go of the files."""
        self._words.close()
        self._vectors.close()

    def _by_meaning(self, assistant: Assistant, query: str, limit: int) -> list[VectorHit]:
        """Return the passages nearest to the question; none when that cannot be told now."""
        try:
            if not query.strip() or not self._vectors.holds_vectors(assistant):
                return []
            question = self._questions.of(query)
            return [] if question is None else self._vectors.search(assistant, question, limit)
        except Unavailable as error:
            logger.warning("passages are searched for by their words only", extra={"code": error.code})
            return []


def _place(scored: ScoredPassage) -> _Place:
    return scored.passage.document_id, scored.passage.position


def _current(hits: Sequence[VectorHit], found: dict[_Place, ScoredPassage]) -> list[_Place]:
    """Return the places of the hits above the floor that are passages of a document's current build."""
    places = [(hit, (hit.document_id, hit.position)) for hit in hits if hit.cosine > 0]
    return [place for hit, place in places if place in found and found[place].passage.revision == hit.revision]


def _reciprocal(rank: int) -> float:
    return 1 / (_RANK_CONSTANT + rank)
