"""CSV as a markdown table, in the dialects that programs write."""

import pytest

from models.errors import Invalid
from services.knowledge.csv_text import csv_as_markdown

TABLE = "| City | Rate |\n| --- | --- |\n| Recife | 280,50 |\n| Natal | 310,00 |"


@pytest.mark.parametrize(
    "text",
    [
        'City,Rate\nRecife,"280,50"\nNatal,"310,00"\n',
        "City;Rate\r\nRecife;280,50\r\nNatal;310,00\r\n",
        "City\tRate\nRecife\t280,50\nNatal\t310,00",
        "City|Rate\nRecife|280,50\nNatal|310,00",
        "sep=;\nCity;Rate\n;\nRecife;280,50\n\nNatal;310,00\n",
    ],
)
def test_dialects(text: str) -> None:
    assert csv_as_markdown(text) == TABLE


def test_quotes_pipes_and_lines_within_a_cell_survive() -> None:
    text = 'name,text\nA,"says ""yes"" | no\r\nand more"\n'
    assert csv_as_markdown(text).splitlines()[2] == '| A | says "yes" \\| no<br>and more |'


def test_ragged_rows_lose_nothing() -> None:
    text = csv_as_markdown("a,b\n1\n1,2,3\n")
    assert text == "| a | b |  |\n| --- | --- | --- |\n| 1 |  |  |\n| 1 | 2 | 3 |"


def test_one_column_is_a_table_too() -> None:
    assert csv_as_markdown("name\nAna\nRui, Eva\n").endswith("| Ana |\n| Rui, Eva |")


@pytest.mark.parametrize("text", ["", "\n\n", ",,\n;"])
def test_nothing_comes_of_nothing(text: str) -> None:
    assert csv_as_markdown(text).strip("|-; \n") == ""


@pytest.mark.parametrize("text", ["a," * 20_000, "a,b\n1," + "x" * 1_100_000, 'a,b\n"' + "1,2\n" * 400_000])
def test_a_row_without_end_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        csv_as_markdown(text)
    assert caught.value.code == "document_too_complex"
