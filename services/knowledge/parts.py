"""Take prose, lists and code that do not fit into a passage apart, at the places where a reader would.

A part's cost says how much worse it is to begin a passage with it than with a block of its own; 1 is as bad as one
passage more. The costs were set by reading what came out of Debian's handbook in three languages.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, cast

from semchunk.semchunk import chunk

from services.knowledge.blocks import FENCE, ITEM, LINE, Span, paragraphs

ITEM_COST = 0.1
ROW_COST = 0.15
STATEMENT_COST = 0.15
SENTENCE_COST = 0.3
LINE_COST = 0.6
INTRODUCED_COST = 0.8
CHUNK_COST = 1.0
GLUED_COST = 5.0

_SENTENCE = re.compile(r"[。！？；…]++[”’」』）]*|(?<![.!?;])[.!?;]++[\"')\]”’]*+(?=\s)|[\r\n]+")
_FINISHED = tuple(".!?;:。！？；：…\"')]”’」』）|")
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]")
_CLOSING = re.compile(r"[ \t]*(?:[)\]}]|(?:end|else|elif|except|finally|catch|fi|done|esac)\b)")
_PROMPT = re.compile(r"[$#>%] ")  # of a shell session; a line with a comment is as good a beginning
_WINDOW = 20_000  # semchunk's work and recursion grow with the length of what it is given
_DEEPEST_LIST = 8
_LONGEST_FENCE = 80


class Part(NamedTuple):
    """A span that fits into a passage, what it costs to begin one with it, and the header it would need there."""

    start: int
    end: int
    cost: float = 0.0
    header: str = ""


def weight(text: str) -> int:
    """Return how much of a passage the text fills: its characters, those of Chinese, Japanese and Korean doubled."""
    return len(text) if text.isascii() else len(text) + len(_DENSE.findall(text))


def fits(text: str, start: int, end: int, limit: int) -> bool:
    """Tell whether the text's [start:end] weighs no more than the limit, without reading a longer one."""
    return end - start <= limit and weight(text[start:end]) <= limit


def trim(text: str, start: int, end: int) -> Span:
    """Narrow a span to what is not blank at its ends."""
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip()) if piece.strip() else end


def beginning(parts: Iterable[Part], cost: float) -> Iterator[Part]:
    """Yield the parts, the first of them at this cost."""
    iterator = iter(parts)
    for part in iterator:
        yield part._replace(cost=cost)
        yield from iterator


def prose_parts(text: str, start: int, end: int, limit: int, header: str = "") -> Iterator[Part]:
    """Yield sentences and lines, and chunks of those that do not fit; none is blank."""
    before = start
    for sentence in _sentences(text, start, end):
        first, last = trim(text, *sentence)
        if first == last:
            continue
        cost = SENTENCE_COST if text.endswith(_FINISHED, start, before) else LINE_COST
        if fits(text, first, last, limit):
            yield Part(first, last, cost, header)
        else:
            chunks = (Part(*span, CHUNK_COST, header) for span in _chunks(text, first, last, limit))
            yield from beginning(chunks, cost)
        before = last


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _SENTENCE.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    yield start, end


def _chunks(text: str, start: int, end: int, limit: int) -> Iterator[Span]:
    """Let semchunk cut what has no sentences, a window at a time."""
    while start < end:
        after = min(start + _WINDOW, end)
        if after < end:
            after = max(after, text.rfind(" ", start + _WINDOW // 2, after))
        _, offsets = chunk(text[start:after], limit, weight, memoize=False, offsets=True)  # memoized, it keeps the text
        for first, last in cast(list[Span], offsets):
            yield trim(text, start + first, start + last)
        start = after


def list_parts(text: str, start: int, end: int, limit: int, depth: int = 0) -> Iterator[Part]:
    """Yield the items of a list, each with what is below it; those that do not fit as their text and nested items."""
    lines = [match.span() for match in LINE.finditer(text, start, end)]
    level = _level(text, lines[0])
    begins = [first for first, last in lines[1:] if 0 <= _level(text, (first, last)) <= level + 1]
    for first, last in pairwise((start, *begins, end)):
        if fits(text, *trim(text, first, last), limit):
            yield Part(*trim(text, first, last), ITEM_COST)
        else:
            yield from beginning(_item_parts(text, first, last, limit, depth), ITEM_COST)


def _item_parts(text: str, start: int, end: int, limit: int, depth: int) -> Iterator[Part]:
    lines = [match.span() for match in LINE.finditer(text, start, end)]
    nested = next((line[0] for line in lines[1:] if _level(text, line) >= 0), end) if depth < _DEEPEST_LIST else end
    for block in paragraphs(text, (line for line in lines if line[0] < nested)):
        first, last = trim(text, block.start, block.end)
        if fits(text, first, last, limit):
            yield Part(first, last, SENTENCE_COST)
        else:
            yield from beginning(prose_parts(text, first, last, limit), SENTENCE_COST)
    if nested < end:
        yield from beginning(list_parts(text, nested, end, limit, depth + 1), LINE_COST)


def _level(text: str, line: Span) -> int:
    """Return how far the item that begins on this line is indented, -1 if none does."""
    opening = ITEM.match(text, *line)
    return len(opening[1].expandtabs(4)) if opening else -1


def code_parts(text: str, start: int, end: int, limit: int) -> Iterator[Part]:
    """Yield the lines of code; all but the first of a fence need its opening line as their header."""
    lines = [span for match in LINE.finditer(text, start, end) if not text[slice(*(span := match.span()))].isspace()]
    opening = FENCE.match(text, *lines[0])
    header = text[slice(*trim(text, *lines[0]))] if opening else ""
    if opening and len(header) > _LONGEST_FENCE:
        header = opening[1][:3]
    base = _indentation(text, lines[1 if opening and len(lines) > 1 else 0])
    room = limit - weight(header) - 1
    for number, line in enumerate(lines):
        first, last = trim(text, *line)
        cost = _code_cost(text, line, lines[number - 1], base) if number else 0.0
        if opening and (number == 1 or text[first:last] == opening[1]):
            cost = GLUED_COST
        if fits(text, first, last, room):
            yield Part(first, last, cost, header if number else "")
        else:
            yield from beginning(prose_parts(text, first, last, room, header if number else ""), cost)


def _code_cost(text: str, line: Span, above: Span, base: int) -> float:
    """Return what it costs to begin a passage with this line.

    It costs least where a statement begins after a blank line, or a command after the output of another.
    """
    begins = _indentation(text, line) <= base and not _CLOSING.match(text, *line)
    apart = above[1] < line[0] or _PROMPT.match(text, *line) is not None
    if begins and apart:
        return STATEMENT_COST
    return SENTENCE_COST if begins or apart else LINE_COST


def _indentation(text: str, line: Span) -> int:
    return trim(text, *line)[0] - line[0]
