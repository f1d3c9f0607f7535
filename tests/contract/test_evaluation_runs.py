"""Runs: what is asked, scored, stored and erased, and how one goes on that was cut off."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from models.answers import ModelRequest
from models.clock import now
from models.conversations import Channel
from models.deadline import Deadline
from models.errors import Conflict, Invalid, NotFound, ProviderFailed, Unavailable
from models.evaluations import DatasetItem, Metric, ResultStatus, RunStatus
from models.given import Turn
from models.paging import Page
from models.users import OPERATOR, Principal, Role
from repositories.redis.threads import RedisThreads
from services.evaluation.datasets import checked
from services.evaluation.running import MOST_ATTEMPTS
from services.evaluation.runs import RUN_EVALUATION, RunOrder
from services.providers.scripted import Item, ScriptedModel
from tests.contract.engine import Engine, Meddled, Trouble, echo, wait_until
from tests.contract.evaluating import CONTAINS, Evaluating, questions
from tests.contract.house import Crash
from tests.contract.stores import Stores, at_once

Evaluator = Callable[..., Evaluating]


@pytest.fixture
def evaluator(stores: Stores, registry: RedisThreads) -> Evaluator:
    """Give a maker of evaluations with a scripted assistant."""

    def make(*steps: object, judge: ScriptedModel | None = None, **fields: object) -> Evaluating:
        engine = Engine(stores, ScriptedModel(steps))  # type: ignore[arg-type]
        return Evaluating(engine, registry, judge, **fields)  # type: ignore[arg-type]

    return make


def twin(one: Evaluating, registry: RedisThreads, **fields: object) -> Evaluating:
    """Return another process over the same store, with the same models."""
    return Evaluating(one.engine.twin(), registry, **fields)  # type: ignore[arg-type]


def test_items_are_asked_scored_and_their_conversations_erased(evaluator: Evaluator) -> None:
    one = evaluator(*[echo] * 3)
    one.engine.model.add(echo)
    mine = one.engine.say("a conversation of a person").chat
    run, results = one.run(
        [
            DatasetItem("a", "27 days", contains=("27 days", "paid"), expected="re 27 days"),
            DatasetItem("b", "why", contains=("why",), documents=()),
            DatasetItem("c", "who"),
        ],
        RunOrder([Metric.EXACT, Metric.CONTAINS, Metric.CITED]),
    )
    assert [(one.answer, dict(one.scores)) for one in results] == [
        ("re 27 days", {"exact": 1.0, "contains": 0.5}),
        ("re why", {"contains": 1.0, "cited": 1.0}),
        ("re who", {}),
    ]
    assert run.status is RunStatus.DONE and run.ended_at is not None and run.lease_owner is None
    assert run.summary is not None and (run.summary.done, run.summary.score) == (3, (0.75 + 1.0) / 2)
    assert all(one.tokens.output and one.timings.total_ms is not None for one in results)
    assert [chat.id for chat in one.engine.chats()] == [mine.id], "nothing of others is touched"
    assert one.left() == 2


def test_history_comes_before_the_question_and_no_item_knows_of_another(evaluator: Evaluator) -> None:
    one = evaluator(echo, echo)
    one.run([replace(questions("q")[0], history=(Turn("Hi", "Hello"), Turn("So", None))), *questions("r")])
    first, second = sorted(one.engine.model.requests, key=lambda request: request.question)
    assert [(turn.message, turn.response) for turn in first.history] == [("Hi", "Hello"), ("So", None)]
    assert second.history == ()


def test_a_debounced_assistant_is_asked_without_delay(stores: Stores, registry: RedisThreads) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]), debounce_seconds=30.0)
    _, results = Evaluating(engine, registry).run(questions("a", "b"), replace(CONTAINS, parallel=2))
    assert [result.status for result in results] == [ResultStatus.DONE] * 2


def test_several_are_asked_at_a_time_and_no_more(evaluator: Evaluator) -> None:
    running, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3)

    def step(request: ModelRequest, deadline: Deadline) -> list[Item]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(30)
        with lock:
            running -= 1
        return [request.question]

    one = evaluator(*[step] * 9)
    run, _ = one.run(questions(*"abcdefghi"), replace(CONTAINS, parallel=3))
    assert (run.summary and run.summary.score, most) == (1.0, 3)


def test_an_item_that_fails_has_no_score_and_is_tried_again(evaluator: Evaluator) -> None:
    one = evaluator(echo, ProviderFailed("The model is away."), echo, echo)
    items = questions("a", "b", "c")
    run, results = one.run(items)
    assert [result.status for result in results] == [ResultStatus.DONE, ResultStatus.FAILED, ResultStatus.DONE]
    assert (results[1].error_code, results[1].error, results[1].score) == (
        "provider_failed",
        "The model is away.",
        None,
    )
    assert run.status is RunStatus.DONE and run.summary is not None
    assert (run.summary.done, run.summary.failed, run.summary.score) == (2, 1, 1.0)
    assert one.left() == 0
    again = one.runs.reopen(OPERATOR, run.id, checked(items))
    assert again.status is RunStatus.RUNNING
    assert one.runs.work_here(run.id, lambda *_: None)
    run, results = one.ended(run)
    assert [result.status for result in results] == [ResultStatus.DONE] * 3 and run.status is RunStatus.DONE
    assert [request.question for request in one.engine.model.requests] == ["a", "b", "c", "b"], "the others stay"
    assert one.left() == 0


def test_the_judge_scores_and_its_failure_is_the_items(evaluator: Evaluator) -> None:
    judge = ScriptedModel([['{"score": 0.25, "reason": "meh"}'], ["hm"], ProviderFailed("away")])
    one = evaluator(*[echo] * 4, judge=judge)
    items = [DatasetItem(text, text, expected=text) for text in "abc"] + [DatasetItem("d", "d")]
    run, results = one.run(items, RunOrder([Metric.JUDGE], judge_model="judge-1", parallel=1))
    assert [dict(result.scores) for result in results] == [{"judge": 0.25}, {}, {}, {}]
    assert results[0].reason == "meh" and results[0].judge_tokens.input > 0
    assert [result.error_code for result in results] == [None, "verdict_unreadable", "provider_failed", None]
    assert run.summary is not None and (run.summary.score, run.summary.failed) == (0.25, 2)
    assert [request.model for request in judge.requests] == ["judge-1"] * 3


def test_metrics_are_chosen_by_what_the_items_have(evaluator: Evaluator) -> None:
    one = evaluator(judge=ScriptedModel())
    phrases, cited, asked = questions("a"), [DatasetItem("b", "b", documents=())], [DatasetItem("c", "c", "x")]
    assert one.begin(phrases + cited, RunOrder()).metrics == (Metric.CONTAINS, Metric.CITED)
    assert one.begin(phrases, RunOrder()).metrics == (Metric.CONTAINS,)
    assert one.begin(phrases + asked, RunOrder(judge_model="j")).metrics == (Metric.CONTAINS, Metric.JUDGE)
    for items, metrics in ((asked, None), (phrases, [Metric.CITED]), (phrases, [Metric.CONTAINS, Metric.EXACT])):
        with pytest.raises(Invalid):
            one.begin(items, RunOrder(metrics))
    with pytest.raises(Invalid, match="OPENAI_API_KEY"):
        evaluator().begin(asked, RunOrder([Metric.JUDGE]))


def test_a_process_that_dies_is_gone_on_from_without_a_second_answer(
    evaluator: Evaluator, registry: RedisThreads
) -> None:
    """It dies once behind the answer and before its result, and once behind the result and before the erasure."""

    dead = threading.Event()

    def die() -> None:
        dead.set()
        raise Crash

    def live() -> None:  # nor does a dead process begin with the next question
        if dead.is_set():
            raise Crash

    first = evaluator(*[echo] * 3)
    run = first.begin(questions("a", "b", "c"))
    runs = Meddled(first.stores.runs, before={"finish": die, "get": live})
    dying = twin(first, registry, lease_seconds=0.4, runs=runs)
    dying.leases.close()
    with pytest.raises(Crash):
        dying.runs.work_here(run.id, lambda *_: None)
    assert first.left() == 2, "the answer is there, and not scored"
    _let_go(first, run.id)
    dead.clear()
    after = twin(first, registry, runs=Meddled(first.stores.runs, before={"get": live}, after={"finish": die}))
    after.leases.close()
    with pytest.raises(Crash):
        after.runs.work_here(run.id, lambda *_: None)
    assert first.left() == 2, "the result is there, and its conversation too"
    _let_go(first, run.id)
    assert first.runs.work_here(run.id, lambda *_: None)
    run, results = first.ended(run)
    assert (run.status, run.attempts) == (RunStatus.DONE, 3)
    assert [result.answer for result in results] == ["re a", "re b", "re c"]
    assert sorted(request.question for request in first.engine.model.requests) == ["a", "b", "c"]
    assert first.left() == 0


def _let_go(one: Evaluating, run_id: str) -> None:
    """Let the lease of a run be over: a dead process frees nothing, but `finally` of a test's does."""
    run = one.stores.runs.get(run_id)
    assert run is not None and run.status is RunStatus.RUNNING
    if run.lease_owner is not None:
        wait_until(lambda: run.lease_until is not None and run.lease_until <= now())


def test_one_process_at_a_time_works_on_a_run(evaluator: Evaluator, registry: RedisThreads) -> None:
    go_on = threading.Event()
    one = evaluator([go_on, "re a"])
    run = one.begin(questions("a"))
    other = twin(one, registry)
    worker = threading.Thread(target=lambda: one.runs.work_here(run.id, lambda *_: None))
    worker.start()
    wait_until(lambda: one.engine.model.calls == 1)
    assert not other.runs.work_here(run.id, lambda *_: None)
    go_on.set()
    worker.join(30)
    assert one.ended(run)[0].status is RunStatus.DONE
    assert not other.runs.work_here(run.id, lambda *_: None), "it has ended"


def test_a_run_is_cancelled_while_it_waits_for_answers(evaluator: Evaluator) -> None:
    one = evaluator(echo, [threading.Event()], lease_seconds=0.6)
    run = one.begin(questions("a", "b", "c"))
    worker = threading.Thread(target=lambda: one.runs.work_here(run.id, lambda *_: None))
    worker.start()
    wait_until(lambda: one.engine.model.calls == 2)
    cancelled = one.runs.cancel(OPERATOR, run.id)
    assert cancelled.status is RunStatus.CANCELLED and cancelled.summary is not None and cancelled.summary.done == 1
    worker.join(30)
    assert not worker.is_alive()
    run, results = one.ended(run)
    assert run.status is RunStatus.CANCELLED
    assert [result.status.value for result in results] == ["done", "waiting", "waiting"]
    assert one.left() == 0
    assert one.runs.cancel(OPERATOR, run.id) == run, "once more changes nothing"


def test_a_process_that_ends_lets_go_of_its_run_at_once(evaluator: Evaluator, registry: RedisThreads) -> None:
    one = evaluator([threading.Event()], echo)
    run = one.begin(questions("a"), replace(CONTAINS, queued=True))
    failed: list[Unavailable] = []

    def work() -> None:
        with pytest.raises(Unavailable) as error:
            one.runs.work(run.id)
        failed.append(error.value)

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: one.engine.model.calls == 1)
    one.runner.close()
    worker.join(30)
    assert failed[0].code == "server_draining"
    twin(one, registry).runs.work(run.id)
    assert one.ended(run)[0].status is RunStatus.DONE
    assert one.left() == 0


def test_a_stop_in_the_middle_ends_every_question(evaluator: Evaluator) -> None:
    """As Ctrl-C does, which is raised where the command waits; here it is the progress bar that breaks."""

    def interrupt(done: int, of: int, what: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    one = evaluator(echo, [threading.Event()], *[echo] * 3)  # the third question may have been begun, too
    items = questions("a", "b", "c")
    run = one.begin(items, replace(CONTAINS, parallel=2))
    with pytest.raises(KeyboardInterrupt):
        one.runs.work_here(run.id, interrupt)
    assert one.left() == 0
    assert one.runs.cancel(OPERATOR, run.id).status is RunStatus.CANCELLED
    found = one.runs.unfinished(OPERATOR, one.engine.assistant.id, checked(items))
    assert found is not None and found.id == run.id
    one.runs.reopen(OPERATOR, run.id, checked(items))
    assert one.runs.work_here(run.id, lambda *_: None)
    run, results = one.ended(run)
    assert [result.answer for result in results] == ["re a", "re b", "re c"]
    assert one.runs.unfinished(OPERATOR, one.engine.assistant.id, checked(items)) is None


def test_a_store_that_fails_ends_the_attempt_and_not_the_run(evaluator: Evaluator, registry: RedisThreads) -> None:
    one = evaluator(*[echo] * 3)
    run = one.begin(questions("a", "b"))
    broken = twin(one, registry, runs=Meddled(one.stores.runs, before={"finish": Trouble(1)}))
    with pytest.raises(Unavailable):
        broken.runs.work_here(run.id, lambda *_: None)
    assert one.ended(run)[0].status is RunStatus.RUNNING
    assert one.runs.work_here(run.id, lambda *_: None), "its lease was given up"
    assert one.ended(run)[0].status is RunStatus.DONE


def test_what_could_not_be_erased_is_erased_by_the_next_attempt(evaluator: Evaluator, registry: RedisThreads) -> None:
    one = evaluator(echo, ProviderFailed("away"), echo)
    away = Trouble(1)
    conversations = Meddled(one.stores.conversations, before={"find_by_channel": away})
    first = twin(one, registry, conversations=conversations)
    items = questions("a", "b")
    run, _ = first.run(items)
    assert one.left() == 2
    one.runs.reopen(OPERATOR, run.id, checked(items))
    assert one.runs.work_here(run.id, lambda *_: None)
    assert one.left() == 0


def test_a_changed_assistant_ends_a_run(evaluator: Evaluator) -> None:
    one = evaluator()
    run = one.begin(questions("a"))
    one.stores.assistants.update(one.engine.assistant.id, {"temperature": 1.0}, now())
    assert one.runs.work_here(run.id, lambda *_: None)
    run, _ = one.ended(run)
    assert (run.status, run.error_code) == (RunStatus.FAILED, "run_outdated")
    assert run.error is not None and "Begin a new run" in run.error


def test_a_run_whose_workers_always_die_is_given_up(evaluator: Evaluator) -> None:
    one = evaluator()
    run = one.begin(questions("a"))
    for _ in range(MOST_ATTEMPTS):
        assert one.stores.runs.claim(run.id, "dead", now(), now())
    assert one.runs.work_here(run.id, lambda *_: None)
    assert one.ended(run)[0].error_code == "abandoned"


def test_a_deleted_assistant_takes_its_runs_along(evaluator: Evaluator) -> None:
    one = evaluator()
    run = one.begin(questions("a"))
    one.stores.assistants.delete(one.engine.assistant.id)
    assert not one.runs.work_here(run.id, lambda *_: None)
    assert one.stores.runs.get(run.id) is None
    with pytest.raises(NotFound):
        one.begin(questions("a"))


def test_jobs_are_asked_for_and_swept(evaluator: Evaluator) -> None:
    one = evaluator(echo)
    run = one.begin(questions("a"), replace(CONTAINS, queued=True))
    by_command = one.begin(questions("b"))
    assert one.engine.jobs.jobs == [(RUN_EVALUATION, run.id, 0.0)]
    one.runs.sweep()
    assert len(one.engine.jobs.jobs) == 1, "its job has a minute to come"
    for held in (run, by_command):
        assert one.stores.runs.claim(held.id, "dead", now(), now())
    at_once(4, lambda _: one.runs.sweep())
    assert one.engine.jobs.jobs[1:] == [(RUN_EVALUATION, run.id, 0.0)], "once, and not for the command's"
    one.runs.work(run.id)
    assert one.ended(run)[0].status is RunStatus.DONE
    one.runs.work(run.id)


def test_a_run_of_other_items_is_not_gone_on_with(evaluator: Evaluator) -> None:
    one = evaluator(echo)
    run, _ = one.run(questions("a"))
    with pytest.raises(Conflict) as refused:
        one.runs.reopen(OPERATOR, run.id, checked(questions("b")))
    assert refused.value.code == "other_dataset"
    assert one.runs.reopen(OPERATOR, run.id, checked(questions("a"))) == run, "a whole one stays as it is"


def test_runs_of_others_are_not_there(evaluator: Evaluator) -> None:
    one = evaluator()
    run, stranger = one.begin(questions("a")), Principal("f" * 24, Role.USER)
    for act in (one.runs.get, one.runs.whole, one.runs.cancel, one.runs.delete):
        with pytest.raises(NotFound):
            act(stranger, run.id)
    with pytest.raises(NotFound):
        one.runs.compare(stranger, run.id, run.id)
    with pytest.raises(NotFound):
        one.runs.begin(stranger, one.engine.assistant.id, "d", questions("a"), CONTAINS)
    assert one.runs.list(stranger, one.engine.assistant.id, Page()).total == 0
    assert one.runs.list(OPERATOR, None, Page()).total == 1


def test_a_deleted_run_takes_what_a_dead_process_left(evaluator: Evaluator, registry: RedisThreads) -> None:
    def die() -> None:
        raise Crash

    one = evaluator(echo)
    run = one.begin(questions("a"))
    dying = twin(one, registry, runs=Meddled(one.stores.runs, before={"finish": die}))
    with pytest.raises(Crash):
        dying.runs.work_here(run.id, lambda *_: None)
    assert one.left() == 2
    one.runs.delete(OPERATOR, run.id)
    assert one.left() == 0
    with pytest.raises(NotFound):
        one.runs.get(OPERATOR, run.id)


def test_an_answer_to_an_evaluation_is_not_told_to_another_channel(evaluator: Evaluator) -> None:
    one = evaluator(echo, echo)
    one.run(questions("a"))
    one.engine.say("hello", channel=Channel("x", "whatsapp"))
    assert one.engine.model.requests[1].history == ()
