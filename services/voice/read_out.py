"""What is said of a text that was written to be seen: Markdown, code, addresses and pictures are not read out.

Parsers of Markdown want whole documents; here a text comes sentence by sentence, and a pair of signs may begin in one
and end in another. So each sign is judged by what stands beside it, and only fenced code and tables have a memory.
"""

import html
import re

from services.voice.html_text import without_tags

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r"[ \t>]*(?:[-*+][ \t]+|\d+[.)][ \t]+)?(`{3,}|~{3,})(.*)")
_LINE_BEGINS = re.compile(r"[ \t]*(?:>[ \t]?)*[ \t]*(?:#{1,6}[ \t]+|(?:[-*+•·–][ \t]+)+(?:\[[ xX]\][ \t]+)?)?")
_LINK_DEFINITION = re.compile(r"[ \t]{0,3}\[[^\]\n^]+\]:[ \t]*\S+.*")
_ROW_EDGE = re.compile(r"^[ \t]*\||(?<!\\)\|[ \t]*$")
_CELL_BORDER = re.compile(r"[ \t]*(?<!\\)\|[ \t]*")
_LOOSE_BORDER = re.compile(r"[ \t]+\|[ \t]+")

_TARGET = r"(?:\((?:[^()\n]|\([^()\n]*\))*\)|\[[^\]\n]*\])"
_IMAGE = re.compile(rf"!\[([^\]\n]*)\]{_TARGET}")
_LINK = re.compile(rf"\[([^\[\]\n]*)\]{_TARGET}")
_SOURCE = r"\[(?:\^[^\]\n]{1,20}|\d{1,3}(?:,[ \t]?\d{1,3})*)\]"
_SOURCES = re.compile(rf"[ \t]?(?:{_SOURCE}(?=\[[\d^]))+(?:{_SOURCE}(?!\())?")
_MARK = re.compile(r"[ \t]?(?:\[\^[^\]\n]{1,20}\]:?|\[\d{1,3}(?:,[ \t]?\d{1,3})*\]|【[^】\n]{1,40}】)")
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_WORD = re.compile(r"[^\W_]+(?:[.'’_-][^\W_]+)*%?")
_ADDRESS = re.compile(r"<?(?<![0-9A-Za-z_])(?:(?:https?|ftp)://|www\.|mailto:)[!-;=?-~À-ɏ]+>?", re.IGNORECASE)
_BEHIND_ADDRESS = ".,;:!?]}'\"*_"
_PLACEHOLDER = re.compile(r"<([^\W\d][^<>\n]{0,60})>")

_FORMULA = re.compile(r"\$\$(.+?)\$\$|\\[(\[](.+?)\\[)\]]|\$(?=[^\s\d])([^$\n]*?[\\^_={][^$\n]*?)(?<!\s)\$(?!\d)")
_FRACTION = re.compile(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}")
_IN_BRACES = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|operatorname)\{([^{}]*)\}")
_OPERATOR = re.compile(r"\\(times|cdot|div|pm|approx|neq|leq|geq|le|ge|ne|to|rightarrow|quad|left|right)\b[ \t]?")
_OPERATORS = {
    **dict.fromkeys(("times", "cdot"), "×"),
    **{"div": "÷", "pm": "±", "approx": "≈"},
    **{"neq": "≠", "ne": "≠", "leq": "≤", "le": "≤", "geq": "≥", "ge": "≥"},
}

_EMPHASIS = re.compile(r"(?<![\w*\\])(\*{1,3})(?=[^\s*])(.+?)(?<=[^\s*])\1(?![\w*])")
_STRAY = re.compile(r"(?<!\\)(?:\*{2,}|~~|(?<![\s\d])\*|\*(?![\s\d]))|(?<![^\W_])_+|_+(?![^\W_])|`")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_ARROW = re.compile(r"[ \t]*(?:[→⇒➜➔⟶]|[-=]+>)[ \t]*")
_PICTURE = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2500-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\U0001f000-\U0001faff]"
    "[\u200d\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*|[\u200b\u20e3\ufe0e\ufe0f\u00ad\ufeff]"
)
_EMPTY_BRACKETS = re.compile(r"\(\s*[,;.]?\s*\)|\[\s*\]|（\s*）")
_LOOSE = re.compile(r"\s+([,.;:!?…])(?=[\s,.;:!?…]|$)")
_DOUBLED = re.compile(r"[,;:]\s*(?=[,;.!?])")
_BLANKS = re.compile(r"\s+")


class SpokenText:
    """Tell what is said of the sentences of a text, which come in its order."""

    def __init__(self) -> None:
        self._fence = ""
        self._begins_line = True
        self._in_row = False

    def read(self, sentence: str) -> str:
        """Return what is said of the next sentence, "" if that is nothing.

        Args:
            sentence: as it stands in the text, with its line break.
        """
        said = [self._line(line) for line in _LINES.findall(sentence)]
        return " ".join(filter(None, said))

    def _line(self, line: str) -> str:
        begins, self._begins_line = self._begins_line, line.endswith("\n")
        line = line.rstrip()
        if begins:
            if self._is_fence(line) or _LINK_DEFINITION.fullmatch(line):
                return ""
            self._in_row = line.lstrip().startswith("|")
            line = _LINE_BEGINS.sub("", line, count=1)
        if self._fence:
            return ""
        if self._in_row:
            line = _CELL_BORDER.sub(", ", _ROW_EDGE.sub("", line))
        return _said(line)

    def _is_fence(self, line: str) -> bool:
        """Tell whether the line begins or ends fenced code."""
        found = _FENCE.fullmatch(line)
        if found is None:
            return False
        marks, rest = found.groups()
        if not self._fence:
            if "`" in rest:  # code within a line
                return False
            self._fence = marks
        elif marks.startswith(self._fence) and not rest.strip():
            self._fence = ""
        return True


def _said(line: str) -> str:
    """Return what is said of a line, or of a piece of one, without what marks its beginning."""
    for change in (_without_code, _without_formulas, _without_targets, _without_signs):
        line = change(line)
    line = _EMPTY_BRACKETS.sub("", line)
    line = _DOUBLED.sub("", _LOOSE.sub(r"\1", _BLANKS.sub(" ", line))).strip()
    return line if any(map(str.isalnum, line)) else ""


def _without_code(line: str) -> str:
    """Leave of code what is a word, a name or a number."""
    return _CODE.sub(lambda code: code[2].strip() if _WORD.fullmatch(code[2].strip()) else " ", line)


def _without_formulas(line: str) -> str:
    line = _FORMULA.sub(lambda formula: next(filter(None, formula.groups())), line)
    line = _IN_BRACES.sub(r"\1", _FRACTION.sub(r"\1/\2", line))
    return _OPERATOR.sub(lambda operator: f"{_OPERATORS.get(operator[1], '')} ", line)


def _without_targets(line: str) -> str:
    """Leave the texts of links and pictures, and nothing of addresses and marks of sources."""
    line = _SOURCES.sub("", line)  # [1][2] is no link with the text 1
    for pattern in (_IMAGE, _LINK, _LINK):  # a link may have another one within it, as a picture has
        line = pattern.sub(r"\1", line)
    return _ADDRESS.sub(_behind_address, _MARK.sub("", line))


def _behind_address(found: re.Match[str]) -> str:
    address = found[0].rstrip(">")
    bare = address.rstrip(_BEHIND_ADDRESS + ("" if "(" in address else ")"))
    return address[len(bare) :]


def _without_signs(line: str) -> str:
    """Leave out tags, emphasis, escapes and pictures."""
    line = html.unescape(_PLACEHOLDER.sub(r"\1", without_tags(line)))
    line = _STRAY.sub("", _EMPHASIS.sub(r"\2", line))
    line = _LOOSE_BORDER.sub(", ", _ESCAPED.sub(r"\1", line))
    return _PICTURE.sub("", _ARROW.sub(", ", line))
