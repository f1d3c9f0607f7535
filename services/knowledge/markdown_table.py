"""Rows as a markdown table, a row a line."""

from collections.abc import Iterable, Sequence

_ESCAPES = str.maketrans({"|": "\\|", "\r": None})


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a table, the first as its titles; shorter ones are filled up, empty ones left out."""
    kept = [row for row in rows if any(cell.strip() for cell in row)]
    width = max(map(len, kept), default=0)
    lines = [_line([*map(_cell, row), *[""] * (width - len(row))]) for row in kept]
    return "\n".join((*lines[:1], _line(["---"] * width), *lines[1:])) if lines else ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Return a cell's text on one line."""
    return "<br>".join(text.strip().translate(_ESCAPES).split("\n"))
