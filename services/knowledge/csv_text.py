"""CSV as a markdown table, whatever separates its cells."""

import csv
import io
from collections import Counter
from collections.abc import Iterator

from models.errors import Invalid
from services.knowledge.markdown_table import markdown_table

_DELIMITERS = ",;\t|"
_SAMPLE = 50  # rows
_LONGEST_CELL = 1_000_000
_MOST_COLUMNS = 16_384  # of a spreadsheet
_DIVIDED = 0.5  # of the rows, or there is one column only
_NONE = "\x1f"
_MARK = "sep="  # a first line that tells the delimiter to Excel


def csv_as_markdown(text: str) -> str:
    """Return the rows as a table, the first as its titles.

    Raises:
        Invalid: a row is too long; code `document_too_complex`.
    """
    csv.field_size_limit(_LONGEST_CELL)
    first, _, rest = text.partition("\n")
    if first.lower().startswith(_MARK) and first.strip()[len(_MARK) :]:
        return markdown_table(_rows(rest, first[len(_MARK)]))
    best = max(_DELIMITERS, key=lambda delimiter: _fitness(text, delimiter))
    return markdown_table(_rows(text, best if _fitness(text, best)[0] >= _DIVIDED else _NONE))


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if len(row) > _MOST_COLUMNS:
                raise _too_long(reader.line_num)
            yield row
    except csv.Error as error:
        raise _too_long(reader.line_num) from error


def _too_long(line: int) -> Invalid:
    return Invalid(
        f"Line {line} is too long for a table. Check its quotes and delimiters, or upload the file as txt.",
        code="document_too_complex",
    )


def _fitness(text: str, delimiter: str) -> tuple[float, float, int]:
    """Tell how well a delimiter fits: the share of rows that it divides, of those alike, and their number of cells."""
    counts: Counter[int] = Counter()
    try:
        for row in csv.reader(io.StringIO(text[: _SAMPLE * 1000], newline=""), delimiter=delimiter):
            counts[len(row)] += bool(row)
            if counts.total() >= _SAMPLE:
                break
    except csv.Error:
        return 0.0, 0.0, 0
    total, whole = counts.total(), counts.pop(1, 0)
    if not counts.total():
        return 0.0, 0.0, 0
    cells, rows = counts.most_common(1)[0]
    return (total - whole) / total, rows / total, cells
