"""The commands that evaluate: `eval make-dataset`, `eval run`, `eval compare`, `eval list` and `eval show`."""

import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from models.chats import ChatStatus
from models.deadline import Deadline
from models.errors import Conflict, Invalid, NotFound
from models.evaluations import DatasetItem, Making, Metric, Origin, Run, RunStatus, Summary
from models.paging import Page
from models.users import OPERATOR
from routes.schemas.datasets import items_of_lines, lines_of_items
from services.evaluation.datasets import MOST_ITEMS, checked
from services.evaluation.gates import Gates, least_of, misses
from services.evaluation.runs import MOST_PARALLEL, RunOrder
from services.evaluation.service import EvaluationService
from services.evaluation.summaries import OVERALL, Comparison
from services.evaluation.tables import lines_of_changes, lines_of_comparison, lines_of_run
from services.registry import Services
from settings import Settings
from wiring import build_services


class NewFile(click.Path):
    """A file to write; that its folder is there is checked before the work for it is done."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = Path(str(super().convert(value, param, ctx)))
        if not path.parent.is_dir():
            self.fail(f"There is no folder {str(path.parent)!r}.", param, ctx)
        return path


_OUTPUT = NewFile(dir_okay=False, writable=True, path_type=Path)
_FAILED, _CANNOT, _INTERRUPTED = 1, 2, 130
_LEASE_SECONDS = 20.0
"""So long a run that was killed just now counts as worked on at most."""

_LOOK_SECONDS = 1.0
_LONGEST_SECONDS = 86_400.0
"""Each question about a passage has the deadline of an answer; whoever does not want to wait presses Ctrl-C."""

_ORIGINS = click.Choice([one.value for one in Origin])
_STATUSES = click.Choice([one.value for one in ChatStatus])
_RATINGS = {"up": 1, "down": -1}

Loader = Callable[[], Settings]


@click.group("eval")
def evaluation() -> None:
    """Measure how well an assistant answers; docs/evaluation.md says how."""


@evaluation.command("make-dataset")
@click.option("--assistant", "assistant_id", required=True, help="The assistant's id.")
@click.option(
    "--from",
    "origin",
    type=_ORIGINS,
    required=True,
    help="What to make questions from.",
)
@click.option("--feedback", type=click.Choice([*_RATINGS]), help="Only chats that were rated so.")
@click.option("--status", type=_STATUSES, help="Chats of this status, rated or not.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="No chats from before (UTC).")
@click.option("--limit", type=click.IntRange(1, MOST_ITEMS), default=50, show_default=True, help="Items at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed chooses the same.")
@click.option("--model", help="The model that writes questions about documents.")
@click.option("--offline", is_flag=True, help="Have no model write questions: make them of the documents' own words.")
@click.option("-o", "--output", type=_OUTPUT, required=True, help="The file to write.")
@click.pass_obj
def make_dataset(load_settings: Loader, /, assistant_id: str, output: Path, **options: Any) -> None:
    """Write a dataset made from chats that were rated or answered by a human, or from documents.

    The file holds what people wrote: treat it like the chats themselves.
    """
    making = _making(**options)
    with _services(load_settings) as services:
        items = services.evaluations.datasets.made(OPERATOR, assistant_id, making, Deadline(_LONGEST_SECONDS))
    output.write_text(lines_of_items(items), encoding="utf-8")
    click.echo(f"{len(items)} items in {output}")


@evaluation.command("run")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--assistant", "assistant_id", required=True, help="The assistant's id.")
@click.option("--metrics", help="Separated by commas: exact, contains, cited, judge. [default: contains,cited]")
@click.option("--judge-model", help="The model that judges; it makes `judge` one of the metrics.")
@click.option("--parallel", type=click.IntRange(1, MOST_PARALLEL), default=4, show_default=True)
@click.option("--report", type=_OUTPUT, help="Write a report in HTML.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="The least mean score.")
@click.option("--fail-under", multiple=True, metavar="METRIC=0.9", help="The least mean of a metric.")
@click.option("--baseline", metavar="RUN", help="A run that this one may not be worse than.")
@click.option("--max-drop", type=click.FloatRange(0, 1), default=0.05, show_default=True, help="... by more than this.")
@click.option("--resume", metavar="RUN|auto", help="Go on with a run; `auto`: the newest of FILE that lacks items.")
@click.pass_obj
def run(load_settings: Loader, /, file: Path, assistant_id: str, **options: Any) -> None:
    """Ask an assistant the questions of FILE and score its answers.

    Ends with 0 when it is good enough, 1 when it is not, 2 when it could not be run, or not for all items.
    """
    items = items_of_lines(file.read_bytes())
    with _services(load_settings) as services:
        evaluations = services.evaluations
        gates = _gates(options)
        baseline = options["baseline"] and evaluations.runs.get(OPERATOR, options["baseline"])
        if baseline and not {one.item.id for one in evaluations.runs.whole(OPERATOR, baseline.id)[1]} & _ids(items):
            raise click.UsageError("--baseline: that run has no item of this file, so there is nothing to compare.")
        begun = _begun(evaluations, assistant_id, file.name, items, options)
        click.echo(f"run {begun.id}: {begun.items} items, {', '.join(begun.metrics)}", err=True)
        _work(evaluations, begun)
        ended, results = evaluations.runs.whole(OPERATOR, begun.id)
        _tell(lines_of_run(ended, results))
        if options["report"]:
            options["report"].write_text(evaluations.report(OPERATOR, begun.id), encoding="utf-8")
            click.echo(f"report: {options['report']}")
        comparison = evaluations.runs.compare(OPERATOR, baseline.id, begun.id) if baseline else None
    code = _judged(ended, gates, comparison)
    if code:
        raise click.exceptions.Exit(code)


@evaluation.command("compare")
@click.argument("before")
@click.argument("after")
@click.option("--report", type=_OUTPUT, help="Write a report in HTML.")
@click.pass_obj
def compare(load_settings: Loader, /, before: str, after: str, report: Path | None) -> None:
    """Compare two runs: means, differences with their 95 % intervals, and the items that changed."""
    with _services(load_settings) as services:
        comparison = services.evaluations.runs.compare(OPERATOR, before, after)
        if report:
            report.write_text(services.evaluations.comparison_report(OPERATOR, before, after), encoding="utf-8")
    _tell(lines_of_comparison(comparison))
    _tell(lines_of_changes(comparison))
    if report:
        click.echo(f"report: {report}")


@evaluation.command("list")
@click.option("--assistant", "assistant_id", help="Only this assistant's.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.pass_obj
def list_(load_settings: Loader, /, assistant_id: str | None, limit: int) -> None:
    """List runs, newest first."""
    with _services(load_settings) as services:
        for one in services.evaluations.runs.list(OPERATOR, assistant_id, Page(limit)).items:
            score = one.summary.score if one.summary is not None else None
            shown = "     -" if score is None else f"{score:6.3f}"
            click.echo(f"{one.id}  {one.created_at:%Y-%m-%d %H:%M}  {one.status.value:9}  {shown}  {one.dataset_name}")


@evaluation.command("show")
@click.argument("run_id", metavar="RUN")
@click.option("--report", type=_OUTPUT, help="Write a report in HTML.")
@click.pass_obj
def show(load_settings: Loader, /, run_id: str, report: Path | None) -> None:
    """Show what came out of a run."""
    with _services(load_settings) as services:
        shown, results = services.evaluations.runs.whole(OPERATOR, run_id)
        if report:
            report.write_text(services.evaluations.report(OPERATOR, run_id), encoding="utf-8")
    _tell(lines_of_run(shown, results))
    if report:
        click.echo(f"report: {report}")


def _making(origin: str, feedback: str | None, status: str | None, since: datetime | None, **rest: Any) -> Making:
    """Return what to make.

    Raises:
        click.UsageError: an option has no effect.
    """
    of_chats = feedback or status or since
    if origin == Origin.DOCUMENTS and of_chats:
        raise click.UsageError("--feedback, --status and --since choose chats: they go with --from chats only.")
    if origin == Origin.CHATS and (rest["model"] or rest["offline"]):
        raise click.UsageError("--model and --offline go with --from documents only.")
    return Making(
        Origin(origin),
        feedback=_RATINGS[feedback] if feedback else None,
        status=ChatStatus(status) if status else None,
        since=since.replace(tzinfo=UTC) if since else None,
        **rest,
    )


def _begun(
    evaluations: EvaluationService, assistant_id: str, name: str, items: Sequence[DatasetItem], options: dict[str, Any]
) -> Run:
    """Return the run to work on: a new one, or one that is to be gone on with.

    Raises:
        NotFound: there is no such run, or none that lacks items.
    """
    resume = options["resume"]
    if resume is not None and (options["metrics"] or options["judge_model"]):
        raise click.UsageError("--metrics and --judge-model are those of the run that --resume goes on with.")
    if resume is None:
        order = RunOrder(_metrics(options), options["judge_model"], options["parallel"])
        return evaluations.runs.begin(OPERATOR, assistant_id, name, items, order)
    sha256 = checked(items)
    if resume == "auto":
        found = evaluations.runs.unfinished(OPERATOR, assistant_id, sha256)
        if found is None:
            raise NotFound("No run of this file lacks items. Leave --resume out to begin one.")
        resume = found.id
    if evaluations.runs.get(OPERATOR, resume).assistant_id != assistant_id:
        raise click.UsageError("--resume: that run is of another assistant.")
    return evaluations.runs.reopen(OPERATOR, resume, sha256)


def _ids(items: Sequence[DatasetItem]) -> set[str]:
    return {item.id for item in items}


def _metrics(options: dict[str, Any]) -> list[Metric] | None:
    """Return the metrics that are named.

    Raises:
        click.UsageError: one of them is none.
    """
    names = [name.strip() for name in (options["metrics"] or "").split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Metric)]
    if unknown:
        raise click.UsageError(f"--metrics: there is no {unknown[0]!r}; there are {', '.join(Metric)}.")
    judge = [Metric.JUDGE] if names and options["judge_model"] else []
    return [*map(Metric, names), *judge] or None


def _gates(options: dict[str, Any]) -> Gates:
    """Return what the run has to reach.

    Raises:
        click.UsageError: one of the least scores cannot be read.
    """
    texts = list(options["fail_under"])
    if options["min_score"] is not None:
        texts.append(f"{OVERALL}={options['min_score']}")
    try:
        return Gates(least_of(texts, list(Metric)), options["max_drop"])
    except Invalid as fault:
        raise click.UsageError(f"--fail-under: {fault.detail}") from fault


def _work(evaluations: EvaluationService, begun: Run) -> None:
    """Work on a run to its end, with a bar; a Ctrl-C or SIGTERM leaves it to be gone on with.

    Raises:
        Conflict: somebody else works on it, or it cannot be gone on with.
    """
    until = time.monotonic() + _LEASE_SECONDS
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends a job of CI that takes too long
    try:
        with _bar(begun) as progress:
            while not evaluations.runs.work_here(begun.id, progress):
                if evaluations.runs.get(OPERATOR, begun.id).status is not RunStatus.RUNNING:
                    break
                if time.monotonic() > until:
                    raise Conflict(f"Somebody else works on run {begun.id}. Watch it with `eval show`, or cancel it.")
                time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt as stopped:
        evaluations.runs.cancel(OPERATOR, begun.id)
        click.echo(f"stopped; go on with --resume {begun.id}", err=True)
        raise click.exceptions.Exit(_INTERRUPTED) from stopped
    ended = evaluations.runs.get(OPERATOR, begun.id)
    if ended.status is RunStatus.FAILED:
        raise Conflict(ended.error or "The run failed.", code=ended.error_code)


@contextmanager
def _services(load_settings: Loader) -> Iterator[Services]:
    """Give the services of the stores that the settings name; jobs are left to the servers."""
    settings = load_settings()
    logging.getLogger("dramatiq").setLevel(logging.WARNING)
    with closing(build_services(replace(settings, job_threads=0))) as services:
        yield services


@contextmanager
def _bar(begun: Run) -> Iterator[Callable[[int, int, str], None]]:
    with tqdm(total=begun.items, unit="item", dynamic_ncols=True) as bar:

        def show(done: int, of: int, what: str) -> None:
            bar.set_postfix_str(what[:30], refresh=False)
            bar.update(done - bar.n)

        yield show


def _judged(ended: Run, gates: Gates, comparison: Comparison | None) -> int:
    """Say what the run misses, and return the exit code."""
    if comparison is not None:
        _tell(lines_of_comparison(comparison))
    summary = ended.summary or Summary()
    missed = misses(summary, gates, comparison)
    for one in missed:
        click.echo(f"not good enough: {one}")
    if summary.done < ended.items:
        click.echo(f"{ended.items - summary.done} items have no score; try them again with --resume {ended.id}")
        return _CANNOT
    return _FAILED if missed else 0


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
