"""Stretches of a text that are one thing, although there may be full stops in them: links, code, marks, addresses."""

import re

_MOST_LABEL, _MOST_MARK, _MOST_ADDRESS = 200, 40, 2_000  # a text that never closes a bracket is not held back for ever
_TARGET = re.compile(r"\((?:[^()\n]|\([^()\n]*\))*\)")
_ADDRESS = re.compile(r"https?://[!-~À-ɏ]*")
_FENCE = 3

SPAN_BEGINS = r"`+|\[|【|https?://"
"""A pattern of what such a stretch may begin with."""


def span_end(text: str, start: int, ended: bool) -> int | None:
    """Return where the stretch ends that begins here, or its first sign if it is none; None if that is open yet.

    What is returned does not change when more text comes.

    Args:
        start: where `SPAN_BEGINS` matches.
        ended: no more text comes.
    """
    match text[start]:
        case "`":
            return _code(text, start, ended)
        case "[":
            return _link(text, start, ended)
        case "【":
            return _closed(text, start + 1, "】", _MOST_MARK, ended)
        case _:
            return _address(text, start, ended)


def _closed(text: str, inside: int, closing: str, most: int, ended: bool) -> int | None:
    """Return where the closing sign ends, `inside` if there is none within the line and so many characters."""
    window = text[inside : inside + most].partition("\n")[0]
    found = window.find(closing)
    if found >= 0:
        return inside + found + len(closing)
    return inside if ended or len(window) < len(text) - inside else None


def _code(text: str, start: int, ended: bool) -> int | None:
    inside = start + len(text[start:]) - len(text[start:].lstrip("`"))
    if inside - start >= _FENCE:
        return inside
    return _closed(text, inside, text[start:inside], _MOST_LABEL, ended)


def _link(text: str, start: int, ended: bool) -> int | None:
    label = _closed(text, start + 1, "]", _MOST_LABEL, ended)
    if label is None or label == start + 1:
        return label
    if label == len(text):
        return start + 1 if ended else None
    if text[label] != "(":
        return start + 1
    target = _TARGET.match(text, label, label + _MOST_ADDRESS)
    if target:
        return target.end()
    left = len(text) - label
    return start + 1 if ended or left >= _MOST_ADDRESS or "\n" in text[label : label + _MOST_ADDRESS] else None


def _address(text: str, start: int, ended: bool) -> int | None:
    address = _ADDRESS.match(text, start, start + _MOST_ADDRESS)
    end = address.end() if address else start + 1
    if end == len(text) and end - start < _MOST_ADDRESS and not ended:
        return None
    return start + len(text[start:end].rstrip(".,;:!?)]}'\"*_"))
