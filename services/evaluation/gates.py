"""Whether a run is good enough: least scores, and no worse than an earlier run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.errors import Invalid
from models.evaluations import Summary
from services.evaluation.summaries import OVERALL, Comparison


@dataclass(frozen=True)
class Gates:
    """What a run has to reach.

    Attributes:
        least: name of a metric, or `score` for all of them -> its least mean.
        max_drop: by how much a mean may be below that of the run before.
    """

    least: Mapping[str, float] = field(default_factory=dict)
    max_drop: float = 0.05


def least_of(texts: Sequence[str], known: Sequence[str]) -> Mapping[str, float]:
    """Return the least scores that texts such as `contains=0.9` name.

    Args:
        known: the metrics that the run has.

    Raises:
        Invalid: one of them cannot be read.
    """
    least: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if name not in (OVERALL, *known) or not 0 <= value <= 1:
            raise Invalid(f"{text!r} is no least score. Write metric=0.9 with one of: {', '.join((OVERALL, *known))}.")
        least[name] = value
    return least


def misses(summary: Summary, gates: Gates, comparison: Comparison | None = None) -> Sequence[str]:
    """Return what a run misses, each as a sentence; none when it is good enough."""
    means = {name: metric.mean for name, metric in summary.metrics.items()}
    if summary.score is not None:
        means[OVERALL] = summary.score
    found = []
    for name, least in gates.least.items():
        if name not in means:
            found.append(f"{name} has no score, and at least {least:.3f} is asked for")
        elif means[name] < least:
            found.append(f"{name} is {means[name]:.3f}, and at least {least:.3f} is asked for")
    if comparison is not None:
        found += [
            f"{one.metric} fell by {-one.change:.3f} against run {comparison.before.id}, "
            f"and at most {gates.max_drop:.3f} is allowed"
            for one in comparison.differences
            if one.change < -gates.max_drop
        ]
    return found
