"""Cutting: offsets are exact, nothing is lost, and what belongs together stays together."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from services.knowledge.passages import LIMIT, Piece, cut

ATOMS = [
    "# A\n", "## B `x` ##\n", "Title\n===\n", "x\n---\n", "```\n", "~~~~py\n", "| a | b |\n|---|---|\n", "- item\n",
    "1. one\n", "\n", "\r\n", " ", "\t", "word ", "句子。", "长句" * 600, "a" * 1500, "x. " * 700, "---\n", "\u2028",
    "\x1c", "(a-b/c)" * 300, "  " * 600, "é!", "> q\n", "#\n", "\r", "\xa0", "-" * 2500,
]  # fmt: skip


def checked(text: str, *, markdown: bool) -> list[Piece]:
    """Cut, and check what holds for every text."""
    pieces, position = cut(text, markdown=markdown), 0
    for piece in pieces:
        passage = text[piece.start : piece.end]
        assert passage and passage == passage.strip() and len(passage) <= LIMIT
        assert piece.start >= position and not text[position : piece.start].strip()
        position = piece.end
    assert not text[position:].strip()
    return pieces


@pytest.mark.parametrize("seed", range(20))
def test_any_text_is_covered_exactly_once(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        text = "".join(chance.choices(ATOMS, k=chance.randint(0, 25)))
        checked(text, markdown=True)
        checked(text, markdown=False)


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
