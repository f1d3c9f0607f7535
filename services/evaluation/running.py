"""Working on a run: each item is asked, scored and stored by itself, so what was cut off goes on where it was."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from models.assistants import Assistant
from models.chats import Chat
from models.clock import now
from models.errors import CallCancelled, Conflict, OrquestraError, Unavailable
from models.evaluations import Metric, Result, ResultStatus, Run, RunStatus
from models.ids import new_id
from models.paging import Page
from services.evaluation.asking import Asker
from services.evaluation.judging import Judge
from services.evaluation.scoring import applies, scores
from services.evaluation.stopping import Stop
from services.evaluation.summaries import summarised
from services.leases import LeaseKeeper
from services.ports import AssistantRepository, RunRepository

logger = logging.getLogger("orquestra.evaluation")

Progress = Callable[[int, int, str], None]
"""Is told how many items are done, of how many, and what the last one was."""

MOST_ATTEMPTS = 20
"""A run whose workers died so often is given up."""

_PAGE = 200
_UNLEASED: dict[str, object] = {"lease_owner": None, "lease_until": None}


@dataclass(frozen=True)
class Attempt:
    """One process's work on a run."""

    run: Run
    owner: str
    assistant: Assistant
    stop: Stop


class Runner:
    """Do the work of runs, in a command or in a job."""

    def __init__(
        self, assistants: AssistantRepository, runs: RunRepository, asker: Asker, judge: Judge, leases: LeaseKeeper
    ) -> None:
        self._assistants = assistants
        self._runs = runs
        self._asker = asker
        self._judge = judge
        self._leases = leases
        self._working: set[Stop] = set()
        self._lock = threading.Lock()
        self._closed = False

    def work(self, run_id: str, progress: Progress = lambda done, of, what: None) -> bool:
        """Go on with a run to its end; False, and nothing done, if it has ended, or somebody else is at it.

        Raises:
            Unavailable: the store failed, or (code `server_draining`) this process is about to end; the run is free.
        """
        owner = new_id()
        run = self._runs.claim(run_id, owner, self._leases.end_of_lease(), now())
        if run is None:
            return False
        assistant = self._assistants.get(run.assistant_id)
        if assistant is None:  # deleted just now, and the run with it
            self._runs.delete(run_id)
            return False
        hindrance = _hindrance(run, assistant)
        if hindrance is not None:
            changes = {"status": RunStatus.FAILED, "error_code": hindrance.code, "error": hindrance.detail}
            self._runs.change(run.id, owner, {**changes, "ended_at": now(), **_UNLEASED})
            return True
        with self._stoppable() as stop:
            attempt = Attempt(run, owner, assistant, stop)
            try:
                self._do(attempt, progress)
            finally:
                self._runs.change(run.id, owner, _UNLEASED)  # it has ended already, or is free for the next attempt
            if stop.stopped and self._closed:
                raise Unavailable("This process is about to end.", code="server_draining")
        return True

    def results(self, run_id: str) -> list[Result]:
        """Return all results of a run in the order of their positions."""
        found: list[Result] = []
        page = Page(_PAGE)
        while True:
            listing = self._runs.results(run_id, page)
            found += listing.items
            if not listing.more:
                return found
            page = Page(_PAGE, found[-1].id)

    def tidy(self, results: Sequence[Result]) -> None:
        """Erase what items have left in the store that were cut off between being scored and being forgotten."""
        for result in results:
            self._asker.forget(result)

    def close(self) -> None:
        """Let go of the runs that are worked on here: other processes go on with them."""
        with self._lock:
            self._closed = True
            working = list(self._working)
        for stop in working:
            stop.stop()

    @contextmanager
    def _stoppable(self) -> Iterator[Stop]:
        stop = Stop()
        with self._lock:
            self._working.add(stop)
            if self._closed:
                stop.stop()
        try:
            yield stop
        finally:
            with self._lock:
                self._working.discard(stop)

    def _do(self, attempt: Attempt, progress: Progress) -> None:
        """Ask what is not scored yet, and end the run, unless it is stopped before."""
        run, stop = attempt.run, attempt.stop

        def renew(until: datetime) -> None:
            if not self._runs.renew(run.id, attempt.owner, until):  # cancelled, deleted, or taken over
                stop.stop()

        with self._leases.keep(renew):
            results = self.results(run.id)
            if run.attempts > 1:
                self.tidy([result for result in results if result.status is not ResultStatus.WAITING])
            self._ask_all(attempt, results, progress)
        if not stop.stopped:
            summary = summarised(self.results(run.id))
            changes = {"status": RunStatus.DONE, "ended_at": now(), "summary": summary, **_UNLEASED}
            self._runs.change(run.id, attempt.owner, changes)

    def _ask_all(self, attempt: Attempt, results: Sequence[Result], progress: Progress) -> None:
        """Ask several at a time; whatever ends this early, a Ctrl-C too, ends the questions on their way."""
        waiting = [result for result in results if result.status is not ResultStatus.DONE]
        done, of, telling = len(results) - len(waiting), len(results), threading.Lock()
        progress(done, of, "")

        def ask(result: Result) -> None:
            nonlocal done
            if self._goes_on(attempt):
                self._do_item(attempt, result)
                with telling:
                    done += 1
                    progress(done, of, result.item.id)

        with ThreadPoolExecutor(attempt.run.parallel, thread_name_prefix="evaluation") as pool:
            asked: list[Future[None]] = []
            try:
                asked += [pool.submit(ask, result) for result in waiting]
                wait(asked, return_when="FIRST_EXCEPTION")
            finally:
                if not all(one.done() for one in asked):
                    attempt.stop.stop()
                    pool.shutdown(wait=True, cancel_futures=True)
        for one in asked:
            if not one.cancelled():
                one.result()

    def _goes_on(self, attempt: Attempt) -> bool:
        """Tell whether the run is to go on here; it may have been cancelled, or taken over while this process slept."""
        if not attempt.stop.stopped:
            run = self._runs.get(attempt.run.id)
            if run is None or run.status is not RunStatus.RUNNING or run.lease_owner != attempt.owner:
                attempt.stop.stop()
        return not attempt.stop.stopped

    def _do_item(self, attempt: Attempt, result: Result) -> None:
        """Ask an item, store what came of it, and erase its conversation."""
        try:
            outcome = self._scored(attempt, result)
        except CallCancelled:
            outcome = None
        except OrquestraError as error:
            outcome = replace(
                result,
                status=ResultStatus.FAILED,
                error_code=error.code,
                error=error.detail,
                ended_at=now(),
            )
        if outcome is not None:
            self._runs.finish(outcome)
        try:
            self._asker.forget(result)
        except Unavailable as error:  # the next attempt, or the deletion of the run, erases it
            logger.warning("a conversation of an evaluation is left", extra={"code": error.code, "run": result.run_id})

    def _scored(self, attempt: Attempt, result: Result) -> Result:
        run, item = attempt.run, result.item
        with attempt.stop.over(self._asker.new_deadline()) as deadline:
            chat = self._asker.ask(attempt.assistant, result, deadline)
        answer = chat.response or ""
        outcome = _answered(result, chat)
        found = dict(scores(item, answer, outcome.citations, run.metrics))
        if Metric.JUDGE in run.metrics and applies(Metric.JUDGE, item):
            with attempt.stop.over(self._asker.new_deadline()) as deadline:
                verdict = self._judge.judge(item, answer, run.assistant_id, run.judge_model, deadline)
            found[Metric.JUDGE.value] = verdict.score
            outcome = replace(outcome, reason=verdict.reason, judge_tokens=verdict.tokens)
        return replace(outcome, scores=found)


def _answered(result: Result, chat: Chat) -> Result:
    return replace(
        result,
        status=ResultStatus.DONE,
        answer=chat.response,
        citations=tuple(dict.fromkeys(citation.filename for citation in chat.citations)),
        model=chat.model,
        tokens=chat.tokens,
        timings=chat.timings,
        error_code=None,
        error=None,
        ended_at=now(),
    )


def _hindrance(run: Run, assistant: Assistant) -> OrquestraError | None:
    """Return why a run cannot go on: half of its answers would be another assistant's, or it kills its workers."""
    if assistant.version != run.assistant_version:
        return Conflict("The assistant was changed while the run was on its way. Begin a new run.", code="run_outdated")
    if run.attempts > MOST_ATTEMPTS:
        return Conflict("Every process that worked on this run died. The servers' logs say more.", code="abandoned")
    return None
