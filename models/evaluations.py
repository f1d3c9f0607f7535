"""Evaluations: questions with what is expected, runs of an assistant against them, and how well each was answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from models.chats import ChatStatus, Timings, Tokens
from models.given import Turn

EVALUATION = "evaluation"
"""The message service of a run's questions; their conversations are erased as soon as they are scored."""


class Metric(StrEnum):
    """How an answer is scored, from 0 to 1; docs/evaluation.md says what each needs of an item."""

    EXACT = "exact"
    CONTAINS = "contains"
    CITED = "cited"
    JUDGE = "judge"


@dataclass(frozen=True)
class DatasetItem:
    """A question with what a good answer to it is.

    Attributes:
        id: unique within the dataset.
        expected: a good answer.
        contains: phrases that stand in a good answer.
        documents: the files one of which a good answer cites; () when it cites none, None when that does not matter.
        criteria: what a judge is to look at.
        history: what was said before the question, oldest first.
        language, tags: what reports group by.
    """

    id: str
    question: str
    expected: str | None = None
    contains: tuple[str, ...] = ()
    documents: tuple[str, ...] | None = None
    criteria: str | None = None
    history: tuple[Turn, ...] = ()
    language: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Questions for an assistant, kept under a name; the items are stored beside it.

    Attributes:
        sha256: of the items: equal for equal questions, whatever they are called.
        items: how many there are.
    """

    id: str
    assistant_id: str
    name: str
    sha256: str
    items: int
    created_at: datetime


@dataclass(frozen=True)
class DatasetEntry:
    """An item as it is stored: beside its dataset, at a place from 0."""

    id: str
    dataset_id: str
    assistant_id: str
    position: int
    item: DatasetItem


class Origin(StrEnum):
    """What questions are made from."""

    CHATS = "chats"
    DOCUMENTS = "documents"


@dataclass(frozen=True)
class Making:
    """What to make.

    Attributes:
        limit: how many items at most.
        seed: the same seed chooses the same chats or passages.
        feedback, status, since: which chats: those rated -1 or 1; those of a status, rated or not; none from before.
            Without the first two they are those that were rated, or answered by a human.
        model: the provider's model name that writes the questions; None for its own choice.
        offline: have no model write questions, even where one is configured.
    """

    origin: Origin
    limit: int = 50
    seed: int = 0
    feedback: int | None = None
    status: ChatStatus | None = None
    since: datetime | None = None
    model: str | None = None
    offline: bool = False


class RunStatus(StrEnum):
    """Whether a run goes on, and how it ended."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class MetricSummary:
    """The mean of a metric over the items that it says something about."""

    mean: float
    items: int


@dataclass(frozen=True)
class Summary:
    """What came out of a run so far.

    Attributes:
        done, failed: items that were scored, and those that could not be.
        score: the mean of the items' scores, each the mean of its metrics; None without any.
        metrics: name of a metric -> its mean; those that say nothing about any item are not in it.
        tokens: of the answers; `judge_tokens` of the judge.
        median_ms, slowest_ms: how long answers took, half of them at most, and 95 in 100.
    """

    done: int = 0
    failed: int = 0
    score: float | None = None
    metrics: Mapping[str, MetricSummary] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)
    judge_tokens: Tokens = field(default_factory=Tokens)
    median_ms: int | None = None
    slowest_ms: int | None = None


@dataclass(frozen=True)
class Run:
    """One evaluation of an assistant.

    Attributes:
        assistant_version, index_version: of the assistant when the run began.
        metrics: what is scored.
        judge_model: the provider's model name of the judge; None for the server's own choice.
        parallel: how many questions are asked at the same time.
        items: how many there are.
        queued: a job of the servers' goes on with it; else only the command that began it.
        summary: of the last time that it ended.
        error_code, error: why it failed.
        lease_owner: the attempt that works on it; None while nobody does.
        lease_until: when that attempt counts as dead, or, without an owner, when a job for it counts as lost.
        attempts: how often somebody began to work on it.
    """

    id: str
    assistant_id: str
    assistant_version: int
    index_version: int
    dataset_name: str
    dataset_sha256: str
    metrics: tuple[Metric, ...]
    items: int
    created_at: datetime
    judge_model: str | None = None
    parallel: int = 4
    queued: bool = False
    status: RunStatus = RunStatus.RUNNING
    ended_at: datetime | None = None
    summary: Summary | None = None
    error_code: str | None = None
    error: str | None = None
    lease_owner: str | None = None
    lease_until: datetime | None = None
    attempts: int = 0


class ResultStatus(StrEnum):
    """Whether an item of a run was scored."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """One item of a run, and what came of it.

    Attributes:
        position: the item's place in the dataset, from 0.
        citations: the names of the files that the answer cites.
        scores: name of a metric -> 0 to 1; only those that say something about the item.
        reason: the judge's.
        error_code, error: why it could not be scored.
    """

    id: str
    run_id: str
    assistant_id: str
    position: int
    item: DatasetItem
    status: ResultStatus = ResultStatus.WAITING
    answer: str | None = None
    citations: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    model: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    judge_tokens: Tokens = field(default_factory=Tokens)
    timings: Timings = field(default_factory=Timings)
    error_code: str | None = None
    error: str | None = None
    ended_at: datetime | None = None

    @property
    def score(self) -> float | None:
        """Return the mean of its scores, None while it has none."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else None
