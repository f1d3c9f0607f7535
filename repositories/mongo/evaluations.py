"""Datasets and runs of evaluations in MongoDB."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pymongo import ASCENDING

from models.evaluations import Dataset, DatasetEntry, DatasetItem, Result, ResultStatus, Run, RunStatus
from models.ids import new_id
from models.paging import Listing, Page
from repositories.codec import DATASET_ENTRIES, DATASETS, RESULTS, RUNS
from repositories.mongo.database import Documents, store_errors
from repositories.mongo.table import Filter, Order, Table, behind, by_id, insert_absent, key, of_assistants

_IN_ORDER: Order = (("_id", ASCENDING),)
_UNLEASED = {"lease_owner": None, "lease_until": None}
_RUNNING: Filter = {"status": "running"}


class MongoDatasetRepository:
    """Implement `DatasetRepository`."""

    def __init__(self, datasets: Documents, items: Documents) -> None:
        self._datasets = Table(datasets, DATASETS)
        self._entries = Table(items, DATASET_ENTRIES)

    def add(self, dataset: Dataset, items: Sequence[DatasetItem]) -> None:
        """Store a new dataset; it is there once all of its items are."""
        entries = [
            DatasetEntry(new_id(), dataset.id, dataset.assistant_id, position, item)
            for position, item in enumerate(items)
        ]
        if entries:
            insert_absent(self._entries.collection, [self._entries.fields(entry) for entry in entries])
        self._datasets.add(dataset)

    def get(self, dataset_id: str) -> Dataset | None:
        """Return the dataset with this id."""
        return self._datasets.get(dataset_id)

    def items(self, dataset_id: str) -> Sequence[DatasetItem]:
        """Return a dataset's items in their order."""
        return [entry.item for entry in self._entries.all({"dataset_id": dataset_id}, _IN_ORDER)]

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Dataset]:
        """List the datasets of these assistants (None: all), newest first (by id)."""
        return self._datasets.page(of_assistants(assistant_ids), behind(page), page)

    def delete(self, dataset_id: str) -> bool:
        """Delete a dataset with its items; tell whether it was there."""
        deleted = self._datasets.delete(dataset_id)
        self._entries.delete_all({"dataset_id": dataset_id})
        return deleted

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every dataset of an assistant."""
        self._datasets.delete_all({"assistant_id": assistant_id})
        self._entries.delete_all({"assistant_id": assistant_id})


class MongoRunRepository:
    """Implement `RunRepository`."""

    def __init__(self, runs: Documents, results: Documents) -> None:
        self._runs = Table(runs, RUNS)
        self._results = Table(results, RESULTS)

    def add(self, run: Run, results: Sequence[Result]) -> None:
        """Store a new run; it is there once all of its results are."""
        if results:
            insert_absent(self._results.collection, [self._results.fields(result) for result in results])
        self._runs.add(run)

    def get(self, run_id: str) -> Run | None:
        """Return the run with this id."""
        return self._runs.get(run_id)

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Run]:
        """List the runs of these assistants (None: all), newest first (by id)."""
        return self._runs.page(of_assistants(assistant_ids), behind(page), page)

    def claim(self, run_id: str, owner: str, until: datetime, at: datetime) -> Run | None:
        """Begin an attempt, if the run goes on and nobody works on it; return it."""
        free: Filter = {"$or": [{"lease_owner": None}, {"lease_until": None}, {"lease_until": {"$lte": at}}]}
        changes = {"lease_owner": owner, "lease_until": until}
        if not self._runs.update(by_id(run_id) | _RUNNING | free, changes, {"attempts": 1}):
            return None
        return self._runs.first(by_id(run_id) | {"lease_owner": owner})

    def renew(self, run_id: str, owner: str, until: datetime) -> bool:
        """Prolong the lease of a `running` run that this owner still holds; tell whether it does."""
        return self._runs.update(_held(run_id, owner), {"lease_until": until})

    def change(self, run_id: str, owner: str, changes: Mapping[str, object]) -> bool:
        """Set these fields (names of `Run`) of a `running` run that is leased to this owner; tell whether it was."""
        return self._runs.update(_held(run_id, owner), changes)

    def switch(self, run_id: str, seen: RunStatus, changes: Mapping[str, object]) -> bool:
        """Set these fields, which end any lease, if the run still has the status that was seen; tell whether it had."""
        return self._runs.update(by_id(run_id) | {"status": seen.value}, {**_UNLEASED, **changes})

    def requeue(self, seen: Run, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if status, owner and lease are as seen."""
        as_seen = {"status": seen.status.value, "lease_owner": seen.lease_owner, "lease_until": seen.lease_until}
        return self._runs.update(by_id(seen.id) | as_seen, {"lease_owner": None, "lease_until": until})

    def unfinished(self, at: datetime, limit: int) -> Sequence[Run]:
        """Return `running` runs for jobs whose `lease_until` is None or not after `at`, oldest first."""
        due: Filter = {"queued": True, "$or": [{"lease_until": None}, {"lease_until": {"$lte": at}}]}
        return self._runs.all(_RUNNING | due, _IN_ORDER, limit)

    def delete(self, run_id: str) -> bool:
        """Delete a run with its results; tell whether it was there."""
        deleted = self._runs.delete(run_id)
        self._results.delete_all({"run_id": run_id})
        return deleted

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every run of an assistant."""
        self._runs.delete_all({"assistant_id": assistant_id})
        self._results.delete_all({"assistant_id": assistant_id})

    def results(self, run_id: str, page: Page) -> Listing[Result]:
        """List a run's results in the order of their positions (by id)."""
        follow: Filter = {} if page.after is None else {"_id": {"$gt": key(page.after)}}
        return self._results.page({"run_id": run_id}, follow, page, _IN_ORDER)

    def progress(self, run_id: str) -> Mapping[ResultStatus, int]:
        """Return how many results a run has of each status."""
        return {status: self._results.count({"run_id": run_id, "status": status.value}) for status in ResultStatus}

    def finish(self, result: Result) -> bool:
        """Write what came of an item, unless it is `done` already or was deleted; tell whether it was written."""
        where = by_id(result.id) | {"status": {"$ne": "done"}}
        with store_errors():
            return self._results.collection.replace_one(where, self._results.fields(result)).matched_count == 1


def _held(run_id: str, owner: str) -> Filter:
    return by_id(run_id) | _RUNNING | {"lease_owner": owner}
