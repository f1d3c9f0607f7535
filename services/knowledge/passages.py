"""Cut a document into passages: pieces of one section, small enough to hand to a model.

Blocks (paragraphs, lists, tables, code fences) stay whole where they fit and are packed up to a limit within their
section; longer ones are cut at rows, lines and sentence ends, and what is longer still by semchunk.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from semchunk.semchunk import chunk

LIMIT = 1000
"""Characters of a passage at most; half as many in Chinese, Japanese and Korean, whose signs say more."""

Span = tuple[int, int]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t\r\n]|$)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*[\r\n]*\Z")
_NO_TITLE = re.compile(r"\s*(?:[-*+>|]|\d+[.)]\s|\Z)")
_MARKUP = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\n]{0,500}\)|\*\*|__|`")
_SENTENCE = re.compile(r"[。！？；…]++[”’」』）]*|(?<![.!?;])[.!?;]++[\"')\]”’]*+(?=\s)|[\r\n]+")
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]")
_WINDOW = 20_000  # semchunk's work and recursion grow with the length of what it is given


@dataclass(frozen=True)
class Piece:
    """A passage as cut: the document's text[start:end] and the titles above it, outermost first."""

    start: int
    end: int
    headings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Block:
    """Lines that belong together; `level` is 1 to 6 for a heading, 0 otherwise, and `title` its words."""

    start: int
    end: int
    level: int = 0
    title: str = ""


def cut(text: str, *, markdown: bool) -> list[Piece]:
    """Return the passages of a text in order, disjoint, none blank; together they hold everything that is not blank.

    A heading's line opens the first passage below it. Without `markdown` there are paragraphs only.
    """
    lines = [match.span() for match in _LINE.finditer(text)]
    blocks = _markdown_blocks(text, lines) if markdown else _paragraphs(text, lines)
    limit = LIMIT // 2 if _is_dense(text[:_WINDOW]) else LIMIT
    pieces: list[Piece] = []
    for section, headings in _sections(blocks):
        for start, end in _pack(text, section, limit):
            pieces.append(Piece(start, end, headings))
    return pieces


def _is_dense(sample: str) -> bool:
    return len(_DENSE.findall(sample)) * 3 > len(sample)


def _paragraphs(text: str, lines: Iterable[Span]) -> Iterator[_Block]:
    """Yield the runs of lines that are not blank."""
    begin = finish = -1
    for start, end in lines:
        if text[start:end].isspace():
            if begin >= 0:
                yield _Block(begin, finish)
            begin = -1
            continue
        begin, finish = (start if begin < 0 else begin), end
    if begin >= 0:
        yield _Block(begin, finish)


def _markdown_blocks(text: str, lines: list[Span]) -> Iterator[_Block]:
    """Yield headings, fenced code (and a front matter) and paragraphs, tables and lists."""
    waiting: list[Span] = []
    number = 0
    while number < len(lines):
        start, end = lines[number]
        if text[start:end].isspace():
            yield from _paragraphs(text, waiting)
            waiting, number = [], number + 1
            continue
        after = _fence_end(text, lines, number)
        if after > number:
            yield from _paragraphs(text, waiting)
            yield _Block(start, lines[after - 1][1])
            waiting, number = [], after
            continue
        number += 1
        if heading := _atx(text, start, end):
            yield from _paragraphs(text, waiting)
            yield heading
            waiting = []
        elif heading := _setext(text, waiting, (start, end)):
            yield heading
            waiting = []
        else:
            waiting.append((start, end))
    yield from _paragraphs(text, waiting)


def _fence_end(text: str, lines: list[Span], number: int) -> int:
    """Return the number of the line after the fence that opens here, or this line's if none does."""
    start, end = lines[number]
    opening = _FENCE.match(text, start, end)
    if opening:
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
    return len(lines) if opening else number


def _atx(text: str, start: int, end: int) -> _Block | None:
    opening = _ATX.match(text, start, end)
    if opening is None:
        return None
    title = text[opening.end() : end].strip()
    bare = title.rstrip("#")
    if bare != title and (not bare or bare[-1] in " \t"):
        title = bare
    return _Block(start, end, len(opening[1]), _plain(title))


def _setext(text: str, above: list[Span], line: Span) -> _Block | None:
    """Return the heading that this line underlines; only a single line of text above it is taken for one."""
    underline = _SETEXT.match(text[slice(*line)])
    if underline is None or len(above) != 1:
        return None
    title = text[slice(*above[0])]
    if _NO_TITLE.match(title) or len(title) > 300:
        return None
    return _Block(above[0][0], line[1], 1 if underline[1][0] == "=" else 2, _plain(title))


def _plain(title: str) -> str:
    """Return a title without its inline markup."""
    return " ".join(_MARKUP.sub(lambda match: match[1] or "", title[:300]).split())


def _sections(blocks: Iterable[_Block]) -> Iterator[tuple[list[_Block], tuple[str, ...]]]:
    """Group blocks under the same heading; a heading without a text of its own goes with the section below."""
    path: list[_Block] = []
    section: list[_Block] = []
    told = False
    for block in blocks:
        if block.level:
            if told:
                yield section, _titles(path)
                section, told = [], False
            while path and path[-1].level >= block.level:
                path.pop()
            path.append(block)
        else:
            told = True
        section.append(block)
    if section:
        yield section, _titles(path)


def _titles(path: list[_Block]) -> tuple[str, ...]:
    return tuple(heading.title for heading in path if heading.title)


def _pack(text: str, blocks: Iterable[_Block], limit: int) -> Iterator[Span]:
    """Join neighbouring parts as long as they fit, and trim the outcome."""
    begin = finish = -1
    for start, end in _parts(text, blocks, limit):
        if begin >= 0 and end - begin > limit:
            yield begin, finish
            begin = -1
        begin, finish = (start if begin < 0 else begin), end
    if begin >= 0:
        yield begin, finish


def _parts(text: str, blocks: Iterable[_Block], limit: int) -> Iterator[Span]:
    """Yield blocks that fit, and the lines, sentences or chunks of the others; none is blank."""
    for block in blocks:
        start, end = _trim(text, block.start, block.end)
        if end - start <= limit:
            yield start, end
            continue
        for line in _LINE.finditer(text, start, end):
            yield from _fitting(text, *line.span(), limit)


def _fitting(text: str, start: int, end: int, limit: int) -> Iterator[Span]:
    """Yield the line, its sentences, or chunks of its sentences."""
    start, end = _trim(text, start, end)
    if start == end:
        return
    if end - start <= limit:
        yield start, end
        return
    for sentence in _sentences(text, start, end):
        first, last = _trim(text, *sentence)
        if last - first > limit:
            yield from _chunks(text, first, last, limit)
        elif first < last:
            yield first, last


def _sentences(text: str, start: int, end: int) -> Iterator[Span]:
    for match in _SENTENCE.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    yield start, end


def _chunks(text: str, start: int, end: int, limit: int) -> Iterator[Span]:
    """Let semchunk cut what has no sentences, a window at a time."""
    for window in range(start, end, _WINDOW):
        piece = text[window : min(window + _WINDOW, end)]
        _, offsets = chunk(piece, limit, len, memoize=False, offsets=True)  # memoized, it would keep the text for ever
        for first, last in cast(list[Span], offsets):
            yield _trim(text, window + first, window + last)


def _trim(text: str, start: int, end: int) -> Span:
    """Narrow a span to what is not blank at its ends."""
    piece = text[start:end]
    return end - len(piece.lstrip()), start + len(piece.rstrip()) if piece.strip() else end
