"""Runs as their owners see them: begun, watched, cancelled, gone on with, compared, deleted."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from models.clock import now
from models.errors import Conflict, Invalid, NotFound, Unavailable
from models.evaluations import DatasetItem, Metric, Result, ResultStatus, Run, RunStatus
from models.ids import is_id, new_id
from models.paging import Listing, Page
from models.users import Principal
from services.evaluation.datasets import checked
from services.evaluation.judging import Judge
from services.evaluation.running import Progress, Runner
from services.evaluation.scoring import applies
from services.evaluation.summaries import Comparison, compared, summarised
from services.ownership import Ownership
from services.ports import AssistantRepository, JobQueue, RunRepository

logger = logging.getLogger("orquestra.evaluation")

RUN_EVALUATION = "run_evaluation"
"""The job that goes on with a run; its argument is the run's id."""

MOST_PARALLEL = 16
_USUAL = (Metric.CONTAINS, Metric.CITED)
_QUEUED_SECONDS = 60.0
"""How long a job may wait in the queue before the sweeper asks for it again."""
_SWEPT = 100


@dataclass(frozen=True)
class RunOrder:
    """How to run.

    Attributes:
        metrics: what is scored; None for `contains` and `cited`, and `judge` if a judge is named, as far as the
            dataset has something to score with them.
        judge_model: the provider's model name of the judge.
        parallel: how many questions are asked at the same time, up to 16.
        queued: have the servers work on it, not this process.
    """

    metrics: Sequence[Metric] | None = None
    judge_model: str | None = None
    parallel: int = 4
    queued: bool = False


class RunService:
    """Manage the runs of the assistants that a user manages."""

    def __init__(
        self, assistants: AssistantRepository, runs: RunRepository, runner: Runner, judge: Judge, jobs: JobQueue
    ) -> None:
        self._assistants = assistants
        self._runs = runs
        self._runner = runner
        self._judge = judge
        self._jobs = jobs
        self._ownership = Ownership(assistants)

    def begin(
        self, caller: Principal, assistant_id: str, name: str, items: Sequence[DatasetItem], order: RunOrder
    ) -> Run:
        """Store a new run of these items, and ask for its job if it is `queued`.

        Raises:
            Invalid: the items are no dataset, or cannot be scored so; or there is no model to judge.
        """
        assistant = self._ownership.assistant(caller, assistant_id)
        sha256, metrics = checked(items), self._metrics(items, order)
        run = Run(
            new_id(),
            assistant.id,
            assistant.version,
            assistant.index_version,
            name,
            sha256,
            metrics,
            len(items),
            now(),
            judge_model=order.judge_model,
            parallel=min(order.parallel, MOST_PARALLEL),
            queued=order.queued,
            lease_until=now() + timedelta(seconds=_QUEUED_SECONDS),
        )
        results = [Result(new_id(), run.id, assistant.id, position, item) for position, item in enumerate(items)]
        self._runs.add(run, results)
        if self._assistants.get(assistant.id) is None:  # deleted meanwhile: nobody else would delete this
            self._runs.delete(run.id)
            raise NotFound(f"There is no assistant {assistant_id!r}.")
        if run.queued:
            self._nudge(run.id)
        return run

    def get(self, caller: Principal, run_id: str) -> Run:
        """Return a run that the caller may see.

        Raises:
            NotFound: it does not exist, or is somebody else's.
        """
        found = self._runs.get(run_id) if is_id(run_id) else None
        if found is None or not self._ownership.sees(caller, found.assistant_id):
            raise NotFound(f"There is no evaluation {run_id!r}.")
        return found

    def progress(self, run: Run) -> Mapping[ResultStatus, int]:
        """Return how many items of a run have which status."""
        return self._runs.progress(run.id)

    def list(self, caller: Principal, assistant_id: str | None, page: Page) -> Listing[Run]:
        """List the caller's runs, newest first."""
        return self._runs.list(self._ownership.visible_ids(caller, assistant_id), page)

    def listed_results(self, caller: Principal, run_id: str, page: Page) -> Listing[Result]:
        """List a run's results in the order of the dataset."""
        return self._runs.results(self.get(caller, run_id).id, page)

    def whole(self, caller: Principal, run_id: str) -> tuple[Run, Sequence[Result]]:
        """Return a run, with the summary as of now, and all of its results."""
        run = self.get(caller, run_id)
        results = self._runner.results(run.id)
        return replace(run, summary=summarised(results)), results

    def compare(self, caller: Principal, before_id: str, after_id: str) -> Comparison:
        """Return what changed between two runs.

        Raises:
            Invalid: they have no scored item in common.
        """
        before, earlier = self.whole(caller, before_id)
        after, later = self.whole(caller, after_id)
        return compared(before, earlier, after, later)

    def cancel(self, caller: Principal, run_id: str) -> Run:
        """End a run that goes on; whoever works on it notices within seconds. One that has ended stays as it is."""
        run = self.get(caller, run_id)
        changes = {"status": RunStatus.CANCELLED, "ended_at": now(), "summary": self.whole(caller, run_id)[0].summary}
        self._runs.switch(run.id, RunStatus.RUNNING, changes)
        return self.get(caller, run_id)

    def reopen(self, caller: Principal, run_id: str, sha256: str) -> Run:
        """Return a run that can be gone on with here: what is scored stays, what failed is tried again.

        Args:
            sha256: of the items that the caller takes the run to be of.

        Raises:
            Conflict: it is a run of other items.
        """
        run = self.get(caller, run_id)
        if run.dataset_sha256 != sha256:
            raise Conflict(
                "This run is of another dataset. Name the file that it was begun with.", code="other_dataset"
            )
        done = self._runs.progress(run.id)[ResultStatus.DONE]
        if run.status is not RunStatus.RUNNING and done < run.items:
            changes = {"status": RunStatus.RUNNING, "ended_at": None, "error_code": None, "error": None}
            self._runs.switch(run.id, run.status, {**changes, "queued": False})
        return self.get(caller, run_id)

    def unfinished(self, caller: Principal, assistant_id: str, sha256: str) -> Run | None:
        """Return the newest run of these items that lacks some, among the assistant's last hundred."""
        for run in self.list(caller, assistant_id, Page(100)).items:
            if run.dataset_sha256 == sha256 and self._runs.progress(run.id)[ResultStatus.DONE] < run.items:
                return run
        return None

    def delete(self, caller: Principal, run_id: str) -> None:
        """Delete a run with its results, and what its questions have left, if its last worker died."""
        run = self.get(caller, run_id)
        self._runs.switch(run.id, RunStatus.RUNNING, {"status": RunStatus.CANCELLED, "ended_at": now()})
        self._runner.tidy(self._runner.results(run.id))
        self._runs.delete(run.id)

    def work_here(self, run_id: str, progress: Progress) -> bool:
        """Go on with a run in this process; False, and nothing done, if it has ended, or somebody else is at it."""
        return self._runner.work(run_id, progress)

    def work(self, run_id: str) -> None:
        """Do the job `RUN_EVALUATION`; a run that has ended, or that somebody works on, needs nothing.

        Raises:
            Unavailable: the store failed, or this process is about to end; the next try goes on.
        """
        self._runner.work(run_id)

    def sweep(self) -> None:
        """Ask for the jobs of runs that nobody works on: their server died, or their job was lost."""
        at = now()
        for run in self._runs.unfinished(at, _SWEPT):
            if self._runs.requeue(run, at + timedelta(seconds=_QUEUED_SECONDS)):
                self._nudge(run.id)

    def _metrics(self, items: Sequence[DatasetItem], order: RunOrder) -> tuple[Metric, ...]:
        """Return what is scored, in a fixed order.

        Raises:
            Invalid: no item can be scored by one that was named, or by any; or there is no model to judge.
        """
        usable = [metric for metric in Metric if any(applies(metric, item) for item in items)]
        if order.metrics is None:
            usual = (*_USUAL, *((Metric.JUDGE,) if order.judge_model else ()))
            metrics = tuple(metric for metric in usable if metric in usual)
        else:
            metrics = tuple(metric for metric in Metric if metric in order.metrics)
        useless = [metric.value for metric in metrics if metric not in usable]
        if useless or not metrics:
            raise Invalid(
                f"No item can be scored by {', '.join(useless) or 'any of the metrics'}. `exact` needs `expected`, "
                "`contains` needs `contains`, `cited` needs `documents`, `judge` needs `expected` or `criteria`.",
                errors={"metrics": ["Name metrics that the dataset's items have something for."]},
            )
        if Metric.JUDGE in metrics:
            self._judge.check()
        return metrics

    def _nudge(self, run_id: str) -> None:
        try:
            self._jobs.enqueue(RUN_EVALUATION, run_id)
        except Unavailable as error:
            logger.warning("a job waits for the sweeper", extra={"code": error.code, "run": run_id})
