"""When a provider's conversation continues ours: it holds our newest turns, and nothing else."""

import pytest

from models.threads import Thread


@pytest.mark.parametrize(
    ("turns", "history", "held"),
    [
        ("abc", "abc", 3),
        ("abc", "abcde", 3),
        ("abc", "bc", 2),
        ("abc", "bcd", 2),
        ("bc", "abcd", 3),
        ("abc", "ab", None),
        ("abc", "", None),
        ("abc", "abx", None),
        ("abc", "xbc", None),
        ("abc", "acbd", None),
        ("ac", "abcd", None),
        ("", "", None),
        ("", "ab", None),
    ],
    ids=[
        "the same", "newer turns", "a window", "a window with newer turns", "a window that has grown",
        "the newest turn was not committed", "no history", "another newest turn", "another older turn",
        "another order", "a turn in between", "nothing", "nothing yet",
    ],
)  # fmt: skip
def test_a_thread_is_continued_only_where_it_is_what_the_history_is(turns: str, history: str, held: int | None) -> None:
    assert Thread("t", tuple(turns), settled=True).holds(list(history)) == held


def test_a_thread_that_an_attempt_left_is_not_continued() -> None:
    assert Thread("t", ("a",), settled=False).holds(["a"]) is None
