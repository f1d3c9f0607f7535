"""Runs and comparisons as lines of text, for a terminal."""

from collections.abc import Iterator, Sequence

from models.evaluations import Result, ResultStatus, Run, Summary
from services.evaluation.summaries import OVERALL, Comparison

_MOST_SHOWN = 20


def lines_of_run(run: Run, results: Sequence[Result]) -> Iterator[str]:
    """Yield a run's summary as a table, then what failed."""
    summary = run.summary or Summary()
    yield f"run      {run.id}  {run.status.value}  ({run.dataset_name})"
    yield f"items    {summary.done} of {run.items} scored, {summary.failed} failed"
    for name, metric in summary.metrics.items():
        yield f"{name:8} {metric.mean:.3f}  ({metric.items} {'item' if metric.items == 1 else 'items'})"
    if summary.score is not None:
        yield f"{OVERALL:8} {summary.score:.3f}"
    if summary.median_ms is not None:
        yield f"time     median {summary.median_ms} ms, 95 in 100 within {summary.slowest_ms} ms"
    yield f"tokens   {summary.tokens.input} read, {summary.tokens.output} written by the assistant's model"
    if summary.judge_tokens.input:
        yield f"         {summary.judge_tokens.input} read, {summary.judge_tokens.output} written by the judge"
    failed = [result for result in results if result.status is ResultStatus.FAILED]
    for result in failed[:_MOST_SHOWN]:
        yield f"failed: {result.item.id}: {result.error} ({result.error_code})"


def lines_of_comparison(comparison: Comparison) -> Iterator[str]:
    """Yield the differences of two runs as a table."""
    yield "metric     items  before   after   change  95 % interval"
    for one in comparison.differences:
        means = f"{one.before:6.3f}  {one.after:6.3f}  {one.change:+7.3f}"
        yield f"{one.metric:10} {one.items:5}  {means}  {one.low:+.3f} to {one.high:+.3f}"


def lines_of_changes(comparison: Comparison) -> Iterator[str]:
    """Yield the items that got worse or better, those with the largest change."""
    for title, pairs in (("worse", comparison.worse), ("better", comparison.better)):
        for pair in pairs[:_MOST_SHOWN]:
            question = " ".join(pair.after.item.question.split())[:80]
            yield f"{title}: {pair.change:+.2f} {pair.after.item.id}: {question}"
