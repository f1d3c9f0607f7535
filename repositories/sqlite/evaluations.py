"""Datasets and runs of evaluations in the embedded store."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from models.evaluations import Dataset, DatasetEntry, DatasetItem, Result, ResultStatus, Run, RunStatus
from models.ids import new_id
from models.paging import Listing, Page
from repositories.codec import DATASET_ENTRIES, DATASETS, RESULTS, RUNS, stamp
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import ALL, Table, Where, by_id

_UNLEASED = {"lease_owner": None, "lease_until": None}
_RUNNING = Where("+status = 'running'")


class SqliteDatasetRepository:
    """Implement `DatasetRepository`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._datasets = Table(database, "evaluation_datasets", DATASETS)
        self._entries = Table(database, "evaluation_items", DATASET_ENTRIES)

    def add(self, dataset: Dataset, items: Sequence[DatasetItem]) -> None:
        """Store a new dataset; it is there once all of its items are."""
        entries = [
            DatasetEntry(new_id(), dataset.id, dataset.assistant_id, position, item)
            for position, item in enumerate(items)
        ]
        self._entries.add_all({entry.id: entry for entry in entries})
        with self._datasets.database.write() as connection:
            self._datasets.add(connection, dataset.id, dataset)

    def get(self, dataset_id: str) -> Dataset | None:
        """Return the dataset with this id."""
        return self._datasets.get(dataset_id)

    def items(self, dataset_id: str) -> Sequence[DatasetItem]:
        """Return a dataset's items in their order."""
        return [entry.item for entry in self._entries.all(Where("dataset_id = ?", (dataset_id,)), "ORDER BY id")]

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Dataset]:
        """List the datasets of these assistants (None: all), newest first (by id)."""
        return self._datasets.page(assistant_ids, ALL, page, follow=_behind(page))

    def delete(self, dataset_id: str) -> bool:
        """Delete a dataset with its items; tell whether it was there."""
        deleted = self._datasets.delete(by_id(dataset_id)) == 1
        self._entries.delete_all(Where("dataset_id = ?", (dataset_id,)))
        return deleted

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every dataset of an assistant."""
        self._datasets.delete_all(_of_assistant(assistant_id))
        self._entries.delete_all(_of_assistant(assistant_id))


class SqliteRunRepository:
    """Implement `RunRepository`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._runs = Table(database, "evaluation_runs", RUNS)
        self._results = Table(database, "evaluation_results", RESULTS)

    def add(self, run: Run, results: Sequence[Result]) -> None:
        """Store a new run; it is there once all of its results are."""
        self._results.add_all({result.id: result for result in results})
        with self._runs.database.write() as connection:
            self._runs.add(connection, run.id, run)

    def get(self, run_id: str) -> Run | None:
        """Return the run with this id."""
        return self._runs.get(run_id)

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Run]:
        """List the runs of these assistants (None: all), newest first (by id)."""
        return self._runs.page(assistant_ids, ALL, page, follow=_behind(page))

    def claim(self, run_id: str, owner: str, until: datetime, at: datetime) -> Run | None:
        """Begin an attempt, if the run goes on and nobody works on it; return it."""
        free = Where("(lease_owner IS NULL OR lease_until IS NULL OR lease_until <= ?)", (stamp(at),))
        changes = {"lease_owner": owner, "lease_until": until}
        with self._runs.database.write() as connection:
            if not self._runs.update_within(connection, by_id(run_id) & _RUNNING & free, changes, {"attempts": 1}):
                return None
            return self._runs.get_within(connection, by_id(run_id))

    def renew(self, run_id: str, owner: str, until: datetime) -> bool:
        """Prolong the lease of a `running` run that this owner still holds; tell whether it does."""
        return self._runs.update(_held(run_id, owner), {"lease_until": until}, synced=False) == 1

    def change(self, run_id: str, owner: str, changes: Mapping[str, object]) -> bool:
        """Set these fields (names of `Run`) of a `running` run that is leased to this owner; tell whether it was."""
        return self._runs.update(_held(run_id, owner), changes) == 1

    def switch(self, run_id: str, seen: RunStatus, changes: Mapping[str, object]) -> bool:
        """Set these fields, which end any lease, if the run still has the status that was seen; tell whether it had."""
        as_seen = Where("+status = ?", (seen.value,))
        return self._runs.update(by_id(run_id) & as_seen, {**_UNLEASED, **changes}) == 1

    def requeue(self, seen: Run, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if status, owner and lease are as seen."""
        lease = (seen.status.value, seen.lease_owner, seen.lease_until and stamp(seen.lease_until))
        as_seen = Where("+status = ? AND lease_owner IS ? AND lease_until IS ?", lease)
        return self._runs.update(by_id(seen.id) & as_seen, {"lease_owner": None, "lease_until": until}) == 1

    def unfinished(self, at: datetime, limit: int) -> Sequence[Run]:
        """Return `running` runs for jobs whose `lease_until` is None or not after `at`, oldest first."""
        where = Where("status = 'running' AND queued = 1 AND coalesce(lease_until, '') <= ?", (stamp(at),))
        return self._runs.all(where, f"ORDER BY id LIMIT {limit:d}")

    def delete(self, run_id: str) -> bool:
        """Delete a run with its results; tell whether it was there."""
        deleted = self._runs.delete(by_id(run_id)) == 1
        self._results.delete_all(_of_run(run_id))
        return deleted

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every run of an assistant."""
        self._runs.delete_all(_of_assistant(assistant_id))
        self._results.delete_all(_of_assistant(assistant_id))

    def results(self, run_id: str, page: Page) -> Listing[Result]:
        """List a run's results in the order of their positions (by id)."""
        follow = ALL if page.after is None else Where("id > ?", (page.after,))
        return self._results.page(None, _of_run(run_id), page, ("id ASC",), follow)

    def progress(self, run_id: str) -> Mapping[ResultStatus, int]:
        """Return how many results a run has of each status."""
        grouped = "SELECT status, count(*) FROM evaluation_results WHERE run_id = ? GROUP BY status"
        with self._results.database.read() as connection:
            found = {ResultStatus(status): count for status, count in connection.execute(grouped, (run_id,))}
        return {status: found.get(status, 0) for status in ResultStatus}

    def finish(self, result: Result) -> bool:
        """Write what came of an item, unless it is `done` already or was deleted; tell whether it was written."""
        return self._results.replace(result, by_id(result.id) & Where("+status <> 'done'")) == 1


def _of_assistant(assistant_id: str) -> Where:
    return Where("assistant_id = ?", (assistant_id,))


def _of_run(run_id: str) -> Where:
    return Where("run_id = ?", (run_id,))


def _held(run_id: str, owner: str) -> Where:
    return by_id(run_id) & _RUNNING & Where("lease_owner = ?", (owner,))


def _behind(page: Page) -> Where:
    return ALL if page.after is None else Where("id < ?", (page.after,))
