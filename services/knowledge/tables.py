"""Cut a table that does not fit into a passage: between its rows, each passage after the first with the header.

The header is the title row and the row of dashes, as they stand. One that weighs more than half a passage would leave
no room for rows: it is set without padding and its titles are shortened to the same length, as long as they can still
be told apart, for a row whose columns have short names says more than one whose columns have none.

A row that does not fit beside the header is cut between its cells. A passage from the middle of such a row has for its
header the titles of its own columns, and before them that of the first, with the row's first cell below: it says whose
values they are.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from services.knowledge.blocks import LINE, Span
from services.knowledge.parts import GLUED_COST, ITEM_COST, ROW_COST, Part, beginning, fits, prose_parts, trim, weight

_BAR = re.compile(r"(?<!\\)\|")
_SHORTEST_TITLE = 4
_ALONE = -100.0


def table_parts(text: str, start: int, end: int, limit: int) -> Iterator[Part]:
    """Yield the header and the rows, and groups of cells of the rows that do not fit."""
    lines = (match.span() for match in LINE.finditer(text, start, end))
    titles, dashes = trim(text, *next(lines)), trim(text, *next(lines))
    names = [text[first:last].strip("| \t") for first, last in _cells(text, *titles)]
    cost = GLUED_COST
    if fits(text, titles[0], dashes[1], limit):
        yield Part(titles[0], dashes[1])
    else:
        yield from _cell_parts(text, _cells(text, *titles), [], limit)
        yield from beginning(prose_parts(text, *dashes, limit), GLUED_COST)
        cost = _ALONE
    header = _header(text[slice(*titles)], text[slice(*dashes)], names, limit // 2)
    room = limit - weight(header) - 1
    for line in lines:
        first, last = trim(text, *line)
        if header and fits(text, first, last, room):
            yield Part(first, last, cost, header)
            cost = ROW_COST
        else:
            yield from beginning(_row_parts(text, first, last, names, limit), cost)
            cost = _ALONE


def _header(titles: str, dashes: str, names: Sequence[str], limit: int) -> str:
    """Return the header, shortened if it has to be; "" where the titles would no longer tell the columns apart."""
    whole = f"{titles}\n{dashes}"
    if weight(whole) <= limit:
        return whole
    longest = (limit - 3) // len(names) - 3
    if longest < _SHORTEST_TITLE:
        return ""
    shown = [_shortened(name, longest) for name in names]
    return _titles(shown) if len(set(shown)) == len(set(names)) else ""


def _titles(names: Sequence[str]) -> str:
    return f"|{'|'.join(names)}|\n|{'-|' * len(names)}"


def _shortened(name: str, limit: int) -> str:
    if fits(name, 0, len(name), limit):
        return name
    return name[: (limit - 1) // (1 if name[:limit].isascii() else 2)].rstrip() + "…"


def _cells(text: str, start: int, end: int) -> Sequence[Span]:
    """Return the spans of a row's cells; each includes the bar after it, the first the one before it too."""
    bars = [match.end() for match in _BAR.finditer(text, start, end)]
    edges = [bar for bar in bars if start + 1 < bar < end]
    return list(pairwise((start, *edges, end)))


def _row_parts(text: str, start: int, end: int, names: Sequence[str], limit: int) -> Iterator[Part]:
    """Yield the cells of a row, those of a table with many columns in runs of about the same weight."""
    cells = _cells(text, start, end)
    shown = [_shortened(name, limit // 8) for name in names[: len(cells)]]
    shown += [""] * (len(cells) - len(shown))
    key = _shortened(text[slice(*cells[0])].strip("| \t"), limit // 8)
    if weight(_titles(shown)) <= limit // 4:
        headers = [_titles(shown), *(_keyed(shown, key, number, None) for number in range(1, len(cells)))]
        yield from _cell_parts(text, cells, headers, limit)
        return
    room = limit - weight(key) - weight(shown[0]) - 16
    weights = [weight(text[slice(*cell)]) + weight(name) + 3 for cell, name in zip(cells, shown, strict=True)]
    target = sum(weights) / -(-sum(weights) // room)
    first, filled = 0, 0
    for number, added in enumerate([*weights, limit]):
        if number > first and (filled + added > room or filled >= target):
            header = _keyed(shown, key, first, number) if first else _titles(shown[:number])
            run = (cells[first][0], cells[number - 1][1])
            yield from beginning(_cell_parts(text, [run], [header], limit), _ALONE)
            first, filled = number, 0
        filled += added


def _keyed(names: Sequence[str], key: str, first: int, last: int | None) -> str:
    return f"{_titles([names[0], *names[first:last]])}\n|{key}|"


def _cell_parts(text: str, cells: Sequence[Span], headers: Sequence[str], limit: int) -> Iterator[Part]:
    """Yield cells under their headers, none or one for each, and the sentences of those that do not fit."""
    for cell, header in zip(cells, headers or [""] * len(cells), strict=True):
        first, last = trim(text, *cell)
        room = limit - weight(header) - 1
        if fits(text, first, last, room):
            if first < last:
                yield Part(first, last, ITEM_COST, header)
        else:
            yield from beginning(prose_parts(text, first, last, room, header), ITEM_COST)
