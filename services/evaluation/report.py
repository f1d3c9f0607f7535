"""Reports: a run, or two beside each other, as one HTML file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.evaluations import Result, ResultStatus, Run
from services.evaluation import charts
from services.evaluation.summaries import Comparison
from services.ports import AssistantRepository

_TEMPLATES = Path(__file__).parent / "templates"


class ReportRenderer:
    """Draw reports. Everything in them that people or models wrote is text, whatever it looks like."""

    def __init__(self, assistants: AssistantRepository) -> None:
        self._assistants = assistants
        self._templates = Environment(
            loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )

    def of_run(self, run: Run, results: Sequence[Result]) -> str:
        """Return the page of a run; its summary is that of the results."""
        done = [result for result in results if result.status is ResultStatus.DONE]
        pictures = (charts.score_distribution(done), charts.groups(done), charts.latency(done), charts.tokens(done))
        worst_first = sorted(results, key=lambda result: (result.score is not None, result.score or 0.0))
        return self._templates.get_template("run.html").render(
            run=run,
            assistant=self._name_of(run),
            results=worst_first,
            pictures=_shown(pictures) if done else [],
        )

    def of_comparison(self, comparison: Comparison) -> str:
        """Return the page of two runs."""
        pictures = (charts.before_and_after(comparison), charts.groups_before_and_after(comparison))
        return self._templates.get_template("comparison.html").render(
            comparison=comparison,
            assistants=(self._name_of(comparison.before), self._name_of(comparison.after)),
            pictures=_shown(pictures),
        )

    def _name_of(self, run: Run) -> str:
        assistant = self._assistants.get(run.assistant_id)
        return assistant.name if assistant is not None else run.assistant_id


def _shown(pictures: Sequence[str]) -> list[str]:
    """Return the pictures there are."""
    return [picture for picture in pictures if picture]
