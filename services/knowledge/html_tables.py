"""Tables of a web page made fit for markdown, which has no tables in tables and no cells over several rows."""

from bs4 import BeautifulSoup, Tag

_CELLS = ["td", "th"]
_PARTS = ["caption", "thead", "tbody", "tfoot", "tr", *_CELLS]
_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
_LONGEST_REPEATED = 200  # characters


def unfold_tables(soup: BeautifulSoup) -> None:
    """Make plain blocks of tables that lay out a page, and give each row the cells that reach down into it."""
    tables = soup.find_all("table")
    layouts = {id(table) for table in tables if table.find(["table", *_HEADINGS])}
    for part in soup.find_all(_PARTS) if layouts else ():
        if id(part.find_parent(["table"])) in layouts:
            part["data-layout"] = ""
    for part in soup.find_all(_PARTS, {"data-layout": True}):
        part.name = "div"
    for table in tables:
        if id(table) in layouts:
            table.name = "div"
        elif table.find(_CELLS, rowspan=True):
            _repeat_cells(soup, table)


def _repeat_cells(soup: BeautifulSoup, table: Tag) -> None:
    """Put a cell that spans rows into each of them, so that a row can be read alone."""
    reaching: dict[int, tuple[int, str]] = {}  # column -> how many more rows, text
    for row in table.find_all("tr"):
        column, below = 0, {}
        cells = row.find_all(_CELLS, recursive=False)
        while cells or column in reaching:
            if column in reaching:
                rows, text = reaching.pop(column)
                repeated = soup.new_tag("td", string=text)
                cells[0].insert_before(repeated) if cells else row.append(repeated)
                below[column] = (rows - 1, text)
                column += 1
                continue
            cell = cells.pop(0)
            text = " ".join(cell.get_text(" ").split())
            width, rows = _span(cell, "colspan"), _span(cell, "rowspan") - 1
            for number in range(width if rows else 0):
                below[column + number] = (rows, text if number == 0 and len(text) <= _LONGEST_REPEATED else "")
            column += width
        reaching = {**reaching, **below}
        reaching = {place: (rows, text) for place, (rows, text) in reaching.items() if rows > 0}


def _span(cell: Tag, name: str) -> int:
    value = str(cell.get(name) or "1")
    return min(max(int(value), 1), 1000) if value.isascii() and value.isdigit() and len(value) < 6 else 1
