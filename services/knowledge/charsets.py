"""Bytes as text: UTF-8, UTF-16 and UTF-32 with a byte order mark, GB18030 with GBK, cp1252 with Latin-1.

The older charsets of Japanese, Korean, traditional Chinese and Russian are told by their most frequent signs.
"""

import codecs
import re
from collections.abc import Iterator

from models.errors import Invalid

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 100_000  # bytes
_HIGH = re.compile(rb"[\x80-\xff]+")
_PAIR = re.compile(rb"([\xa1-\xa3\xb0-\xd7][\xa1-\xfe])|[\x81-\xfe][\x30-\xfe]")  # a common sign, or any
_APART = re.compile(rb"(?<![A-Za-z\x80-\xff])(?:[\xa1-\xfe]{2})+(?![A-Za-z\x80-\xff])")  # whole pairs, no letter beside
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_KATAKANA = "、。ー・「」アイウカクコサシスセタットドナニノハバフプマメラリルレロン"
_KANA = frozenset((*map(chr, range(0x3041, 0x3094)), *_KATAKANA))
_CYRILLIC = frozenset("оеаинтсрвлкмдпу")
_OF_LETTERS, _OF_SIGNS = 0.65, 0.15
_FREQUENT = {
    "gb18030": frozenset("的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也对生能而子，。、：；（）“”"),
    "big5hkscs": frozenset(
        "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也對生能而子，。、：；（）「」"
    ),
    "cp932": _KANA,
    "euc_jp": _KANA,
    "cp949": frozenset("이다는을를의에가은한고하지로니기서어사도인자수일년있습할용"),
    "cp1251": _CYRILLIC,
    "koi8_r": _CYRILLIC,
}
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BLANK = re.compile(r"[\s\ufeff\u200b\u2060]*")
_UNREADABLE = "The file is not readable text. Save it as UTF-8 text, or upload it in its own format."


def decode(content: bytes, declared: str | None = None) -> str:
    """Return the text of bytes, without a byte order mark.

    Args:
        declared: the charset that the file itself names, as a codec's name.

    Raises:
        Invalid: they are not text; code `unreadable_document`.
    """
    for bom, charset in _BOMS:
        if content.startswith(bom):
            try:
                return _checked(content[len(bom) :].decode(charset))
            except UnicodeDecodeError as error:
                raise Invalid(_UNREADABLE, code="unreadable_document") from error
    for guess in _guesses(content, declared):
        try:
            return _checked(content.decode(*guess))
        except UnicodeDecodeError:
            continue
    return _checked(content.decode("latin-1"))


def _guesses(content: bytes, declared: str | None) -> Iterator[tuple[str, str]]:
    """Yield what the bytes may be, likeliest first: charset and what to do about errors."""
    for charset in (declared, _unmarked_utf_16(content), "utf-8"):
        if charset:
            yield charset, "strict"
    if _is_damaged_utf_8(content):
        yield "utf-8", "replace"
    if frequent := _by_frequent_signs(content):
        yield frequent, "strict"
    if _looks_chinese(content):
        yield "gb18030", "strict"
    yield "cp1252", "strict"


def is_blank(text: str) -> bool:
    """Tell whether a text has nothing but spaces, visible or not."""
    return _BLANK.fullmatch(text) is not None


def without_controls(text: str) -> str:
    """Return a text without control characters and halves of characters, which no store and no model wants."""
    return _CONTROLS.sub("", text).encode("utf-8", "replace").decode()


def _checked(text: str) -> str:
    """Return the text unless it is binary data: a NUL, or more than one other control character in a hundred."""
    if "\0" in text or len(_CONTROLS.findall(text)) * 100 > len(text):
        raise Invalid(_UNREADABLE, code="unreadable_document")
    return text


def _unmarked_utf_16(content: bytes) -> str | None:
    """Guess UTF-16 without its mark: every other byte is often zero, and the ones between never are."""
    if len(content) % 2 or b"\0" not in content:
        return None
    even, odd = content[::2].count(0), content[1::2].count(0)
    if even == 0 and odd * 10 > len(content):
        return "utf-16-le"
    return "utf-16-be" if odd == 0 and even * 10 > len(content) else None


def _is_damaged_utf_8(content: bytes) -> bool:
    """Tell UTF-8 that was cut or patched in places: at most one character in ten beyond ASCII is broken."""
    signs = _NOT_ASCII.findall(content[:_SAMPLE].decode("utf-8", "replace"))
    return signs.count("\ufffd") * 10 < len(signs)


def _by_frequent_signs(content: bytes) -> str | None:
    """Guess a charset in which most letters, or many of the other signs, are among its language's most frequent."""
    runs = [len(run) for run in _HIGH.findall(content, 0, _SAMPLE)]
    if sum(runs) < 1.4 * len(runs):  # bytes above 127 stand alone, as in a language of Latin letters
        return None
    shares: dict[str, float] = {}
    for charset, frequent in _FREQUENT.items():
        text = content[:_SAMPLE].decode(charset, "replace")
        signs = _NOT_ASCII.findall(text)
        if text.count("\ufffd") * 100 <= len(signs):
            share = sum(sign in frequent for sign in signs) / max(1, len(signs))
            shares[charset] = share - (_OF_LETTERS if frequent is _CYRILLIC else _OF_SIGNS)
    best = max(shares, key=lambda charset: shares[charset], default="")
    return best if shares.get(best, -1.0) >= 0 else None


def _looks_chinese(content: bytes) -> bool:
    """Guess GBK: most of its pairs are common signs, and bytes above 127 come in long runs; Latin-1's mostly alone.

    The cells of a table may have a sign or two only, but other than Latin-1's they have no letters beside them.
    """
    runs = [len(run) for run in _HIGH.findall(content, 0, _SAMPLE)]
    pairs = _PAIR.findall(content, 0, _SAMPLE)
    apart = len(_APART.findall(content, 0, _SAMPLE)) * 10 >= 9 * len(runs) and len(runs) >= 3
    return bool(runs) and (sum(runs) >= 4 * len(runs) or apart) and sum(map(bool, pairs)) * 10 >= 6 * len(pairs)
