"""Tables of a PDF page under the heading that they stand below; xberg at times writes them above it, or below the next.

It tells where on the page headings and tables are, which decides.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_HEADING = re.compile(r"^#{1,6} .*$", re.MULTILINE)
_TOLERANCE = 1.0  # points


@dataclass(frozen=True)
class Box:
    """A place on a page, in points from its lower left corner."""

    left: float
    bottom: float
    right: float
    top: float


def with_tables_in_place(page: str, tables: Iterable[tuple[str, Box]], headings: Sequence[Box | None]) -> str:
    """Return a page's markdown, each of its tables in the section that it stands in, at the end if it has to move.

    Args:
        tables: their markdown as it is in the page, and where they are.
        headings: where the page's headings are, in their order; if not as many as in its text, nothing is moved.
    """
    for table, box in tables:
        lines = [heading.span() for heading in _HEADING.finditer(page)]
        if len(lines) == len(headings) and page.count(table) == 1:
            page = _with_table_in_place(page, table, box, list(zip(lines, headings, strict=True)))
    return page


def _with_table_in_place(page: str, table: str, box: Box, headings: list[tuple[tuple[int, int], Box | None]]) -> str:
    """Move a table that is before a heading which it stands below, or after one that it stands above."""
    at = page.index(table)
    after, before = 0, len(page)
    for (start, end), heading in headings:
        if heading is None or heading.left > box.right:  # that of a column further to the right
            continue
        if heading.bottom >= box.top - _TOLERANCE:
            after = end
        elif heading.top <= box.bottom + _TOLERANCE:
            before = min(before, start)
    if after <= at <= before:
        return page
    to = next((start for (start, _), _ in headings if start >= after), len(page))
    return _moved(page, at, at + len(table), to)


def _moved(text: str, start: int, end: int, to: int) -> str:
    """Return the text with its [start:end] as a block of its own before the position `to`, which lies outside."""
    if to > start:
        parts = (text[:start], text[end:to], text[start:end], text[to:])
    else:
        parts = (text[:to], text[start:end], text[to:start], text[end:])
    return "\n\n".join(part.strip() for part in parts if part.strip())
