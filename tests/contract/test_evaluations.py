"""What every `DatasetRepository` and `RunRepository` does."""

from dataclasses import replace
from typing import Any

from models.chats import Timings, Tokens
from models.evaluations import (
    Dataset,
    DatasetItem,
    Metric,
    MetricSummary,
    Result,
    ResultStatus,
    Run,
    RunStatus,
    Summary,
)
from models.given import Turn
from models.ids import new_id
from models.paging import Page
from tests.contract.stores import NOW, Stores, at_once, later

ITEM = DatasetItem(
    "é 1", "Quantos?", "27", ("27",), ("a.md",), "好", (Turn("Oi", None), Turn(None, "Olá")), "pt", ("x",)
)
BARE = DatasetItem("2", "Why?", documents=())


def make_dataset(assistant_id: str = "", **fields: Any) -> Dataset:
    """Return a dataset nobody has stored yet."""
    return Dataset(new_id(), assistant_id or new_id(), "Férias", "0" * 64, 2, NOW, **fields)


def make_run(assistant_id: str = "", **fields: Any) -> Run:
    """Return a run nobody has stored yet."""
    given = {"judge_model": "j", "queued": True, **fields}
    metrics = (Metric.CONTAINS, Metric.JUDGE)
    return Run(new_id(), assistant_id or new_id(), 3, 9, "d.jsonl", "0" * 64, metrics, 2, NOW, **given)


def make_results(run: Run) -> list[Result]:
    """Return the results of a run that nobody has worked on."""
    return [Result(new_id(), run.id, run.assistant_id, position, item) for position, item in enumerate((ITEM, BARE))]


def added(stores: Stores, run: Run) -> Run:
    stores.runs.add(run, make_results(run))
    return run


def run_of(stores: Stores, run: Run) -> Run:
    found = stores.runs.get(run.id)
    assert found is not None
    return found


def test_a_dataset_comes_back_as_it_was(stores: Stores) -> None:
    dataset, other = make_dataset(), make_dataset()
    stores.datasets.add(dataset, [ITEM, BARE])
    stores.datasets.add(other, [BARE])
    assert stores.datasets.get(dataset.id) == dataset
    assert list(stores.datasets.items(dataset.id)) == [ITEM, BARE]
    assert list(stores.datasets.items(other.id)) == [BARE]
    assert stores.datasets.get(new_id()) is None
    assert list(stores.datasets.items(new_id())) == []


def test_many_items_keep_their_order(stores: Stores) -> None:
    dataset, items = make_dataset(), [DatasetItem(str(number), "q") for number in range(2000)]
    stores.datasets.add(dataset, items)
    assert list(stores.datasets.items(dataset.id)) == items


def test_datasets_are_listed_newest_first_in_pages(stores: Stores) -> None:
    one, two = new_id(), new_id()
    made = [make_dataset(assistant_id) for assistant_id in (one, two, one)]
    for dataset in made:
        stores.datasets.add(dataset, [BARE])
    assert list(stores.datasets.list(None, Page()).items) == made[::-1]
    page = stores.datasets.list([one], Page(limit=1))
    assert (list(page.items), page.total, page.more) == ([made[2]], 2, True)
    page = stores.datasets.list([one], Page(limit=1, after=made[2].id))
    assert (list(page.items), page.more) == ([made[0]], False)
    assert list(stores.datasets.list([], Page()).items) == []


def test_a_dataset_goes_with_its_items_and_with_its_assistant(stores: Stores) -> None:
    one, two = new_id(), new_id()
    made = [make_dataset(one), make_dataset(one), make_dataset(two)]
    for dataset in made:
        stores.datasets.add(dataset, [BARE])
    assert stores.datasets.delete(made[0].id) and not stores.datasets.delete(made[0].id)
    assert list(stores.datasets.items(made[0].id)) == []
    stores.datasets.delete_of_assistant(one)
    assert list(stores.datasets.list(None, Page()).items) == [made[2]]
    assert [list(stores.datasets.items(dataset.id)) for dataset in made] == [[], [], [BARE]]


def test_a_run_comes_back_as_it_was(stores: Stores) -> None:
    summary = Summary(1, 1, 0.5, {"judge": MetricSummary(0.5, 1)}, Tokens(1, 2), Tokens(3, 4), 10, 20)
    run = make_run(status=RunStatus.DONE, ended_at=NOW, summary=summary, error="não", error_code="x")
    results = make_results(run)
    stores.runs.add(run, results)
    assert stores.runs.get(run.id) == run
    assert stores.runs.get(new_id()) is None
    assert list(stores.runs.results(run.id, Page()).items) == results


def test_runs_are_listed_newest_first(stores: Stores) -> None:
    one = new_id()
    made = [added(stores, make_run(assistant_id)) for assistant_id in (one, "", one)]
    assert list(stores.runs.list(None, Page()).items) == made[::-1]
    page = stores.runs.list([one], Page(limit=1))
    assert (list(page.items), page.total, page.more) == ([made[2]], 2, True)
    assert list(stores.runs.list([one], Page(5, made[2].id)).items) == [made[0]]


def test_of_workers_at_once_one_gets_the_run(stores: Stores) -> None:
    run = added(stores, make_run())
    claimed = at_once(8, lambda number: stores.runs.claim(run.id, f"w{number}", later(30), NOW))
    (winner,) = [one for one in claimed if one is not None]
    assert winner == replace(run, lease_owner=winner.lease_owner, lease_until=later(30), attempts=1)
    assert run_of(stores, run) == winner


def test_a_run_is_claimed_again_when_its_lease_has_ended(stores: Stores) -> None:
    run = added(stores, make_run(lease_until=later(60)))
    assert stores.runs.claim(run.id, "a", later(30), NOW) is not None, "a lease without an owner is a job's"
    assert stores.runs.claim(run.id, "b", later(60), later(29)) is None
    taken = stores.runs.claim(run.id, "b", later(60), later(30))
    assert taken is not None and (taken.lease_owner, taken.attempts) == ("b", 2)
    assert not stores.runs.renew(run.id, "a", later(90))
    assert stores.runs.renew(run.id, "b", later(90))
    assert run_of(stores, run).lease_until == later(90)
    assert stores.runs.claim(new_id(), "b", later(60), NOW) is None


def test_only_its_owner_changes_a_run_while_it_goes_on(stores: Stores) -> None:
    run = added(stores, make_run())
    stores.runs.claim(run.id, "a", later(30), NOW)
    assert not stores.runs.change(run.id, "b", {"status": RunStatus.DONE})
    assert stores.runs.change(run.id, "a", {"status": RunStatus.DONE, "ended_at": NOW, "summary": Summary(2)})
    done = run_of(stores, run)
    assert (done.status, done.ended_at, done.summary) == (RunStatus.DONE, NOW, Summary(2))
    assert not stores.runs.change(run.id, "a", {"status": RunStatus.FAILED})
    assert not stores.runs.renew(run.id, "a", later(90))
    assert stores.runs.claim(run.id, "c", later(90), later(80)) is None


def test_a_switch_needs_the_status_that_was_seen_and_ends_the_lease(stores: Stores) -> None:
    run = added(stores, make_run())
    stores.runs.claim(run.id, "a", later(30), NOW)
    assert not stores.runs.switch(run.id, RunStatus.DONE, {"status": RunStatus.RUNNING})
    assert stores.runs.switch(run.id, RunStatus.RUNNING, {"status": RunStatus.CANCELLED})
    assert (run_of(stores, run).status, run_of(stores, run).lease_owner) == (RunStatus.CANCELLED, None)
    assert not stores.runs.renew(run.id, "a", later(90))
    assert stores.runs.switch(run.id, RunStatus.CANCELLED, {"status": RunStatus.RUNNING, "ended_at": None})
    assert stores.runs.claim(run.id, "b", later(30), NOW) is not None


def test_a_sweeper_finds_the_runs_of_jobs_that_nobody_works_on(stores: Stores) -> None:
    never, dead = added(stores, make_run()), added(stores, make_run(lease_owner="x", lease_until=NOW))
    added(stores, make_run(lease_owner="x", lease_until=later(1)))
    added(stores, make_run(queued=False))
    added(stores, make_run(status=RunStatus.DONE))
    assert list(stores.runs.unfinished(NOW, 9)) == [never, dead]
    assert list(stores.runs.unfinished(NOW, 1)) == [never]
    assert at_once(4, lambda _: stores.runs.requeue(dead, later(60))).count(True) == 1
    assert list(stores.runs.unfinished(NOW, 9)) == [never]
    assert stores.runs.claim(dead.id, "y", later(90), NOW) is not None
    assert not stores.runs.requeue(dead, later(60))


def test_results_are_written_once_and_counted(stores: Stores) -> None:
    run = added(stores, make_run())
    first, second = stores.runs.results(run.id, Page()).items
    done = replace(
        first,
        status=ResultStatus.DONE,
        answer="27 días",
        citations=("a.md",),
        scores={"contains": 1.0, "judge": 0.25},
        reason="certo",
        model="m",
        tokens=Tokens(1, 2),
        judge_tokens=Tokens(3, 4),
        timings=Timings(1, 2, 3, 4),
        ended_at=NOW,
    )
    failed = replace(second, status=ResultStatus.FAILED, error_code="x", error="não")
    assert stores.runs.finish(done) and stores.runs.finish(failed)
    assert not stores.runs.finish(replace(done, answer="late")), "what is done stays"
    assert list(stores.runs.results(run.id, Page()).items) == [done, failed]
    assert stores.runs.progress(run.id) == {ResultStatus.WAITING: 0, ResultStatus.DONE: 1, ResultStatus.FAILED: 1}
    tried_again = replace(second, status=ResultStatus.DONE, answer="yes")
    assert stores.runs.finish(tried_again)
    page = stores.runs.results(run.id, Page(1))
    assert (list(page.items), page.total, page.more) == ([done], 2, True)
    assert list(stores.runs.results(run.id, Page(1, done.id)).items) == [tried_again]


def test_a_run_goes_with_its_results_and_with_its_assistant(stores: Stores) -> None:
    one = new_id()
    first, second, other = added(stores, make_run(one)), added(stores, make_run(one)), added(stores, make_run())
    result = stores.runs.results(first.id, Page()).items[0]
    assert stores.runs.delete(first.id) and not stores.runs.delete(first.id)
    assert not stores.runs.finish(replace(result, status=ResultStatus.DONE)), "nothing comes back"
    assert list(stores.runs.results(first.id, Page()).items) == []
    stores.runs.delete_of_assistant(one)
    assert list(stores.runs.list(None, Page()).items) == [other]
    assert list(stores.runs.results(second.id, Page()).items) == []
    assert len(stores.runs.results(other.id, Page()).items) == 2
