"""Cut a document into passages: pieces of one section, small enough to hand to a model.

Blocks (paragraphs, lists, tables, code) stay whole where they fit. Longer ones are taken apart at rows, items,
statements and sentence ends, and what is longer still by semchunk. Of all ways to make passages of a section's parts
the cheapest is taken: few passages, none of them small, cut where it hurts least, with a heading or an introducing
line kept with what follows.

A piece that begins inside a table or a fence has the table's titles or the fence's opening line as its `header`, so
that it is shown as what it is. The closing line of a fence is in the piece with the last of its lines.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from models.documents import Piece
from services.knowledge.blocks import Block, Kind, blocks_of
from services.knowledge.parts import (
    GLUED_COST,
    INTRODUCED_COST,
    SENTENCE_COST,
    Part,
    beginning,
    code_parts,
    fits,
    list_parts,
    prose_parts,
    trim,
    weight,
)
from services.knowledge.tables import table_parts

LIMIT = 1000
"""Characters of a passage at most, its header's included; a Chinese, Japanese or Korean one, saying more, is two."""

_SMALL, _SMALLEST = LIMIT // 10, LIMIT // 40
_LONGEST_INTRODUCTION = 200
_BOLD = re.compile(r"(\*\*|__)[^\r\n]+\1")  # what is set in bold from end to end is a title in all but name

_PARTS: dict[Kind, Callable[[str, int, int, int], Iterator[Part]]] = {
    Kind.PROSE: prose_parts,
    Kind.HEADING: prose_parts,
    Kind.LIST: list_parts,
    Kind.TABLE: table_parts,
    Kind.CODE: code_parts,
}


def cut(text: str, *, markdown: bool, pages: Sequence[int] = ()) -> list[Piece]:
    """Return the passages of a text in order, disjoint, none blank; together they hold everything that is not blank.

    A heading's line opens the first passage below it. Without `markdown` there are paragraphs only.

    Args:
        pages: where each page starts, ascending; no passage goes from one part of the text on to another beyond a
            border, so that what is quoted is on the page that is named.
    """
    pieces: list[Piece] = []
    for section, headings in _sections(blocks_of(text, markdown=markdown)):
        parts = _joined(text, _parts(text, section), pages)
        for part in _pack(text, parts, pages):
            page = max(1, bisect_right(pages, part.start)) if pages else None
            pieces.append(Piece(part.start, part.end, headings, part.header, page))
    return pieces


def _sections(blocks: Iterable[Block]) -> Iterator[tuple[list[Block], tuple[str, ...]]]:
    """Group blocks under the same heading; a heading without a text of its own goes with the section below.

    Headings at the very end have none below and go with the one above.
    """
    path: list[Block] = []
    done: list[Block] = []
    section: list[Block] = []
    headings: tuple[str, ...] = ()
    told = False
    for block in blocks:
        if block.level:
            if told:
                if done:
                    yield done, headings
                done, headings = section, _titles(path)
                section, told = [], False
            while path and path[-1].level >= block.level:
                path.pop()
            path.append(block)
        else:
            told = True
        section.append(block)
    if done and told:
        yield done, headings
        done = []
    if done or section:
        yield done + section, headings if done else _titles(path)


def _titles(path: list[Block]) -> tuple[str, ...]:
    return tuple(heading.title for heading in path if heading.title)


def _parts(text: str, section: Iterable[Block]) -> Iterator[Part]:
    """Yield blocks that fit, and the parts of the others.

    One that fits, but not together with the heading above it, is taken apart too, and so is a table or a list that
    does not fit with the line that introduces it: a passage that is only a heading would answer nothing.
    """
    above: Block | None = None
    begin = -1
    for block in section:
        start, end = trim(text, block.start, block.end)
        cost = _cost(text, above, block)
        if not cost or not fits(text, begin, start, LIMIT // 3):
            begin = start
        whole = fits(text, start, end, LIMIT)
        may_open = cost == GLUED_COST or block.kind in (Kind.TABLE, Kind.LIST)
        if whole and (not may_open or fits(text, begin, end, LIMIT)):
            yield Part(start, end, cost)
        else:
            # from the block's start, for a list's other items are told from nested ones by its first's indentation
            room = LIMIT - weight(text[begin:start])
            yield from beginning(_PARTS[block.kind](text, block.start, end, room), cost)
        above = block


def _cost(text: str, above: Block | None, block: Block) -> float:
    """Return what it costs to begin a passage with a block rather than with what stands above it."""
    if above is None:
        return 0.0
    if Kind.HEADING in (above.kind, block.kind):  # below something else only at the very end, where it has no text
        return GLUED_COST
    if above.kind is not Kind.PROSE:
        return 0.0
    line = text[above.start : above.end].strip()
    short = len(line) <= _LONGEST_INTRODUCTION
    if line.endswith((":", "：")) or (short and (block.kind is Kind.TABLE or _BOLD.fullmatch(line))):
        return INTRODUCED_COST
    return 0.0


def _joined(text: str, parts: Iterable[Part], pages: Sequence[int]) -> Iterator[Part]:
    """Yield the parts, small ones as one with their neighbour, so that there are few ways to make passages of them."""
    held: Part | None = None
    for part in parts:
        together = held and not _turns(pages, held.end, part.start) and _belongs(text, held, part)
        if held and together and fits(text, held.start, part.end, LIMIT - weight(held.header) - 1):
            held = held._replace(end=part.end)
            continue
        if held:
            yield held
        held = part
    if held:
        yield held


def _belongs(text: str, held: Part, part: Part) -> bool:
    """Tell whether not to cut between two parts: where it is good to cut only if the first is very small."""
    if part.cost < SENTENCE_COST:
        return part.cost >= 0 and held.cost < GLUED_COST and fits(text, held.start, held.end, _SMALLEST)
    tail = fits(text, part.start, part.end, _SMALLEST) and fits(text, held.start, part.end, LIMIT // 4)
    return tail or fits(text, held.start, held.end, _SMALL)


def _pack(text: str, parts: Iterable[Part], pages: Sequence[int]) -> Iterator[Part]:
    """Yield the cheapest passages that the parts can be joined to: each costs 1 and more the less full it is.

    The best way to reach each part's end is found from those to reach earlier ones; a passage holds at most 40 parts,
    hence the time is proportional to the text.
    """
    known = list(parts)
    begins, ends = _positions(text, known)
    headers = [weight(part.header) + 1 if part.header else 0 for part in known]
    totals, origins = [0.0], [0]
    prices: list[float] = []
    for number, part in enumerate(known):
        prices.append(totals[number] + part.cost)
        best, origin = float("inf"), number
        for first in range(number, -1, -1):
            length = ends[number] - begins[first]
            if length > LIMIT and first < number:
                break
            filled = (length + headers[first]) / LIMIT
            price = prices[first] + 1 + (1 - filled) ** 2
            if price < best and (filled <= 1 or first == number):
                best, origin = price, first
            glued = known[first].cost >= GLUED_COST  # a heading goes with the text on the next page
            if first and not glued and _turns(pages, known[first - 1].end, known[first].start):
                break
        totals.append(best)
        origins.append(origin)
    cuts = [len(known)]
    while cuts[-1]:
        cuts.append(origins[cuts[-1]])
    for first, last in zip(cuts[:0:-1], cuts[-2::-1], strict=True):
        yield known[first]._replace(end=known[last - 1].end)


def _positions(text: str, parts: Sequence[Part]) -> tuple[list[int], list[int]]:
    """Return where each part begins and ends, measured in weight."""
    begins: list[int] = []
    ends: list[int] = []
    before = position = 0
    for part in parts:
        begins.append(position + part.start - before)
        position = begins[-1] + weight(text[part.start : part.end])
        ends.append(position)
        before = part.end
    return begins, ends


def _turns(pages: Sequence[int], before: int, after: int) -> bool:
    return bisect_right(pages, before - 1) < bisect_right(pages, after)
