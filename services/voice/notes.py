"""What files of sound say besides their sound: titles, comments, chapters.

FFmpeg compares each of them with all others, without asking whether somebody still waits: 200,000 comments in 2 MB cost
it minutes, and nothing ends that. So files with far more than a recording has are refused before it sees them.
"""

from models.deadline import Deadline

_MOST = 4_096
"""Notes of one file: so many cost a twentieth of a second."""

_MOST_BYTES = 64 * 2**10
_EBML = b"\x1a\x45\xdf\xa3"
_EACH_IN_MATROSKA = (b"\x67\xc8", b"\x73\xc4")
"""What every tag and every chapter has; in 50 MB of sound each comes 760 times by chance."""

_FLAC, _FLAC_COMMENTS, _MOST_BLOCKS = b"fLaC", 4, 1_000
_OGG, _OGG_HEAD, _WHOLE = b"OggS", 27, 255


def has_too_many_notes(content: bytes, deadline: Deadline) -> bool:
    """Tell whether a file has more notes than any recording, or long enough to have them.

    Raises:
        DeadlineExceeded, CallCancelled: as `Deadline.check`.
    """
    if content.startswith(_EBML) and any(content.count(mark) > _MOST for mark in _EACH_IN_MATROSKA):
        return True
    return _in_flac(content, deadline) or _in_ogg(content, deadline)


def _in_flac(content: bytes, deadline: Deadline) -> bool:
    """Look through the blocks before the sound (RFC 9639, section 8), wherever a file begins, also within another."""
    at = content.find(_FLAC)
    while at >= 0:
        deadline.check()
        block, last, blocks = at + len(_FLAC), False, 0
        while not last and block + 4 <= len(content):
            blocks += 1
            last, kind = content[block] >= 0x80, content[block] & 0x7F
            length = int.from_bytes(content[block + 1 : block + 4], "big")
            if blocks > _MOST_BLOCKS or (kind == _FLAC_COMMENTS and length > _MOST_BYTES):
                return True
            block += 4 + length
        at = content.find(_FLAC, at + 1)
    return False


def _in_ogg(content: bytes, deadline: Deadline) -> bool:
    """Look for a packet (RFC 3533, section 6) with many signs between names and values; it may have many pages."""
    signs: dict[bytes, int] = {}
    at = content.find(_OGG)
    while at >= 0 and at + _OGG_HEAD <= len(content):
        deadline.check()
        serial = content[at + 14 : at + 18]
        table = content[at + _OGG_HEAD : at + _OGG_HEAD + content[at + _OGG_HEAD - 1]]
        begin = at + _OGG_HEAD + len(table)
        signs[serial] = signs.get(serial, 0) + content.count(b"=", begin, begin + sum(table))
        if signs[serial] > _MOST:
            return True
        if min(table, default=_WHOLE) < _WHOLE:
            signs[serial] = 0
        at = content.find(_OGG, at + 4)
    return False
