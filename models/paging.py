"""Pages of a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page:
    """Ask for a part of a list.

    Attributes:
        limit: how many items at most, 1 to 1000.
        after: the `_id` of the last item of the page before, or None for the first page.
    """

    limit: int = 100
    after: str | None = None


@dataclass(frozen=True)
class Listing(Generic[Item]):
    """A page of a list.

    Attributes:
        items: the page, in the list's order.
        total: how many items the whole list has.
        more: whether items follow this page.
    """

    items: Sequence[Item]
    total: int
    more: bool
