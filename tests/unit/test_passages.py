"""Cutting: offsets are exact, nothing is lost, and what belongs together stays together."""

import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest

from models.documents import Piece
from services.knowledge.passages import LIMIT, cut

ATOMS = [
    "# A\n", "## B `x` ##\n", "Title\n===\n", "x\n---\n", "```\n", "~~~~py\n", "| a | b |\n|---|---|\n", "- item\n",
    "1. one\n", "\n", "\r\n", " ", "\t", "word ", "句子。", "长句" * 600, "a" * 1500, "x. " * 700, "---\n", "\u2028",
    "\x1c", "(a-b/c)" * 300, "  " * 600, "é!", "> q\n", "#\n", "\r", "\xa0", "-" * 2500, "\f", "\u200b", "\ufeff",
    "| c | d |\n", "| \\| | 句 |\r\n" * 90, "|" * 1200, "| x" * 500 + "\n" + "|-" * 500 + "\n" + "| 1" * 500 + "\n",
    "| " + "long title " * 120 + "|b|\n|-|-|\n| k | v |\n", "| k | " + "Words of a cell. " * 90 + "|\n", "    code\n",
    "def f():\n    x = 1\n\n" * 70, "  - nested\n", "    more text\n", "- item\n  - inner " + "w " * 600 + "\n",
    "Term\n: text\n", "**Bold**\n\n", "As follows:\n\n",
    "| 标题 | 值 |\n|---|---|\n" + "| 单元格的内容 | 一二三四五六七八九十 |\n" * 60,
    "```" * 50 + "\n",
]  # fmt: skip
DENSE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]")


def shown(text: str, piece: Piece) -> str:
    """Return a piece as a model reads it."""
    return f"{piece.header}\n{text[piece.start : piece.end]}" if piece.header else text[piece.start : piece.end]


def texts(text: str, pieces: Sequence[Piece]) -> list[str]:
    return [text[piece.start : piece.end] for piece in pieces]


def checked(text: str, *, markdown: bool, pages: Sequence[int] = ()) -> list[Piece]:
    """Cut, and check what holds for every text."""
    pieces, position = cut(text, markdown=markdown, pages=pages), 0
    for piece in pieces:
        passage = text[piece.start : piece.end]
        assert passage and passage == passage.strip()
        assert len(shown(text, piece)) + len(DENSE.findall(shown(text, piece))) <= LIMIT
        assert piece.header == piece.header.strip()
        assert piece.start >= position and not text[position : piece.start].strip()
        assert piece.page == (sum(start <= piece.start for start in pages) or None)
        position = piece.end
    assert not text[position:].strip()
    return pieces


@pytest.mark.parametrize("seed", range(20))
def test_any_text_is_covered_exactly_once(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        text = "".join(chance.choices(ATOMS, k=chance.randint(0, 25)))
        pages = [0, *sorted(chance.sample(range(1, len(text)), min(5, len(text) - 1)))] if len(text) > 1 else []
        checked(text, markdown=True, pages=pages)
        checked(text, markdown=False)


@pytest.mark.parametrize("seed", range(10))
def test_any_signs_are_covered_exactly_once(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(60):
        text = "".join(chance.choices("|-:# \n\n\r\t`~*>1.a句。\\\f\u200b", k=chance.randint(1, 3000)))
        checked(text, markdown=True)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "assets/samples/policies").glob("*.[mt][dx]*")))
def test_the_samples(path: Path) -> None:
    pieces = checked(path.read_bytes().decode(), markdown=path.suffix == ".md")
    assert len(pieces) > (5 if path.suffix == ".md" and path.stem != "glossary" else 0)


def test_headings_make_a_path() -> None:
    text = "# Leave\n\n## Annual *leave* ##\n\n30 days.\n\nCarry over\n----------\n\nSix.\r\n\r\n# End\r\ntext\r\n"
    pieces = checked(text, markdown=True)
    assert [piece.headings for piece in pieces] == [("Leave", "Annual *leave*"), ("Leave", "Carry over"), ("End",)]
    assert text[pieces[0].start : pieces[0].end] == "# Leave\n\n## Annual *leave* ##\n\n30 days."
    assert text[pieces[2].start : pieces[2].end] == "# End\r\ntext"


def test_a_heading_loses_its_markup() -> None:
    assert cut("# **Bold** `code` and [a link](http://x.y)\nx", markdown=True)[0].headings == ("Bold code and a link",)


def test_a_fence_has_no_headings_and_stays_whole() -> None:
    code = "```sh\n" + "# not a title\n" * 60 + "```"
    text = f"# One\n\n{'word ' * 60}\n\n{code}\n\nafter"
    pieces = checked(text, markdown=True)
    assert {piece.headings for piece in pieces} == {("One",)}
    assert any(code in text[piece.start : piece.end] for piece in pieces)


def test_a_table_stays_whole_where_it_fits_and_is_cut_between_rows_where_not() -> None:
    table = "| a | b |\n|---|---|\n" + "| cell one | cell two |\n" * 30
    text = "word " * 150 + "\n\n" + table
    pieces = checked(text, markdown=True)
    assert [text[piece.start : piece.end] for piece in pieces][-1] == table.strip()
    long = "| a | b |\n|---|---|\n" + "| cell one | cell two |\n" * 300
    assert all(long[piece.end - 1] == "|" for piece in checked(long, markdown=True))


def test_a_front_matter_is_no_heading() -> None:
    pieces = checked("---\ntitle: x\n---\n\n# A\n\ntext", markdown=True)
    assert [piece.headings for piece in pieces] == [(), ("A",)]


def test_long_paragraphs_are_cut_after_sentences() -> None:
    text = "这是一个句子，说明年假的规定。" * 200
    pieces = checked(text, markdown=False)
    assert all(text[piece.end - 1] == "。" for piece in pieces)
    assert all(piece.end == after.start for piece, after in pairwise(pieces))


def test_plain_text_has_no_headings() -> None:
    assert [piece.headings for piece in checked("# a\n\n" + "x " * 400 + "\n\n" + "y " * 400, markdown=False)] == [
        (),
        (),
    ]


@pytest.mark.parametrize("unit", ["# \n", "a\n=\n", "-", "`", "\n", "x", "- i\n", "---\n", "word ", "```x`\n", "["])
def test_two_megabytes_of_anything_end_soon(unit: str) -> None:
    text = unit * (500_000 // len(unit))
    checked(text, markdown=True)


def test_long_runs_of_marks_take_no_time_to_speak_of() -> None:
    text = "Wait" + "." * 300_000 + " for it" + "!" * 300_000 + "…" * 300_000
    pieces = cut(text, markdown=True)
    assert "".join(text[piece.start : piece.end] for piece in pieces).replace(" ", "") == text.replace(" ", "")


def test_a_table_is_split_by_rows_under_its_header() -> None:
    header = "| code | price |\n|:-----|------:|"
    rows = [f"| A{number:04} | {number},90 |" for number in range(200)]
    text = f"# Prices\n\nAll prices:\n\n{header}\n" + "\n".join(rows) + "\n\nEnd."
    pieces = checked(text, markdown=True)
    assert texts(text, pieces)[0].startswith(f"# Prices\n\nAll prices:\n\n{header}\n{rows[0]}\n{rows[1]}")
    assert [piece.header for piece in pieces] == ["", *[header] * (len(pieces) - 1)]
    lines = [line for passage in texts(text, pieces) for line in passage.split("\n") if line.startswith("| A")]
    assert lines == rows


def test_a_table_stays_with_the_line_that_introduces_it() -> None:
    table = "| a | b |\n|---|---|\n" + "| cell one | cell two |\n" * 39
    text = "word " * 180 + "\n\nTable 3. What the cells are\n\n" + table
    second = texts(text, checked(text, markdown=True))[1]
    assert second.startswith("Table 3. What the cells are\n\n| a | b |\n|---|---|\n| cell one")


def test_a_header_too_long_is_shortened_while_its_titles_differ() -> None:
    titles = [f"{number} is the number of a column" for number in range(25)]
    text = f"| {' | '.join(titles)} |\n{'|---' * 25}|\n" + ("| 1 " * 25 + "|\n") * 40
    later = checked(text, markdown=True)[1:]
    assert later and all(len(piece.header) <= LIMIT // 2 for piece in later)
    assert later[-1].header.startswith("|0 is the number…|1 is the number…|")
    assert all(line == "| 1 " * 25 + "|" for piece in later for line in text[piece.start : piece.end].split("\n"))


def test_a_header_is_not_shortened_to_titles_that_are_all_alike() -> None:
    titles = [f"The column that has the number {number}" for number in range(30)]
    text = f"| {' | '.join(titles)} |\n{'|---' * 30}|\n" + ("| 1 " * 30 + "|\n") * 9
    named = [title for piece in checked(text, markdown=True) for title in titles if f"|{title}|" in piece.header]
    assert len(named) >= 9 * 30


def test_a_header_is_not_torn_from_its_first_row() -> None:
    header = "| a column with a title | another column with a title |\n|-------|-------|"
    text = f"# Title\n\n{'A caption. ' * 36}It ends so:\n\n{header}\n" + f"| a | {'cell ' * 120} |\n" * 9
    passages = texts(text, checked(text, markdown=True))
    assert any(f"{header}\n| a | cell" in passage for passage in passages)


def test_an_escaped_bar_is_no_border_of_a_cell() -> None:
    text = f"| A | B | C |\n|---|---|---|\n| k | x\\|y\\|z | {'Words of a cell. ' * 100}|\n"
    assert checked(text, markdown=True)[-1].header == "|A|C|\n|-|-|\n|k|"


def test_a_row_too_long_is_cut_between_cells_that_keep_their_titles() -> None:
    titles = ["Name", *(f"Column {number} of the report" for number in range(60))]
    rows = [[f"Person {row}", *(f"value {row}-{number}" for number in range(60))] for row in range(8)]
    text = f"| {' | '.join(titles)} |\n{'|---' * 61}|\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    values = 0
    for piece in checked(text, markdown=True):
        passage = text[piece.start : piece.end]
        if "value" not in passage:
            continue
        names = piece.header.split("\n")[0].strip("|").split("|")
        cells = [cell.strip() for cell in passage.strip("|").split("|")]
        row = int(re.findall(r"value (\d+)", passage)[0])
        if cells[0] != f"Person {row}":
            assert piece.header.endswith(f"\n|Person {row}|")
            cells.insert(0, f"Person {row}")
        assert [dict(zip(titles, rows[row], strict=True))[name] for name in names] == cells
        values += len(cells) - 1
    assert values == 8 * 60


def test_a_long_cell_is_cut_after_sentences_and_keeps_titles_and_key() -> None:
    cell = " ".join(f"This is sentence {number} of a cell." for number in range(120))
    text = f"| Code | Text | C |\n|---|---|---|\n| A1 | short | x |\n| A2 | {cell} | y |\n| A3 | short | z |\n"
    pieces = checked(text, markdown=True)
    inner = [piece for piece in pieces if text[piece.start : piece.end].startswith("This is")]
    assert len(inner) > 2 and all(piece.header == "|Code|Text|C|\n|-|-|-|\n|A2|" for piece in inner)
    assert pieces[-1].header == "| Code | Text | C |\n|---|---|---|" and text[pieces[-1].start :].startswith("| A3")


def test_code_too_long_is_cut_between_statements() -> None:
    functions = [f"def function_{number}(x):\n    y = x + {number}\n\n    return y" for number in range(60)]
    text = "# Code\n\nThe module:\n\n```python\n" + "\n\n\n".join(functions) + "\n```\n\nAfter."
    pieces = checked(text, markdown=True)
    assert text[pieces[0].start : pieces[0].end].startswith("# Code\n\nThe module:\n\n```python\ndef function_0")
    assert all(passage.startswith("def ") for passage in texts(text, pieces[1:])) and len(pieces) > 3
    assert {piece.header for piece in pieces[1:]} == {"```python"}
    assert text[pieces[-1].start : pieces[-1].end].endswith("return y\n```\n\nAfter.")


def test_a_shell_session_is_cut_before_commands() -> None:
    text = "```\n" + "".join(f"$ command {n}\n" + f"output of command {n}\n" * 6 for n in range(40)) + "```"
    assert all(passage.startswith("$ ") for passage in texts(text, checked(text, markdown=True))[1:])


@pytest.mark.parametrize("length", range(280, 330, 7))
def test_a_fence_is_not_closed_in_another_passage(length: int) -> None:
    code = "```\n" + ("x" * length + "\n") * 6 + "```"
    passages = texts(text := f"{code}\n\n{'Words after. ' * 70}", checked(text, markdown=True))
    assert len(passages) > 2 and not any(passage.startswith("```\n\n") for passage in passages)


def test_indented_code_stays_whole() -> None:
    code = "    # no title\n\n    a statement\n\n" * 25
    text = "word " * 80 + "\n\n" + code + "word " * 80
    pieces = checked(text, markdown=True)
    assert {piece.headings for piece in pieces} == {()}
    assert any(code.strip() in passage for passage in texts(text, pieces))


def test_a_list_may_be_nested_without_end() -> None:
    checked("".join(" " * depth + f"- item {'w' * 80}\n" for depth in range(1200)), markdown=True)


def test_a_list_is_cut_between_items_and_an_item_keeps_what_is_below_it() -> None:
    item = "- Item {0} goes on\n  in this line\n  - nested {0}\n    - deeper {0}\n\n  And more of {0}.\n"
    text = "".join(item.format(number) for number in range(60))
    for passage in texts(text, checked(text, markdown=True)):
        first, last = re.findall(r"\d+", passage)[0], re.findall(r"\d+", passage)[-1]
        assert passage.startswith(f"- Item {first} goes") and passage.endswith(f"And more of {last}.")


def test_a_term_stays_with_its_definition() -> None:
    text = "".join(f"Term {n}\n:   What it means. {'Word ' * 60}\n\n    And more.\n\n" for n in range(9))
    assert all(re.match(r"Term \d", passage) for passage in texts(text, checked(text, markdown=True)))


@pytest.mark.parametrize(
    "block", ["w" * 20 + ". ", "- item of a list\n", "x = 1\n", "没有句号的文字", "| a | b |\n"], ids=str.strip
)
@pytest.mark.parametrize("length", [970, 1010, 1500, 3100])
def test_no_passage_is_only_a_heading(block: str, length: int) -> None:
    body = block * (length // len(block))
    body = {"x": f"```\n{body}```", "|": f"| a | b |\n|---|---|\n{body}"}.get(block[0], body)
    text = f"# One\n\n{'w. ' * 300}\n\n## The title of this section\n\n{body}"
    for passage in texts(text, checked(text, markdown=True)):
        assert not all(re.match(r"#|\Z", line) for line in passage.split("\n"))


def test_a_heading_at_the_end_goes_with_what_is_above_it() -> None:
    text = "# One\n\n" + "A sentence. " * 80 + "\n\n" + "More words. " * 3 + "\n\n# End\n\n## Very end\n"
    last = checked(text, markdown=True)[-1]
    assert text[last.start : last.end].endswith("More words. \n\n# End\n\n## Very end") and last.headings == ("One",)


def test_a_title_in_bold_stays_with_the_paragraph_below_it() -> None:
    text = "\n\n".join(f"**Tip {number} has a title of its own**\n\n{'Words of a tip. ' * 20}" for number in range(20))
    assert all(passage.startswith("**Tip") for passage in texts(text, checked(text, markdown=True)))


def test_no_passage_is_small_where_its_neighbour_has_room() -> None:
    text = "\n\n".join([("word " * 120).strip() + "."] * 5 + ["The last words."])
    assert min(piece.end - piece.start for piece in checked(text, markdown=False)) > 500


def test_chinese_counts_double_wherever_it_stands() -> None:
    text = (
        "English words only. " * 300 + "\n\n" + "这是一个句子，说明年假的规定。" * 300 + "\n\n" + "Words again. " * 300
    )
    passages = texts(text, checked(text, markdown=False))
    assert max(len(passage) for passage in passages if not re.search("[a-z]", passage)) <= LIMIT * 5 // 8
    assert sum(len(passage) > LIMIT * 3 // 4 for passage in passages if not DENSE.search(passage)) >= 9


def test_a_passage_lies_on_the_page_that_it_names() -> None:
    chance = random.Random(1)
    pages, text = [], ""
    for _ in range(193):
        pages.append(len(text))
        for _ in range(chance.randint(2, 7)):
            text += "A sentence of this page. " * chance.randint(5, 25) + "\n\n"
    with_pages, without = checked(text, markdown=True, pages=pages), checked(text, markdown=True)
    assert {piece.page for piece in without} == {None}
    borders = [*pages, len(text)]
    for piece in with_pages:
        assert piece.page is not None
        assert borders[piece.page - 1] <= piece.start < piece.end <= borders[piece.page]
    assert len(with_pages) < len(without) * 1.2


def test_a_heading_at_the_foot_of_a_page_goes_with_its_text() -> None:
    text = "# Manual\n\nBefore.\n\n## Warranty\n\nThe warranty lasts 36 months."
    pieces = checked(text, markdown=True, pages=[0, text.index("The warranty")])
    assert [text[piece.start : piece.end].splitlines()[0] for piece in pieces] == ["# Manual", "## Warranty"]


def test_short_pages_are_passages_of_their_own() -> None:
    text = "# Deck\n\nWelcome.\n\n## Plan\n\nOne line.\n\nMore.\n\nAnother line."
    pages = [0, text.index("## Plan"), text.index("More"), text.index("Another")]
    assert [piece.page for piece in checked(text, markdown=True, pages=pages)] == [1, 2, 3, 4]


def _work(text: str) -> int:
    """Return how many lines of Python run to cut a text."""
    counted: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> object:
        counted[event] += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)  # type: ignore[arg-type]
    try:
        cut(text, markdown=True)
    finally:
        sys.settrace(before)
    return counted["line"]


@pytest.mark.parametrize(
    "unit",
    [
        "x\n\n",
        "- i\n",
        "- i\n\n",
        "w. ",
        "```\nx\n",
        "    x\n\n",
        "| 1 | 2 |\n",
        "|" * 800 + "\n",
        "# a\nb\n",
        "Term\n: d\n\n",
        "字",
    ],
    ids=repr,
)
def test_the_work_grows_with_the_text_and_no_faster(unit: str) -> None:
    text = "| a | b |\n|---|---|\n" if unit.startswith("|") else "- a\n" + "".join(" " * n + "- b\n" for n in range(30))
    once, twice = (_work(text + unit * (count // len(unit))) for count in (12_000, 24_000))
    assert twice < 2.2 * once and twice < 80 * 24_000
