"""Tables of a PDF page go into the section that they stand in."""

import pytest

from services.knowledge.pdf_tables import Box, with_tables_in_place

TABLE = "| a | b |\n| --- | --- |\n| 1 | 2 |"
UPPER, LOWER = Box(50, 700, 200, 714), Box(50, 400, 200, 414)
RIGHT = Box(400, 700, 500, 714)


@pytest.mark.parametrize(
    ("page", "table", "expected"),
    [
        ("{}\n\n# One\n\nx\n\n# Two\n\ny", Box(80, 500, 300, 600), "# One\n\nx\n\n{}\n\n# Two\n\ny"),
        ("# One\n\nx\n\n# Two\n\n{}\n\ny", Box(80, 500, 300, 600), "# One\n\nx\n\n{}\n\n# Two\n\ny"),
        ("# One\n\nx\n\n{}\n\n# Two\n\ny", Box(80, 500, 300, 600), "# One\n\nx\n\n{}\n\n# Two\n\ny"),
        ("# One\n\nx\n\n{}\n\n# Two\n\ny", Box(80, 200, 300, 300), "# One\n\nx\n\n# Two\n\ny\n\n{}"),
        ("# One\n\nx\n\n# Two\n\n{}\n\ny", Box(80, 720, 300, 800), "{}\n\n# One\n\nx\n\n# Two\n\ny"),
    ],
)
def test_a_table_moves_to_where_it_stands(page: str, table: Box, expected: str) -> None:
    assert with_tables_in_place(page.format(TABLE), [(TABLE, table)], [UPPER, LOWER]) == expected.format(TABLE)


def test_the_heading_of_another_column_is_not_the_table_s() -> None:
    page = f"# One\n\n{TABLE}\n\n# Two\n\ny"
    assert with_tables_in_place(page, [(TABLE, Box(50, 300, 200, 400))], [UPPER, RIGHT]) == page


def test_nothing_moves_when_the_headings_are_not_those_of_the_text() -> None:
    page = f"{TABLE}\n\n# One\n\nx"
    assert with_tables_in_place(page, [(TABLE, Box(80, 500, 300, 600))], []) == page
