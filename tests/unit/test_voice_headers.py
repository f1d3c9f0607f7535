"""What a response tells of a recorded message, in one line of ASCII."""

from urllib.parse import unquote

import pytest

from models.voice import Heard
from routes.schemas.voice import heard_headers

HEARD = Heard("aws", "pt-BR", 2.0, "0" * 64, 1, 2)


@pytest.mark.parametrize("text", ["Olá, 25 % às 10:30?", "年假\r\nX-Evil: 1", "plain", "😀"])
def test_a_transcript_comes_back_as_it_was(text: str) -> None:
    headers = heard_headers(text, HEARD)
    assert headers["X-Transcriber"] == "aws"
    assert headers["X-Transcript"].isascii() and headers["X-Transcript"].isprintable()
    assert unquote(headers["X-Transcript"], errors="strict") == text


@pytest.mark.parametrize("begin", ["", "a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"])
@pytest.mark.parametrize("character", ["年", "é", "😀", "x", "%"])
def test_a_long_one_is_cut_between_characters(begin: str, character: str) -> None:
    text = begin + character * 3_000
    told = heard_headers(text, HEARD)["X-Transcript"]
    assert 1_980 < len(told) <= 2_000
    assert text.startswith(unquote(told, errors="strict"))


def test_a_written_message_was_not_heard() -> None:
    assert heard_headers("text", None) == {}
