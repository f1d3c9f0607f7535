"""Read a text as blocks: what a writer of markdown set apart with headings, lists, tables, code and blank lines.

It is not a markdown parser: it finds where blocks begin and end, in one pass and in time proportional to the text,
and takes whatever it does not know for prose.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

Span = tuple[int, int]

LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
ITEM = re.compile(r"([ \t]*)(?:[-*+•]|(\d{1,9})[.)])(?=[ \t\r\n]|\Z)")
"""A line that begins an item of a list: its indentation, and its number if it has one."""

_DEEP = re.compile(r" {4}| {0,3}\t")
_INDENTED = re.compile(r" {2}| ?\t")
_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t\r\n]|$)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*[\r\n]*\Z")
_RULE = re.compile(r" {0,3}([-*_])(?:[ \t]*+\1){2,}[ \t]*[\r\n]*\Z")
_DELIMITERS = re.compile(r"[ \t]*+\|?+[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+[\r\n]*\Z")
_DEFINED = re.compile(r" {0,3}:[ \t]")
_NO_TITLE = re.compile(r"\s*(?:[-*+>|]|\d+[.)]\s|\Z)")
_MARKUP = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\n]{0,500}\)|\*\*|__|`")


class Kind(Enum):
    """What a block is, and so where it may be cut."""

    PROSE = auto()
    HEADING = auto()
    LIST = auto()
    TABLE = auto()
    CODE = auto()


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together; a heading has a `level` from 1 to 6 and its words as `title`."""

    start: int
    end: int
    kind: Kind = Kind.PROSE
    level: int = 0
    title: str = ""


def blocks_of(text: str, *, markdown: bool) -> Iterator[Block]:
    """Yield the blocks of a text in order; together they hold every line that is not blank.

    Without `markdown` there are paragraphs only.
    """
    lines = [match.span() for match in LINE.finditer(text)]
    return _markdown_blocks(text, lines) if markdown else paragraphs(text, lines)


def paragraphs(text: str, lines: Iterable[Span]) -> Iterator[Block]:
    """Yield the runs of lines that are not blank."""
    begin = finish = -1
    for start, end in lines:
        if text[start:end].isspace():
            if begin >= 0:
                yield Block(begin, finish)
            begin = -1
            continue
        begin, finish = (start if begin < 0 else begin), end
    if begin >= 0:
        yield Block(begin, finish)


def _markdown_blocks(text: str, lines: list[Span]) -> Iterator[Block]:
    """Yield the blocks; the lines that begin none wait until their paragraph ends."""
    waiting: list[Span] = []
    number = 0
    while number < len(lines):
        start, end = lines[number]
        after, block = number + 1, None
        if not text[start:end].isspace():
            block = _setext(text, waiting, (start, end))
            if block:
                waiting = []
            else:
                after, block = _special(text, lines, number, bool(waiting))
            if block is None:
                waiting.append((start, end))
                number += 1
                continue
        yield from paragraphs(text, waiting)
        waiting, number = [], after
        if block:
            yield block
    yield from paragraphs(text, waiting)


def _special(text: str, lines: list[Span], number: int, after_text: bool) -> tuple[int, Block | None]:
    """Return the block other than prose that begins on this line and the number of the line after it."""
    start, end = lines[number]
    if heading := _atx(text, start, end):
        return number + 1, heading
    for kind, after in (
        (Kind.CODE, _fence_end(text, lines, number)),
        (Kind.CODE, number if after_text else _indented_end(text, lines, number)),
        (Kind.TABLE, _table_end(text, lines, number)),
        (Kind.LIST, _list_end(text, lines, number, after_text)),
    ):
        if after > number:
            return after, Block(start, lines[after - 1][1], kind)
    return number, None


def _fence_end(text: str, lines: list[Span], number: int) -> int:
    """Return the number of the line after the fence (or the front matter) that opens here, or this line's."""
    start, end = lines[number]
    opening = FENCE.match(text, start, end)
    if opening and not _DEEP.match(text, start, end):
        mark = opening[1]
        if mark[0] == "`" and "`" in text[opening.end() : end]:
            return number
    elif number == 0 and text[start:end].rstrip() == "---":
        mark = "---"
    else:
        return number
    for later in range(number + 1, len(lines)):
        line = text[slice(*lines[later])].strip()
        if len(line) >= len(mark) and line == mark[0] * len(line):
            return later + 1
    return len(lines) if mark != "---" else number


def _indented_end(text: str, lines: list[Span], number: int) -> int:
    """Return the number of the line after the code that is set apart by its indentation, or this line's."""
    after = number
    for later in range(number, len(lines)):
        start, end = lines[later]
        if text[start:end].isspace():
            continue
        if _DEEP.match(text, start, end):
            after = later + 1
        else:
            break
    return after


def _table_end(text: str, lines: list[Span], number: int) -> int:
    """Return the number of the line after the table that begins here, or this line's."""
    if number + 1 >= len(lines):
        return number
    first, second = text[slice(*lines[number])], text[slice(*lines[number + 1])]
    if "|" not in first or "|" not in second or not _DELIMITERS.match(second) or _DELIMITERS.match(first):
        return number
    for later in range(number + 2, len(lines)):
        if text.find("|", *lines[later]) < 0:
            return later
    return len(lines)


def _list_end(text: str, lines: list[Span], number: int, after_text: bool) -> int:
    """Return the number of the line after the list that begins here, or this line's.

    A blank line ends a list unless another item or an indented line follows. A term above its definition (": ") is a
    list too.
    """
    if not _begins_list(text, lines, number, after_text):
        return number
    after, blank = number + 1, False
    for later in range(number + 1, len(lines)):
        start, end = lines[later]
        line = text[start:end]
        if line.isspace():
            blank = True
            continue
        indented = _INDENTED.match(line)
        if blank and not indented and not ITEM.match(line):
            break
        if not indented and (_ATX.match(line) or FENCE.match(line) or _RULE.match(line)):
            break
        if not indented and _table_end(text, lines, later) > later:
            break
        after, blank = later + 1, False
    return after


def _begins_list(text: str, lines: list[Span], number: int, after_text: bool) -> bool:
    """Tell whether this line begins a list; within a paragraph a line such as "2019. " does not."""
    if opening := ITEM.match(text, *lines[number]):
        return (not after_text or opening[2] in (None, "1")) and not _RULE.match(text[slice(*lines[number])])
    return not after_text and number + 1 < len(lines) and _DEFINED.match(text, *lines[number + 1]) is not None


def _atx(text: str, start: int, end: int) -> Block | None:
    opening = _ATX.match(text, start, end)
    if opening is None:
        return None
    title = text[opening.end() : end].strip()
    bare = title.rstrip("#")
    if bare != title and (not bare or bare[-1] in " \t"):
        title = bare
    return Block(start, end, Kind.HEADING, len(opening[1]), _plain(title))


def _setext(text: str, above: list[Span], line: Span) -> Block | None:
    """Return the heading that this line underlines; only a single line of text above it is taken for one."""
    if len(above) != 1:
        return None
    underline = _SETEXT.match(text[slice(*line)])
    title = text[slice(*above[0])]
    if underline is None or len(title) > 300 or _NO_TITLE.match(title):
        return None
    return Block(above[0][0], line[1], Kind.HEADING, 1 if underline[1][0] == "=" else 2, _plain(title))


def _plain(title: str) -> str:
    """Return a title without its inline markup."""
    return " ".join(_MARKUP.sub(lambda match: match[1] or "", title[:300]).split())
