"""Comments of FLAC and Ogg, which checksums and other comments keep from being taken out (services/voice/tags.py).

FFmpeg compares each of them with all others, without asking whether somebody still waits: 200,000 comments in 2 MB cost
it minutes, and nothing ends that. So files with far more than a recording has are refused before it sees them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from models.deadline import Deadline

_MOST = 4_096
"""Notes of one file: so many cost a twentieth of a second."""

_MOST_BYTES = 64 * 2**10

_FLAC, _FLAC_COMMENTS, _MOST_BLOCKS = b"fLaC", 4, 1_000
_OGG, _OGG_HEAD, _WHOLE = b"OggS", 27, 255
_OGG_COMMENTS = (b"OpusTags", b"\x03vorbis", b"\x81theora", b"OVP80\x02")
"""How packets of comments begin, which may come again in the midst of the sound."""
_MOST_OGG_COMMENTS = 32
_LEAST_SIGNS = 512
"""A page without any comment has 255 of the signs that stand in comments, if it is as long as can be."""
_FLAC_IN_OGG, _FLAC_SOUND = b"\x7fFLAC", b"\xff"
_NOBODY_RECORDS = (b"CELT    ", b"\x01audio", b"\x01video", b"\x01text", b"\x01Direct Show")
"""How CELT and OGM begin: of their comments there may be any number, and they begin with nothing of their own."""


def has_too_many_notes(content: bytes, deadline: Deadline) -> bool:
    """Tell whether a file has more notes than any recording, or long enough to have them.

    Raises:
        DeadlineExceeded, CallCancelled: as `Deadline.check`.
    """
    return _in_flac(content, deadline) or _in_ogg(content, deadline)


def _in_flac(content: bytes, deadline: Deadline) -> bool:
    """Look through the blocks before the sound (RFC 9639, section 8), wherever a file begins, also within another."""
    at, blocks = content.find(_FLAC), 0  # blocks of all the files: each may be walked through from many places
    while at >= 0:
        deadline.check()
        block, last, comments = at + len(_FLAC), False, 0
        while not last and block + 4 <= len(content):
            blocks += 1
            last, kind = content[block] >= 0x80, content[block] & 0x7F
            length = int.from_bytes(content[block + 1 : block + 4], "big")
            comments += length if kind == _FLAC_COMMENTS else 0
            if blocks > _MOST_BLOCKS or comments > _MOST_BYTES:
                return True
            block += 4 + length
        at = content.find(_FLAC, at + 1)
    return False


def _in_ogg(content: bytes, deadline: Deadline) -> bool:
    """Look for a packet (RFC 3533, section 6) with many signs between names and values; it may have many pages."""
    if _OGG not in content:
        return False
    packets = sum(content.count(mark) for mark in _OGG_COMMENTS)
    if packets > _MOST_OGG_COMMENTS or (content.startswith(_OGG) and any(mark in content for mark in _NOBODY_RECORDS)):
        return True
    most = max(_LEAST_SIGNS, _MOST // max(1, packets))
    signs: dict[bytes, int] = {}
    header = _FlacHeader() if _FLAC_IN_OGG in content else None
    for page in _pages(content, deadline):
        more = content.count(b"=", page.begin, page.begin + sum(page.table))
        signs[page.serial] = signs.get(page.serial, 0) + more
        if signs[page.serial] > most or (header is not None and header.is_too_long(content, page)):
            return True
        if min(page.table, default=_WHOLE) < _WHOLE:
            signs[page.serial] = 0
    return False


@dataclass(frozen=True)
class _Page:
    """A page of Ogg.

    Attributes:
        is_continued: it begins within a packet.
        table: the lengths of its segments; what is shorter than 255 bytes ends a packet.
        begin: where the first of them is.
    """

    serial: bytes
    is_continued: bool
    table: bytes
    begin: int


def _pages(content: bytes, deadline: Deadline) -> Iterator[_Page]:
    at = content.find(_OGG)
    while at >= 0 and at + _OGG_HEAD <= len(content):
        deadline.check()
        table = content[at + _OGG_HEAD : at + _OGG_HEAD + content[at + _OGG_HEAD - 1]]
        yield _Page(content[at + 14 : at + 18], bool(content[at + 5] & 1), table, at + _OGG_HEAD + len(table))
        at = content.find(_OGG, at + len(_OGG))


class _FlacHeader:
    """What stands before the sound of FLAC in Ogg (RFC 9639, section 10.1): any number of packets, also of comments."""

    def __init__(self) -> None:
        self._sounding: set[bytes] = set()
        self._packets = 0
        self._signs = 0

    def is_too_long(self, content: bytes, page: _Page) -> bool:
        """Tell whether it has more comments, with the next page, than any recording."""
        begin = end = page.begin
        starts = not page.is_continued
        for length in page.table if page.serial not in self._sounding else b"":
            end += length
            if length == _WHOLE and end < page.begin + sum(page.table):
                continue
            if starts and content[begin : begin + 1] == _FLAC_SOUND:
                self._sounding.add(page.serial)
                break
            self._packets += 1
            self._signs += content.count(b"=", begin, end)
            begin, starts = end, True
            if self._packets > _MOST_BLOCKS or self._signs > _MOST:
                return True
        return False
