"""Datasets: kept under a name for an assistant, made by hand, from its chats or from its documents."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from models.clock import now
from models.deadline import Deadline
from models.errors import Invalid, NotFound, TooLarge
from models.evaluations import Dataset, DatasetItem, Making
from models.ids import is_id, new_id
from models.paging import Listing, Page
from models.users import Principal
from services.evaluation.making import DatasetMaker
from services.ownership import Ownership
from services.ports import AssistantRepository, DatasetRepository

MOST_ITEMS = 2_000
LARGEST = 8 * 2**20
"""Characters of a dataset's items as JSON."""


class DatasetService:
    """Keep the datasets of the assistants that a user manages."""

    def __init__(self, assistants: AssistantRepository, datasets: DatasetRepository, maker: DatasetMaker) -> None:
        self._assistants = assistants
        self._datasets = datasets
        self._maker = maker
        self._ownership = Ownership(assistants)

    def add(self, caller: Principal, assistant_id: str, name: str, items: Sequence[DatasetItem]) -> Dataset:
        """Store a dataset.

        Raises:
            Invalid: there are no items, too many, or two of the same id.
            TooLarge: more than 8 MiB.
        """
        assistant = self._ownership.assistant(caller, assistant_id)
        sha256 = checked(items)
        dataset = Dataset(new_id(), assistant.id, name, sha256, len(items), now())
        self._datasets.add(dataset, items)
        if self._assistants.get(assistant.id) is None:  # deleted meanwhile: nobody else would delete this
            self._datasets.delete(dataset.id)
            raise NotFound(f"There is no assistant {assistant_id!r}.")
        return dataset

    def make(self, caller: Principal, assistant_id: str, name: str, making: Making, deadline: Deadline) -> Dataset:
        """Store a dataset made from what the assistant has; see `DatasetMaker`.

        Raises:
            Invalid: code `nothing_to_ask`, nothing was found to make questions of.
            ProviderFailed, DeadlineExceeded, CallCancelled: the model that writes questions failed, or took too long.
        """
        return self.add(caller, assistant_id, name, self.made(caller, assistant_id, making, deadline))

    def made(self, caller: Principal, assistant_id: str, making: Making, deadline: Deadline) -> Sequence[DatasetItem]:
        """Return the items of a dataset made from what the assistant has, without storing them.

        Raises:
            Invalid, ProviderFailed, DeadlineExceeded, CallCancelled: as `make`.
        """
        items = self._maker.make(self._ownership.assistant(caller, assistant_id), making, deadline)
        if not items:
            raise Invalid(
                "Nothing was found to make questions of. Choose other chats, or give the assistant documents first.",
                code="nothing_to_ask",
            )
        return items

    def get(self, caller: Principal, dataset_id: str) -> Dataset:
        """Return a dataset that the caller may see.

        Raises:
            NotFound: it does not exist, or is somebody else's.
        """
        found = self._datasets.get(dataset_id) if is_id(dataset_id) else None
        if found is None or not self._ownership.sees(caller, found.assistant_id):
            raise NotFound(f"There is no dataset {dataset_id!r}.")
        return found

    def items(self, dataset: Dataset) -> Sequence[DatasetItem]:
        """Return a dataset's items in their order."""
        return self._datasets.items(dataset.id)

    def list(self, caller: Principal, assistant_id: str | None, page: Page) -> Listing[Dataset]:
        """List the caller's datasets, newest first."""
        return self._datasets.list(self._ownership.visible_ids(caller, assistant_id), page)

    def delete(self, caller: Principal, dataset_id: str) -> None:
        """Delete a dataset; runs of it keep their own copies of its items."""
        self._datasets.delete(self.get(caller, dataset_id).id)


def checked(items: Sequence[DatasetItem]) -> str:
    """Return the SHA-256 of a dataset's items, if they can be a dataset.

    Raises:
        Invalid: there are no items, too many, or two of the same id.
        TooLarge: more than 8 MiB.
    """
    if not 1 <= len(items) <= MOST_ITEMS:
        raise Invalid(f"A dataset has 1 to {MOST_ITEMS} items; these are {len(items)}. Split it.")
    ids: set[str] = set()
    for item in items:
        if item.id in ids:
            raise Invalid(f"Two items have the id {item.id!r}. Give every item its own.")
        ids.add(item.id)
    text = json.dumps([asdict(item) for item in items], ensure_ascii=False, sort_keys=True)
    if len(text) > LARGEST:
        raise TooLarge(f"A dataset has at most {LARGEST // 2**20} MiB. Split it.")
    return hashlib.sha256(text.encode()).hexdigest()
