"""Runs in numbers: summaries, comparisons, and what is good enough."""

from datetime import UTC, datetime

import pytest

from models.chats import Timings, Tokens
from models.errors import Invalid
from models.evaluations import DatasetItem, Metric, Result, ResultStatus, Run
from models.ids import new_id
from services.evaluation.gates import Gates, least_of, misses
from services.evaluation.summaries import by_group, compared, summarised

AT = datetime(2026, 11, 21, tzinfo=UTC)


def run() -> Run:
    return Run(new_id(), new_id(), 1, 1, "d.jsonl", "0", (Metric.CONTAINS,), 2, AT)


def result(item_id: str, scores: dict[str, float] | None = None, ms: int | None = None, **fields: object) -> Result:
    item = DatasetItem(item_id, f"question {item_id}", tags=("all",), language="pt" if item_id == "1" else None)
    status = ResultStatus.WAITING if scores is None else ResultStatus.DONE
    given = {"status": status, "scores": scores or {}, "timings": Timings(total_ms=ms), **fields}
    return Result(new_id(), "r", "a", 0, item, **given)  # type: ignore[arg-type]


def test_a_summary_is_the_mean_of_items_and_of_each_metric() -> None:
    results = [
        result("1", {"contains": 1.0, "judge": 0.5}, ms=100, tokens=Tokens(10, 2), judge_tokens=Tokens(1, 1)),
        result("2", {"contains": 0.0}, ms=300, tokens=Tokens(20, 3)),
        result("3", {}, ms=200),
        result("4", status=ResultStatus.FAILED),
        result("5"),
    ]
    summary = summarised(results)
    assert (summary.done, summary.failed) == (3, 1)
    assert summary.score == pytest.approx((0.75 + 0.0) / 2)
    means = {name: (metric.mean, metric.items) for name, metric in summary.metrics.items()}
    assert means == {"contains": (0.5, 2), "judge": (0.5, 1)}
    assert (summary.tokens, summary.judge_tokens) == (Tokens(30, 5), Tokens(1, 1))
    assert (summary.median_ms, summary.slowest_ms) == (200, 290)


def test_an_empty_summary_has_no_score() -> None:
    summary = summarised([result("1")])
    assert (summary.score, summary.metrics, summary.median_ms, summary.done) == (None, {}, None, 0)


def test_groups_are_tags_and_languages() -> None:
    groups = by_group([result("1", {"contains": 1.0}), result("2", {"contains": 0.0}), result("3")])
    assert {name: (one.mean, one.items) for name, one in groups.items()} == {"all": (0.5, 2), "language: pt": (1.0, 1)}


def test_runs_are_compared_item_by_item() -> None:
    before = [result("1", {"contains": 1.0}), result("2", {"contains": 0.0}), result("gone", {"contains": 0.0})]
    after = [result("2", {"contains": 1.0}), result("1", {"contains": 0.5}), result("new", {"contains": 1.0})]
    comparison = compared(run(), before, run(), after)
    overall, contains = comparison.differences
    assert (overall.metric, contains.metric, contains.items) == ("score", "contains", 2)
    assert (contains.before, contains.after, contains.change) == (0.5, 0.75, 0.25)
    assert contains.low == -0.5 and contains.high == 1.0
    assert [pair.after.item.id for pair in comparison.worse] == ["1"]
    assert [pair.after.item.id for pair in comparison.better] == ["2"]


def test_an_interval_is_narrow_where_many_items_agree_and_the_same_each_time() -> None:
    numbers = [str(number) for number in range(200)]
    before = [result(number, {"contains": 0.0}) for number in numbers]
    after = [result(number, {"contains": float(int(number) % 4 == 0)}) for number in numbers]
    once, twice = (compared(run(), before, run(), after).differences[1] for _ in range(2))
    assert once == twice
    assert once.change == 0.25
    # of 200 items with a share of a quarter the mean's standard error is 0.0306
    assert once.low == pytest.approx(0.25 - 1.96 * 0.0306, abs=0.012)
    assert once.high == pytest.approx(0.25 + 1.96 * 0.0306, abs=0.012)


def test_a_changed_question_is_another_item() -> None:
    before, after = result("1", {"contains": 1.0}), result("1", {"contains": 0.0})
    changed = Result(after.id, "r", "a", 0, DatasetItem("1", "another"), ResultStatus.DONE, scores={"contains": 0.0})
    with pytest.raises(Invalid, match="in common"):
        compared(run(), [before], run(), [changed])


def test_gates_name_what_is_missed() -> None:
    summary = summarised([result("1", {"contains": 0.5})])
    assert misses(summary, Gates({"contains": 0.5, "score": 0.5})) == []
    (missed,) = misses(summary, Gates({"contains": 0.6}))
    assert missed == "contains is 0.500, and at least 0.600 is asked for"
    assert misses(summary, Gates({"judge": 0.0})), "a metric without a score is not good enough"


def test_a_drop_against_the_baseline_is_missed() -> None:
    before, after = [result("1", {"contains": 1.0})], [result("1", {"contains": 0.9})]
    comparison = compared(run(), before, run(), after)
    summary = summarised(after)
    assert misses(summary, Gates(max_drop=0.2), comparison) == []
    assert len(misses(summary, Gates(max_drop=0.05), comparison)) == 2  # the whole score, and `contains`


@pytest.mark.parametrize(
    "text", ["contains", "contains=", "contains=2", "contains=x", "other=0.5", "=1", "contains=nan"]
)
def test_a_gate_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        least_of([text], ["contains"])
    assert least_of(["contains=0.9", "score=1"], ["contains"]) == {"contains": 0.9, "score": 1.0}
