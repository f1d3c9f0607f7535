"""Evaluation as one thing: what routes and commands call."""

from dataclasses import dataclass

from models.errors import NotFound
from models.evaluations import Run
from models.users import Principal
from services.evaluation.datasets import DatasetService
from services.evaluation.report import ReportRenderer
from services.evaluation.runs import RunOrder, RunService


@dataclass(frozen=True)
class EvaluationService:
    """Datasets, runs and their reports."""

    datasets: DatasetService
    runs: RunService
    reports: ReportRenderer

    def begin(self, caller: Principal, assistant_id: str, dataset_id: str, order: RunOrder) -> Run:
        """Begin a run of an assistant's stored dataset.

        Raises:
            NotFound: there is no such dataset, or it is another assistant's.
            Invalid: as `RunService.begin`.
        """
        dataset = self.datasets.get(caller, dataset_id)
        if dataset.assistant_id != assistant_id:
            raise NotFound(f"There is no dataset {dataset_id!r} of this assistant.")
        return self.runs.begin(caller, assistant_id, dataset.name, self.datasets.items(dataset), order)

    def report(self, caller: Principal, run_id: str) -> str:
        """Return a run as an HTML page that stands alone."""
        return self.reports.of_run(*self.runs.whole(caller, run_id))

    def comparison_report(self, caller: Principal, before_id: str, after_id: str) -> str:
        """Return two runs beside each other as an HTML page that stands alone.

        Raises:
            Invalid: they have no scored item in common.
        """
        return self.reports.of_comparison(self.runs.compare(caller, before_id, after_id))
