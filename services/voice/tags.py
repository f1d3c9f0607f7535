"""Files of sound without what stands in them besides: titles, comments, pictures, chapters, tables for seeking.

Nobody here reads any of it, and FFmpeg compares each entry with all others, without asking whether somebody still
waits: tags of 40 kB before an MP3, packed, cost it minutes. So the parts that hold them get names that it passes over.
Nothing else changes and nothing moves, but for tags at the very beginning, and between the frames of AAC, which are cut
out. Sound that has such a name by chance is damaged in that place; of recordings of 50 MB that is one in ten.
"""

import re
from itertools import islice

_ID3 = re.compile(rb"ID3[^\xff][^\xff]([\s\S])([\0-\x7f]{4})")
"""The beginning of a tag (ID3v2.4.0, section 3.1): its flags, and its length in seven bits of each byte."""

_FOOTER = 0x10
_MOST_ID3 = 100

_ADTS = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")
"""What each frame of AAC begins with, and titles in UTF-16 nearly do, so that FFmpeg takes them for frames."""
_AAC_FOLLOWS = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]|ID3|\Z")
_MOST_BETWEEN = 10_000

_OGG = re.compile(rb"OggS\0[\0-\7]")
"""What FFmpeg takes for Ogg and for nothing else; none of the rest is in it, and a page that is changed is lost."""

_ANYWHERE = (
    *((b"ID3" + version, bytes(4)) for version in (b"\2", b"\3", b"\4")),  # in wav, aiff and aac
    (b"APETAGEX", bytes(8)),
    *((kind, b"free") for kind in (b"udta", b"meta", b"ilst", b"sidx")),  # of mp4; `free` is a box to pass over
    (b"cmov", b"free"),  # a packed header, which hides what is in it
)
"""Names of parts, and what stands there instead."""

_RIFF = ((b"LIST", b"JUNK"), (b"cue ", b"JUNK"))
_EBML = tuple((bytes.fromhex(kind), b"\x10\0\0\1") for kind in ("1254c367", "1043a770", "1941a469", "1c53bb6b"))
"""Tags, chapters, attachments and cues (RFC 9559, section 5.1); no element has the other name."""

_IN = {
    b"RIFF": _RIFF,
    b"RIFX": _RIFF,
    b"RF64": _RIFF,
    b"caff": ((b"info", b"free"),),
    b"\x1a\x45\xdf\xa3": _EBML,
}
"""What a file begins with -> names in such files only."""


def without_tags(content: bytes) -> bytes:
    """Return a file in which FFmpeg finds its sound and nothing that is said of it, but comments of FLAC and Ogg."""
    content = content[_behind_id3(content) :]
    if _OGG.match(content) or _is_bare_wav(content):
        return content
    if _ADTS.match(content):
        content = _without_id3_between(content)
    for name, instead in (*_ANYWHERE, *_IN.get(content[:4], ())):
        content = content.replace(name, instead)
    return content


def _is_bare_wav(content: bytes) -> bool:
    """Tell whether a WAV file is a format and samples, and nothing else: most are, and these are large."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE" or content[4:8].isalpha():  # a box of mp4 would have letters
        return False
    at = len(b"RIFF....WAVE")
    while content[at : at + 4] in (b"fmt ", b"fact"):
        at += 8 + int.from_bytes(content[at + 4 : at + 8], "little")
    size = int.from_bytes(content[at + 4 : at + 8], "little")
    return content[at : at + 4] == b"data" and 0 < at + 8 + size >= len(content) - 1


def _behind_id3(content: bytes) -> int:
    """Return where a file begins behind its first tags; FFmpeg looks for them before any container."""
    begin = 0
    for _ in range(_MOST_ID3):
        tag = _ID3.match(content, begin)
        if tag is None:
            break
        begin = _end_of(tag)
    return begin


def _without_id3_between(content: bytes) -> bytes:
    """Return AAC without the tags between its frames: of joined files, or of a radio's titles."""
    kept, begin = [], 0
    for tag in islice(_ID3.finditer(content), _MOST_BETWEEN):
        if tag.start() >= begin and _AAC_FOLLOWS.match(content, _end_of(tag)):
            kept.append(content[begin : tag.start()])
            begin = _end_of(tag)
    return b"".join([*kept, content[begin:]])


def _end_of(tag: re.Match[bytes]) -> int:
    length = 0
    for seven_bits in tag[2]:
        length = length << 7 | seven_bits
    return tag.end() + length + (tag.end() - tag.start() if tag[1][0] & _FOOTER else 0)
