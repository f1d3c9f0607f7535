"""The pictures of reports, as SVG that stands in the page itself: no script, no font and no style from elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy
import pygal
from pygal.etree import etree
from pygal.style import Style

from models.evaluations import MetricSummary, Result
from services.evaluation.summaries import OVERALL, Comparison, by_group

# pygal 3 puts a finder of its plugins among Python's own; it is of a kind that Python 3.11 warns of and 3.12 ignores
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
etree.to_etree()  # else it takes lxml where that happens to be installed, and draws something else

_STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground="#3c4653",
    foreground_strong="#1d2630",
    foreground_subtle="#8793a1",
    colors=("#2563a8", "#e08a1e", "#3f8f5b", "#a4487f", "#6a5acd"),
    guide_stroke_color="#dfe3e8",
    major_guide_stroke_color="#dfe3e8",
    guide_stroke_dasharray="0",
    major_guide_stroke_dasharray="0",
    font_family="system-ui, sans-serif",
    label_font_size=13,
    major_label_font_size=13,
    legend_font_size=13,
    value_font_size=12,
    title_font_size=15,
)
_SIZE = {"width": 560, "height": 320}
_BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_BIN_NAMES = ("0 to .2", ".2 to .4", ".4 to .6", ".6 to .8", ".8 to 1")
_HISTOGRAM_BINS = 10
_MOST_GROUPS = 15
_NAME_LENGTH = 28
_NOT_DRAWN = ("script", "desc")


def score_distribution(results: Sequence[Result]) -> str:
    """Return how many items have which score, a colour for each metric."""
    chart = _chart(pygal.Bar, "Scores", y_title="items", x_labels=_BIN_NAMES)
    for metric in sorted({metric for result in results for metric in result.scores}):
        scores = [result.scores[metric] for result in results if metric in result.scores]
        chart.add(metric, _counted(scores, _BINS))
    return _svg(chart)


def groups(results: Sequence[Result]) -> str:
    """Return the mean score by tag and language; "" where items have none."""
    found = list(by_group(results).items())[:_MOST_GROUPS][::-1]  # they are drawn upwards
    if not found:
        return ""
    chart = _chart(
        pygal.HorizontalBar,
        "Score by tag",
        range=(0, 1),
        x_labels=[f"{_short(name)} ({summary.items})" for name, summary in found],
        show_legend=False,
        print_values=True,
        height=110 + 30 * len(found),
    )
    chart.add(OVERALL, [round(summary.mean, 3) for _, summary in found])
    return _svg(chart)


def latency(results: Sequence[Result]) -> str:
    """Return how many answers took how long; "" where none is known."""
    times = [result.timings.total_ms / 1000 for result in results if result.timings.total_ms is not None]
    return _histogram("Time of answers", "seconds", times)


def tokens(results: Sequence[Result]) -> str:
    """Return how many answers cost how many tokens, read and written together."""
    return _histogram("Tokens of answers", "tokens", [float(one.tokens.input + one.tokens.output) for one in results])


def before_and_after(comparison: Comparison) -> str:
    """Return the means of two runs beside each other."""
    differences = comparison.differences
    chart = _chart(pygal.Bar, "Means", range=(0, 1), x_labels=[one.metric for one in differences], print_values=True)
    chart.add("before", [round(one.before, 3) for one in differences])
    chart.add("after", [round(one.after, 3) for one in differences])
    return _svg(chart)


def groups_before_and_after(comparison: Comparison) -> str:
    """Return the mean scores by tag of two runs; "" where items have none."""
    before: Mapping[str, MetricSummary] = by_group(pair.before for pair in comparison.pairs)
    after: Mapping[str, MetricSummary] = by_group(pair.after for pair in comparison.pairs)
    names = [name for name in after if name in before][:_MOST_GROUPS][::-1]
    if not names:
        return ""
    height = 130 + 45 * len(names)
    chart = _chart(pygal.HorizontalBar, "Score by tag", range=(0, 1), x_labels=[*map(_short, names)], height=height)
    chart.add("before", [round(before[name].mean, 3) for name in names])
    chart.add("after", [round(after[name].mean, 3) for name in names])
    return _svg(chart)


def _histogram(title: str, unit: str, values: Sequence[float]) -> str:
    if not values:
        return ""
    edges = [float(edge) for edge in numpy.histogram_bin_edges(values, bins=_HISTOGRAM_BINS)]
    labels = [f"{edge:.0f}" if edges[-1] >= _HISTOGRAM_BINS else f"{edge:.2f}" for edge in edges[:-1]]
    chart = _chart(pygal.Bar, title, x_title=f"{unit}, from", y_title="answers", x_labels=labels, show_legend=False)
    chart.add(unit, _counted(values, edges))
    return _svg(chart)


def _counted(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    return [int(count) for count in numpy.histogram(values, bins=edges)[0]]


def _chart(kind: type[Any], title: str, **options: Any) -> Any:
    fixed = {"style": _STYLE, "js": [], "pretty_print": False, "explicit_size": False, "truncate_legend": -1}
    chart = kind(title=title, truncate_label=-1, legend_at_bottom=True, **{**fixed, **_SIZE, **options})
    chart.uuid = title.lower().replace(" ", "-")  # else random, and a page would never be the same twice
    return chart


def _svg(chart: Any) -> str:
    """Return a chart without the script that pygal adds, and without its descriptions for it."""
    root = chart.render_tree()
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] in _NOT_DRAWN:
                parent.remove(child)
    for name in [name for name in root.attrib if name.startswith("xmlns")]:
        del root.attrib[name]  # HTML knows what SVG is
    return str(ElementTree.tostring(root, encoding="unicode", method="html"))


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
