"""Vectors from any server that speaks OpenAI's embeddings: OpenAI, Azure, DashScope, Ollama, vLLM, TEI.

Floats are asked for and not base64, which many compatible servers do not know. The answer is parsed here and not by the
SDK, which would make an object of every number's row. Servers differ in how much they take at once and tell it only by
refusing, so a refused batch is halved, and what turned out to be accepted is not exceeded again. A text that is refused
alone goes without a vector. Before that is believed, something must have been accepted afterwards, or a plain word is
sent to see whether anything is: else the endpoint is at fault (a wrong model's name, an account without credit) and not
the text.
"""

import contextlib
import itertools
import logging
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import httpx2
import msgspec
import numpy
import openai
from numpy.typing import NDArray

from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from services.providers.embedding_form import PLAIN, EmbeddingForm
from services.providers.http_calls import Endpoint, opened, read_whole
from services.providers.http_sockets import Call
from services.providers.openai_sending import opening

_MOST_TEXTS = 64
_MOST_CHARACTERS = 100_000
_LONGEST_TEXT = 6_000
"""Characters of one text: 8,000 tokens hold them even where a Han character takes more than one."""
_SHORTEST_TEXT = 200
"""A text is not cut below this for a server that calls it too long."""
_PROBE = "text"
_CALLS = 2
_MOST_BYTES = 1 << 26
_TOO_MUCH = frozenset({400, 413, 422})
_ABOUT_LENGTH = re.compile(r"(?i)token|context|length|too (?:long|large|big)|maxim|exceed")
_EXCEPTION = re.compile(r"[A-Z]\w*(?:Error|Timeout|Exception)(?=\()")
_IDENTIFIER = re.compile(r"[\w.-]{1,64}")


class _Refused(Exception):
    """A server took exception to what it was sent."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.is_about_length = status == 413 or _ABOUT_LENGTH.search(words) is not None


class _Reason(msgspec.Struct):
    type: object = None
    code: object = None


class _Failure(msgspec.Struct):
    error: _Reason


class _Row(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]


_failures = msgspec.json.Decoder(_Failure)
_answers = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True)
class QuietEndpoint(Endpoint):
    """An endpoint whose words stay out of the log, since many servers quote the request: a document's text."""

    def log(self, level: int, what: str, detail: object) -> None:
        """Write what happened, with the names of exceptions and error codes only."""
        super().log(level, what, _names(str(detail)))


class OpenAIEmbedder:
    """Turn texts into vectors over `POST /embeddings`.

    Args:
        client: from `openai_chat.build_client`.
        model: as the endpoint knows it.
        call_seconds: how long one call may take before it is made anew.
    """

    def __init__(
        self, client: openai.OpenAI, model: str, call_seconds: float = 60.0, form: EmbeddingForm = PLAIN
    ) -> None:
        self.model = form.name_of(model)
        self._asked = model
        self._form = form
        self._client = client.with_options(max_retries=0)
        self._call_seconds = call_seconds
        self._most_texts = _MOST_TEXTS
        self._endpoint = QuietEndpoint(
            name="The embeddings endpoint",
            key_hint="Check EMBEDDINGS_API_KEY.",
            model_hint="Check EMBEDDINGS_MODEL and EMBEDDINGS_BASE_URL.",
            url_hint="Check EMBEDDINGS_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def embed(self, texts: Sequence[str], deadline: Deadline) -> NDArray[numpy.float32]:
        """Return a row of length 1 (Euclidean) for each passage's text, float32, shape (texts, dimensions).

        Of a text that is longer than models read, the beginning counts. A row of zeros stands for a text that is
        refused while others are not: a blank one, on most servers.

        Raises:
            ProviderFailed: after bounded retries of what may pass; code `embeddings_refused`, no text is accepted.
            DeadlineExceeded: the time is up.
            CallCancelled: the deadline was cancelled.
        """
        return self._embedded([self._form.passage_prefix + text for text in texts], deadline)

    def embed_question(self, question: str, deadline: Deadline) -> NDArray[numpy.float32]:
        """Return the row of a question, shape (dimensions,).

        Raises:
            ProviderFailed, DeadlineExceeded, CallCancelled: as `embed`.
        """
        row: NDArray[numpy.float32] = self._embedded([self._form.query_prefix + question], deadline)[0]
        return row

    def _embedded(self, texts: Sequence[str], deadline: Deadline) -> NDArray[numpy.float32]:
        if not texts:
            return numpy.zeros((0, 0), numpy.float32)
        pending = deque(_batches([_readable(text) for text in texts], self._most_texts))
        rows: list[list[float] | None] = []
        probed: list[list[float]] = []
        refused = largest = 0
        is_believed = True
        while pending:
            batch = pending.popleft()
            try:
                rows += self._rows(batch, deadline)
                largest, is_believed = max(largest, len(batch)), True
            except _Refused as refusal:
                smaller = _smaller(batch, refusal)
                pending.extendleft(reversed(smaller))
                if not smaller:
                    is_believed = not (largest or probed)
                    probed = self._probed(deadline) if is_believed else probed
                    rows.append(None)
                refused = min(refused or len(batch), len(batch))
        if not is_believed:  # an account whose credit has just ended is refused as a text is
            probed = self._probed(deadline)
        if 1 < refused:  # else a single text was at fault, not the size of a batch
            self._most_texts = min(self._most_texts, max(1, largest if largest < refused else refused // 2))
        return self._matrix(rows, probed)

    def _probed(self, deadline: Deadline) -> list[list[float]]:
        """Return the row of a text that every model takes.

        Raises:
            ProviderFailed: not even that is accepted.
        """
        try:
            return self._rows([_PROBE], deadline)
        except _Refused as refusal:
            raise ProviderFailed(
                f"{self._endpoint.name} refuses every text with HTTP {refusal.status}. Check EMBEDDINGS_MODEL and "
                "EMBEDDINGS_DIMENSIONS. The server's log has its reason.",
                code="embeddings_refused",
            ) from refusal

    def _rows(self, batch: list[str], deadline: Deadline) -> list[list[float]]:
        """Return the rows of one batch, asking anew if the server hangs."""
        for attempt in itertools.count(1):
            deadline.check()
            part = Deadline(min(self._call_seconds, deadline.remaining()))
            deadline.on_cancel(part.cancel)
            try:
                return self._parsed(self._fetch(batch, part), len(batch))
            except DeadlineExceeded:
                if part.seconds < self._call_seconds:
                    raise
                self._endpoint.log(logging.WARNING, "no answer in time", "")
                if attempt == _CALLS:
                    raise ProviderFailed(
                        f"{self._endpoint.name} did not answer in time. Try again later.", code="provider_timeout"
                    ) from None
        raise AssertionError("unreachable")

    def _fetch(self, batch: list[str], deadline: Deadline) -> bytes:
        call = Call(deadline)
        with opened(lambda: self._send(batch, call), call, self._endpoint) as response:
            return read_whole(call, response, self._endpoint, _MOST_BYTES)

    def _send(self, batch: list[str], call: Call) -> httpx2.Response:
        """Send a batch and return the response.

        Raises:
            _Refused: a smaller one may be accepted.
        """
        asking = self._client.embeddings.with_streaming_response.create(
            model=self._asked,
            input=batch,
            dimensions=self._form.dimensions or openai.omit,
            encoding_format="float",
            timeout=call.timeout(),
        )
        response = opening(asking, self._endpoint)
        if response.status_code in _TOO_MUCH:
            self._endpoint.log(logging.INFO, f"HTTP {response.status_code} for {len(batch)} texts", response.text)
            raise _Refused(response.status_code, response.text)
        return response

    def _parsed(self, content: bytes, count: int) -> list[list[float]]:
        """Return the rows in the order of the texts."""
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            rows = sorted(_answers.decode(content).data, key=lambda row: row.index)
            if [row.index for row in rows] == list(range(count)):
                return [row.embedding for row in rows]
        raise self._unreadable("no list of as many embeddings as texts")

    def _matrix(self, rows: list[list[float] | None], probed: list[list[float]]) -> NDArray[numpy.float32]:
        """Return the rows, normalised, with zeros in the place of those that there are none of.

        Args:
            probed: tells the dimensions where all rows may be None.
        """
        accepted = self._normalised([row for row in rows if row is not None] + probed)
        matrix = numpy.zeros((len(rows), accepted.shape[1]), numpy.float32)
        places = [number for number, row in enumerate(rows) if row is not None]
        matrix[places] = accepted[: len(places)]
        return matrix

    def _normalised(self, rows: list[list[float]]) -> NDArray[numpy.float32]:
        if len({len(row) for row in rows}) != 1:
            raise self._unreadable("rows of different lengths")
        matrix = numpy.array(rows, numpy.float64)
        lengths = numpy.linalg.norm(matrix, axis=1, keepdims=True)
        if not (numpy.isfinite(lengths) & (lengths > 0)).all():
            raise self._unreadable("a row without a direction")
        unit: NDArray[numpy.float32] = (matrix / lengths).astype(numpy.float32)
        return unit

    def _unreadable(self, what: str) -> ProviderFailed:
        self._endpoint.log(logging.ERROR, what, "")
        return self._endpoint.unreadable()


def _smaller(batch: list[str], refusal: _Refused) -> list[list[str]]:
    """Return what to send in place of a refused batch; nothing where that is one text that is not merely too long."""
    middle = len(batch) // 2
    if middle:
        return [batch[:middle], batch[middle:]]
    half = batch[0][: len(batch[0]) // 2]
    return [[half]] if refusal.is_about_length and len(half) >= _SHORTEST_TEXT else []


def _readable(text: str) -> str:
    """Return the part of a text that models read, without halves of UTF-16 pairs, which no JSON may hold."""
    return text[:_LONGEST_TEXT].encode(errors="replace").decode()


def _batches(texts: Iterable[str], most: int) -> list[list[str]]:
    batches: list[list[str]] = []
    characters = 0
    for text in texts:
        characters += len(text)
        if not batches or len(batches[-1]) == most or characters > _MOST_CHARACTERS:
            batches.append([])
            characters = len(text)
        batches[-1].append(text)
    return batches


def _names(words: str) -> str:
    """Return the names in a provider's words: of an exception, or an OpenAI error's type and code."""
    if exception := _EXCEPTION.match(words):
        return exception[0]
    try:
        reason = _failures.decode(words).error
    except msgspec.DecodeError:
        return ""
    return " ".join(str(name) for name in (reason.type, reason.code) if name and _IDENTIFIER.fullmatch(str(name)))
