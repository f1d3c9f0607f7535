"""Marks of sources in a streamed text: taken out however they are cut, and nothing else is."""

import pytest

from services.providers.openai_marks import MarkFilter

_NEW = "\ue200filecite\ue202turn0file0\ue201"


def _shown(*pieces: str) -> list[str]:
    marks = MarkFilter()
    return [*(marks.feed(piece) for piece in pieces), marks.finish()]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("At nine【4:0†source】.", "At nine."),
        ("At nine 【4:0†source】【12†policy v2.pdf】 and at ten【4:1†source, 4:2†source】", "At nine and at ten"),
        ("At nine【3†L25-L41】\n【3†L2】At ten", "At nine\nAt ten"),
        (f"At nine {_NEW}{_NEW}.", "At nine."),
        ("【重要】九点开门【周末除外】", "【重要】九点开门【周末除外】"),
        ("【1】 first 【2】 second 【", "【1】 first 【2】 second 【"),
        ("a 【4:0 b 【4:0†" + "c" * 400, "a 【4:0 b 【4:0†" + "c" * 400),
        ("【4:0†no end\nnext 【4:0†source】 line", "【4:0†no end\nnext line"),
        ("two  spaces \ue200 and an end ", "two  spaces \ue200 and an end "),
        ("", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_marks_are_taken_out_of_any_pieces_and_other_brackets_stay(text: str, shown: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert "".join(_shown(*pieces)) == shown


def test_only_what_may_become_a_mark_is_held_back() -> None:
    pieces = ("At nine", " 【4:0†sou", "rce】, 【重", "要", " ", "x")
    assert _shown(*pieces) == ["At nine", "", ", 【重", "要", "", " x", ""]
