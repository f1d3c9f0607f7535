"""The vector of a question, or none: an answer does not wait for a slow or dead embeddings endpoint."""

import hashlib
import logging
import threading
from collections import OrderedDict

import numpy
from numpy.typing import NDArray

from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from services.breaker import Breaker
from services.ports import Embedder

logger = logging.getLogger("orquestra.knowledge")

_KEPT = 1000


class QuestionVectors:
    """Embeds questions, each once, and pauses after a failure.

    Args:
        seconds: how long a question may take.
        pause: how long the endpoint is left alone after a failure.
    """

    def __init__(self, embedder: Embedder, seconds: float, pause: float) -> None:
        self._embedder = embedder
        self._seconds = seconds
        self._breaker = Breaker(pause, pause)
        self._kept: OrderedDict[bytes, NDArray[numpy.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, question: str) -> NDArray[numpy.float32] | None:
        """Return the question's vector of length 1; None, and a warning in the log, when it cannot be had in time.

        That of a question which the model refuses is zeros, and so near to no passage.
        """
        key = hashlib.sha256(question.encode(errors="surrogatepass")).digest()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        if not self._breaker.allows():
            return None
        try:
            vector = self._embedder.embed_question(question, Deadline(self._seconds))
        except (ProviderFailed, DeadlineExceeded) as error:
            self._breaker.failed()
            logger.warning("questions are searched for by their words only", extra={"code": error.code})
            return None
        self._breaker.succeeded()
        if not vector.any():
            logger.warning("the embeddings model refuses a question; it is searched for by its words only")
        with self._lock:
            self._kept[key] = vector
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return vector
