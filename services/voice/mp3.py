"""MP3 files as bare frames, so that the speech of several sentences is one MP3, and that of each is one too.

Synthesizers put tags (ID3, APE) and a first frame that counts the others (Xing, Info, VBRI) into every file. Players
that meet a second one of these within a stream end there, or think that it is as long as its first file. What is left
here are frames of layer III (ISO/IEC 11172-3 and 13818-3), which may follow each other as they like.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Version bits (MPEG 1, 2, 2.5) -> samples a second, by the bits of the rate."""
_KBITS_MPEG_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_MPEG_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SIDE = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}
"""Whether it is MPEG 1, whether it is mono -> bytes of side information behind the header."""

_SYNC = 0xFF  # the first byte of a frame, and of no tag
_MPEG_1, _LAYER_III, _MONO = 3, 1, 3
_HEADER, _CHECKSUM = 4, 2
_XING = (b"Xing", b"Info")
_VBRI_AT = 36
_ID3, _APE, _ID3_1 = 10, 32, 128
_MARK = re.compile(rb"\xff[\xe0-\xff]|ID3|APETAGEX")
_LONGEST_MARK = 8
_ENOUGH = 40  # bytes that tell what begins here: a tag, a frame, a frame that counts others


@dataclass(frozen=True)
class _Frame:
    """What a frame's header says.

    Attributes:
        kind: what the frames of a stream have in common: version and rate.
        length: bytes, the header among them.
        side: bytes of side information.
    """

    kind: tuple[int, int]
    length: int
    side: int


class Mp3Joiner:
    """Take an MP3 file in pieces and return its frames, whole, without what is no sound.

    Bytes that are neither frames nor known tags are left out. Behind them, and at the beginning, a frame counts when
    another one of its kind follows, a tag or the end. Frames without a stated bit rate ("free format") do not count:
    no synthesizer writes them.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._skip = 0
        self._kind: tuple[int, int] | None = None

    def feed(self, piece: bytes) -> bytes:
        """Return the frames that are whole by now, b"" if there are none."""
        self._held += piece[self._skip :]
        self._skip = max(0, self._skip - len(piece))
        return self._take(ended=False)

    def finish(self) -> bytes:
        """Return the last frames; one that is cut off is left out."""
        return self._take(ended=True)

    def _take(self, ended: bool) -> bytes:
        frames, at = bytearray(), 0
        while at < len(self._held):
            found = self._look(at, ended)
            if found is None:
                break
            size, is_sound = found
            if is_sound:
                frames += self._held[at : at + size]
            at += size
        self._skip += max(0, at - len(self._held))
        del self._held[:at]
        return bytes(frames)

    def _look(self, at: int, ended: bool) -> tuple[int, bool] | None:
        """Return how many bytes belong to what begins here and whether they are sound; None if more must come."""
        left = len(self._held) - at
        if left < _ENOUGH and not ended:
            return None
        tag = _tag(self._held, at, behind_frame=self._kind is not None)
        if tag:
            self._kind = None
            return tag, False
        frame = _frame(self._held, at)
        if frame is None:
            return self._junk(at, ended)
        if left < frame.length + (0 if frame.kind == self._kind else _ENOUGH) and not ended:
            return None
        if left < frame.length:
            return left, False
        if frame.kind != self._kind and not self._confirmed(at + frame.length, frame):
            return self._junk(at, ended)
        self._kind = frame.kind
        return frame.length, not _counts_others(self._held, at, frame)

    def _confirmed(self, behind: int, frame: _Frame) -> bool:
        """Tell whether what stands behind the bytes of a frame shows that they are one."""
        if len(self._held) - behind < _HEADER or _tag(self._held, behind, behind_frame=True):
            return True
        follower = _frame(self._held, behind)
        return follower is not None and follower.kind == frame.kind

    def _junk(self, at: int, ended: bool) -> tuple[int, bool]:
        self._kind = None
        mark = _MARK.search(self._held, at + 1)
        if mark:
            return mark.start() - at, False
        return len(self._held) - at - (0 if ended else _LONGEST_MARK - 1), False


def _tag(held: bytearray, at: int, behind_frame: bool) -> int:
    """Return how long the tag is that begins here, 0 if none does; ID3v1 is told by three letters and its place."""
    if held[at] == _SYNC:
        return 0
    head = bytes(held[at : at + _APE])
    if head.startswith(b"ID3") and len(head) >= _ID3 and max(head[6:10]) < 0x80 and head[3] != 0xFF:
        return _ID3 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    if head.startswith(b"APETAGEX") and len(head) == _APE:
        size, flags = int.from_bytes(head[12:16], "little"), int.from_bytes(head[20:24], "little")
        return size + _APE if flags & 0x20000000 else _APE
    return _ID3_1 if behind_frame and head.startswith(b"TAG") else 0


def _frame(held: bytearray, at: int) -> _Frame | None:
    """Return what the frame's header says that begins here, None if none does."""
    return _read(bytes(held[at : at + _HEADER]))


@lru_cache(maxsize=64)
def _read(head: bytes) -> _Frame | None:
    """Return what the bytes of a header say, None if they are none; a file has a few different ones."""
    if len(head) < _HEADER or head[0] != _SYNC or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    kbits, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version not in _RATES or layer != _LAYER_III or kbits in (0, 15) or rate == 3:
        return None
    is_1 = version == _MPEG_1
    bits = (_KBITS_MPEG_1 if is_1 else _KBITS_MPEG_2)[kbits] * 1000
    length = (144 if is_1 else 72) * bits // _RATES[version][rate] + padding
    return _Frame((version, rate), length, _SIDE[is_1, head[3] >> 6 == _MONO])


def _counts_others(held: bytearray, at: int, frame: _Frame) -> bool:
    """Tell whether the frame holds no sound but what a player needs to know of the file."""
    place = at + _HEADER + frame.side
    if held.startswith(_XING, place) or held.startswith(_XING, place + _CHECKSUM):
        return True
    return held.startswith(b"VBRI", at + _VBRI_AT)
