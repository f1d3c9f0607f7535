"""Bytes as text: UTF-8, UTF-16 and UTF-32 with a byte order mark, GB18030 with GBK, cp1252 with Latin-1."""

import codecs
import re

from bs4.dammit import EncodingDetector

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
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_CHARSETS = re.compile(r"(?:utf|cp|iso8859|gb|hz|big5|shift_jis|euc_|koi8|mac-|tis-620)")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252"}  # as browsers read them
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
    guesses = (declared, _unmarked_utf_16(content), "utf-8", "gb18030" if _looks_chinese(content) else None, "cp1252")
    for guess in filter(None, guesses):
        try:
            return _checked(content.decode(guess))
        except UnicodeDecodeError:
            continue
    return _checked(content.decode("latin-1"))


def declared_charset(content: bytes) -> str | None:
    """Return the charset that an HTML file names in its first kilobytes, if it is one to trust."""
    name = EncodingDetector.find_declared_encoding(content[:4096], is_html=True)
    try:
        charset = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        return None
    charset = _WIDER.get(charset, charset)
    return charset if _CHARSETS.match(charset) and not charset.startswith(("utf-16", "utf-32", "utf-7")) else None


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


def _looks_chinese(content: bytes) -> bool:
    """Guess GBK: most of its pairs are common signs, and bytes above 127 come in long runs; Latin-1's mostly alone."""
    runs = [len(run) for run in _HIGH.findall(content, 0, _SAMPLE)]
    pairs = _PAIR.findall(content, 0, _SAMPLE)
    return bool(runs) and sum(runs) >= 4 * len(runs) and sum(map(bool, pairs)) * 10 >= 6 * len(pairs)
