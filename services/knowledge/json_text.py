"""JSON as markdown, so that a value is found by the names of the keys that lead to it.

Records of few short values become a table; other objects become a heading for each level and a line `key: value` for
each value. Below the sixth level, where headings end, the line has the path of its keys.
"""

import json
import re
from collections.abc import Iterator

from models.errors import Invalid
from services.knowledge.markdown_table import markdown_table

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_BLANK = re.compile(r"[ \t\r\n]*")
_LEVELS = 6
_MOST_COLUMNS = 12
_WIDEST_ROW = 400  # characters; longer ones are easier to read as lines
_NAMES = ("title", "name", "titulo", "título", "nome", "标题", "名称", "question", "pergunta", "id", "key", "code")


def json_as_markdown(text: str) -> str:
    """Return a JSON value, or several one after the other (one on each line, say), as markdown.

    Raises:
        Invalid: it is not JSON; code `unreadable_document`.
    """
    return "\n\n".join(_blocks(_loaded(text), "", 1))


def _loaded(text: str) -> Json:
    """Return the value of a text, a list of them if there are several; numbers stay as they are written."""
    values: list[Json] = []
    position = _BLANK.match(text).end()  # type: ignore[union-attr]
    while position < len(text) or not values:
        try:
            value, end = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _invalid(error.lineno, error.colno) from error
        values.append(value)
        position = _BLANK.match(text, end).end()  # type: ignore[union-attr]
    return values[0] if len(values) == 1 else values


def _invalid(line: int, column: int) -> Invalid:
    return Invalid(
        f"The file is not valid JSON: see line {line}, column {column}. Correct it, then upload it again.",
        code="unreadable_document",
    )


def _blocks(value: Json, path: str, level: int) -> Iterator[str]:
    """Yield the blocks of a value; `level` is that of the headings in it, `path` what to call it below the last."""
    if isinstance(value, dict):
        yield from _of_object(value, path, level)
    elif not isinstance(value, list):
        yield f"{path.removesuffix('.')}: {_plain(value)}" if path else _plain(value)
    elif table := _table(value):
        yield table
    else:
        for number, inner in enumerate(value, 1):
            if _is_plain(inner):
                yield f"- {path}{number}: {_plain(inner)}" if path else f"- {_plain(inner)}"
            else:
                yield from _section(_title(inner, number), inner, path, level)


def _of_object(value: dict[str, Json], path: str, level: int) -> Iterator[str]:
    """Yield its values that fit on a line, then the others, each as a section."""
    if lines := [f"- {path}{key}: {_plain(inner)}" for key, inner in value.items() if _is_plain(inner)]:
        yield "\n".join(lines)
    for key, inner in value.items():
        if not _is_plain(inner):
            yield from _section(key, inner, path, level)


def _section(title: str, value: Json, path: str, level: int) -> Iterator[str]:
    if level > _LEVELS:
        yield from _blocks(value, f"{path}{title}.", level)
        return
    yield f"{'#' * level} {' '.join(title.split())}"
    yield from _blocks(value, "", level + 1)


def _title(record: Json, number: int) -> str:
    """Return what a record of a list is called: by itself if it says so, by its number otherwise."""
    known = {key.lower(): value for key, value in record.items()} if isinstance(record, dict) else {}
    names = (str(known[name]) for name in _NAMES if isinstance(known.get(name), str | int))
    return next((name for name in names if 0 < len(name.strip()) <= 100), str(number))


def _table(values: list[Json]) -> str:
    """Return records as a table if they are flat, alike and short, else ""."""
    records = [value for value in values if isinstance(value, dict)]
    if len(records) < 2 or len(records) < len(values):
        return ""
    columns = list(dict.fromkeys(key for record in records for key in record))
    size = sum(len(record) for record in records)
    if not 0 < len(columns) <= _MOST_COLUMNS or 2 * size < len(columns) * len(records):
        return ""
    if not all(_is_plain(value) for record in records for value in record.values()):
        return ""
    rows = [[_plain(record.get(column)) for column in columns] for record in records]
    longest = max(sum(map(len, row)) for row in rows)
    return markdown_table([columns, *rows]) if longest <= _WIDEST_ROW else ""


def _is_plain(value: Json) -> bool:
    """Tell whether a value fits on a line: no object, and no list that has one."""
    if isinstance(value, list):
        return not any(isinstance(inner, dict | list) for inner in value) and sum(len(str(v)) for v in value) < 500
    return not isinstance(value, dict)


def _plain(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, str):
        return value.strip()
    return "" if value is None else json.dumps(value)
