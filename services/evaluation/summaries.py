"""Runs in numbers: the summary of one, and how much two differ."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy

from models.chats import Tokens
from models.errors import Invalid
from models.evaluations import MetricSummary, Result, ResultStatus, Run, Summary

OVERALL = "score"
"""What the mean of an item's metrics is called beside them."""

_RESAMPLES = 2_000
_SEED = 0
_CONFIDENCE = (2.5, 97.5)
_EQUAL = 1e-9


@dataclass(frozen=True)
class Difference:
    """How a metric changed between two runs, over the items that both have a score for.

    Attributes:
        before, after: the means.
        low, high: the 95 % interval of the mean difference, from a paired bootstrap.
    """

    metric: str
    items: int
    before: float
    after: float
    low: float
    high: float

    @property
    def change(self) -> float:
        """Return by how much the mean rose."""
        return self.after - self.before


@dataclass(frozen=True)
class Pair:
    """An item in two runs."""

    before: Result
    after: Result

    @property
    def change(self) -> float:
        """Return by how much its score rose; 0 where one of the two has none."""
        if self.before.score is None or self.after.score is None:
            return 0.0
        return self.after.score - self.before.score


@dataclass(frozen=True)
class Comparison:
    """What changed between two runs.

    Attributes:
        differences: of the whole score first, then of each metric that both have.
        pairs: the items that both have, in the order of the second run.
        worse, better: those of them whose score fell or rose, the largest change first.
    """

    before: Run
    after: Run
    differences: tuple[Difference, ...]
    pairs: tuple[Pair, ...]

    @property
    def worse(self) -> Sequence[Pair]:
        """Return the items whose score fell, the largest fall first."""
        return sorted((pair for pair in self.pairs if pair.change < -_EQUAL), key=lambda pair: pair.change)

    @property
    def better(self) -> Sequence[Pair]:
        """Return the items whose score rose, the largest rise first."""
        return sorted((pair for pair in self.pairs if pair.change > _EQUAL), key=lambda pair: -pair.change)


def summarised(results: Sequence[Result]) -> Summary:
    """Return the summary of a run's results so far."""
    done = [result for result in results if result.status is ResultStatus.DONE]
    by_metric: dict[str, list[float]] = defaultdict(list)
    for result in done:
        for metric, score in result.scores.items():
            by_metric[metric].append(score)
    whole = [result.score for result in done if result.score is not None]
    times = [result.timings.total_ms for result in done if result.timings.total_ms is not None]
    median, slowest = (round(float(value)) for value in numpy.percentile(times, (50, 95))) if times else (None, None)
    return Summary(
        done=len(done),
        failed=sum(result.status is ResultStatus.FAILED for result in results),
        score=_mean(whole) if whole else None,
        metrics={metric: MetricSummary(_mean(scores), len(scores)) for metric, scores in sorted(by_metric.items())},
        tokens=_added(result.tokens for result in done),
        judge_tokens=_added(result.judge_tokens for result in done),
        median_ms=median,
        slowest_ms=slowest,
    )


def by_group(results: Iterable[Result]) -> Mapping[str, MetricSummary]:
    """Return tag, or `language: pt`, -> mean score of the items that have it, the groups with most items first."""
    groups: dict[str, list[float]] = defaultdict(list)
    for result in results:
        if result.score is None:
            continue
        names = (*result.item.tags, *((f"language: {result.item.language}",) if result.item.language else ()))
        for name in dict.fromkeys(names):
            groups[name].append(result.score)
    largest = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return {name: MetricSummary(_mean(scores), len(scores)) for name, scores in largest}


def compared(before: Run, earlier: Sequence[Result], after: Run, later: Sequence[Result]) -> Comparison:
    """Return what changed between two runs; items are the same when id and question are.

    Raises:
        Invalid: they have no scored item in common.
    """
    known = {(result.item.id, result.item.question): result for result in earlier}
    pairs = [Pair(known[key], result) for result in later if (key := (result.item.id, result.item.question)) in known]
    metrics = sorted({metric for pair in pairs for metric in pair.before.scores.keys() & pair.after.scores.keys()})
    found = [_difference(OVERALL, pairs, lambda result: result.score)]
    found += [_difference(metric, pairs, _score_in(metric)) for metric in metrics]
    differences = tuple(one for one in found if one is not None)
    if not differences:
        raise Invalid("These runs have no scored item in common. Compare runs of the same dataset.")
    return Comparison(before, after, differences, tuple(pairs))


def _difference(metric: str, pairs: Sequence[Pair], score: Callable[[Result], float | None]) -> Difference | None:
    """Return how a metric changed, None without an item that has it twice.

    The interval is that of the percentile bootstrap (Efron 1979) over the items' differences, with a fixed seed.
    """
    both = [(score(pair.before), score(pair.after)) for pair in pairs]
    scored = numpy.array([one for one in both if None not in one], dtype=float)
    if not len(scored):
        return None
    changes = scored[:, 1] - scored[:, 0]
    chance = numpy.random.default_rng(_SEED)
    means = changes[chance.integers(0, len(changes), (_RESAMPLES, len(changes)), dtype=numpy.int32)].mean(axis=1)
    low, high = numpy.percentile(means, _CONFIDENCE)
    before, after = scored.mean(axis=0)
    return Difference(metric, len(scored), float(before), float(after), float(low), float(high))


def _score_in(metric: str) -> Callable[[Result], float | None]:
    return lambda result: result.scores.get(metric)


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)


def _added(tokens: Iterable[Tokens]) -> Tokens:
    counted = list(tokens)
    return Tokens(sum(one.input for one in counted), sum(one.output for one in counted))
