"""Scores that need no model."""

import pytest

from models.evaluations import DatasetItem, Metric
from services.evaluation.scoring import applies, cited_right, contains, exact, scores


@pytest.mark.parametrize(
    ("answer", "expected", "score"),
    [
        ("27 days.", "27 DAYS", 1),
        ("  São  Paulo!\n", "sao paulo", 1),
        ("27 days", "27 day", 0),
        ("每年15天。", "每年15天", 1),
        ("", "27", 0),
    ],
)
def test_exact_looks_at_the_words_only(answer: str, expected: str, score: float) -> None:
    assert exact(answer, expected) == score


@pytest.mark.parametrize(
    ("answer", "phrases", "score"),
    [
        ("You get 27 days of PAID vacation.", ["27 days", "paid vacation"], 1),
        ("You get 27 days.", ["27 days", "paid vacation"], 0.5),
        ("You get 25 days.", ["5 days"], 0),
        ("Reset it at id.example/reset.", ["id.example/reset"], 1),
        ("Férias de 30 dias", ["ferias"], 1),
        ("The carpet is red.", ["car"], 0),
        ("员工每年享有15天带薪年假。", ["带薪年假", "15天"], 1),
        ("It costs 5 € a month", ["€"], 1),
        ("It costs nothing", ["€"], 0),
        ("**At least** 14 characters", ["at least 14 characters"], 1),
    ],
)
def test_contains_counts_phrases_as_whole_words(answer: str, phrases: list[str], score: float) -> None:
    assert contains(answer, phrases) == score


@pytest.mark.parametrize(
    ("cited", "documents", "score"),
    [
        (["a.md", "b.md"], ["b.md"], 1),
        (["a.md"], ["b.md", "c.md"], 0),
        ([], ["b.md"], 0),
        ([], [], 1),
        (["a.md"], [], 0),
    ],
)
def test_cited_is_one_right_document_or_none_where_none_may_be(
    cited: list[str], documents: list[str], score: float
) -> None:
    assert cited_right(cited, documents) == score


def test_metrics_say_something_only_where_the_item_has_something_for_them() -> None:
    bare, full = DatasetItem("1", "q"), DatasetItem("2", "q", expected="a", contains=("a",), documents=())
    assert [metric for metric in Metric if applies(metric, bare)] == []
    assert [metric for metric in Metric if applies(metric, full)] == list(Metric)
    assert applies(Metric.JUDGE, DatasetItem("3", "q", criteria="polite"))
    assert scores(bare, "a", [], list(Metric)) == {}
    assert scores(full, "a", [], list(Metric)) == {"exact": 1, "contains": 1, "cited": 1}
    assert scores(full, "a", [], [Metric.CITED]) == {"cited": 1}
