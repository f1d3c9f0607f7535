"""Scores of an answer that need no model: the same words, the asked phrases, the right document."""

import re
from collections.abc import Collection, Mapping, Sequence

from models.evaluations import DatasetItem, Metric
from services.knowledge.language import fold

_APART = re.compile(r"[\W_]+")
_SPACED = "[^\\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff]"
"""A letter or digit of a script that puts spaces between its words."""


def applies(metric: Metric, item: DatasetItem) -> bool:
    """Tell whether a metric can say something about an item."""
    return {
        Metric.EXACT: item.expected is not None,
        Metric.CONTAINS: bool(item.contains),
        Metric.CITED: item.documents is not None,
        Metric.JUDGE: item.expected is not None or item.criteria is not None,
    }[metric]


def scores(item: DatasetItem, answer: str, cited: Collection[str], metrics: Collection[Metric]) -> Mapping[str, float]:
    """Return name -> score of those of the metrics that need no model and apply to the item."""
    found: dict[str, float] = {}
    for metric in metrics:
        if metric is not Metric.JUDGE and applies(metric, item):
            found[metric.value] = _score(metric, item, answer, cited)
    return found


def _score(metric: Metric, item: DatasetItem, answer: str, cited: Collection[str]) -> float:
    if metric is Metric.EXACT:
        return exact(answer, item.expected or "")
    if metric is Metric.CONTAINS:
        return contains(answer, item.contains)
    return cited_right(cited, item.documents or ())


def normalised(text: str) -> str:
    """Return a text without what `exact` and `contains` do not look at: case, accents, white space, punctuation."""
    return _APART.sub(" ", fold(text)).strip()


def exact(answer: str, expected: str) -> float:
    """Return 1 where the two are the same text, else 0."""
    return float(normalised(answer) == normalised(expected))


def contains(answer: str, phrases: Sequence[str]) -> float:
    """Return the share of the phrases that stand in the answer."""
    text = normalised(answer)
    return sum(_holds(text, phrase) if normalised(phrase) else phrase in answer for phrase in phrases) / len(phrases)


def cited_right(cited: Collection[str], documents: Collection[str]) -> float:
    """Return 1 where one of the documents is cited, or, if there are none, where nothing is; else 0."""
    return float(any(name in documents for name in cited) if documents else not cited)


def _holds(text: str, phrase: str) -> bool:
    """Tell whether a phrase stands in a normalised text, not within other words: `5 days` is not in `25 days`."""
    wanted = normalised(phrase)
    begin = f"(?<!{_SPACED})" if re.match(_SPACED, wanted) else ""
    end = f"(?!{_SPACED})" if re.match(_SPACED, wanted[-1]) else ""
    return re.search(f"{begin}{re.escape(wanted)}{end}", text) is not None
