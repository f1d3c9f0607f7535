"""Text that is still being written, as the sentences to speak.

sentencex knows what ends a sentence in which language and what is only an abbreviation. It wants the whole text, so it
is asked at each place where a sentence may end, once the next one has begun, and always about the same letters: the
cuts do not depend on the pieces that a text comes in. A wrong cut costs a pause, a missed one time, none ever a letter.
"""

import re
import unicodedata
from collections.abc import Sequence

import sentencex

from services.voice.abbreviations import ABBREVIATIONS
from services.voice.languages import likely_language
from services.voice.spans import SPAN_BEGINS, span_end

_LONGEST = 250
_SHORTEST = 12  # a shorter one is spoken with the next: each is a request to the synthesizer
_FIRST_CLAUSE = 40
_WIDE = 3  # what a Chinese sign counts: it says about as much as three letters
_EARLIEST_CUT = 80
_GUESSED_FROM = 100

_CLOSING = r"""(?:["'”’)\]}*_~」』）】》〉]|[ \u00a0\u202f]?[»›]|\[\^?\d{1,3}\]|【[^】\n]{1,40}】)*"""
_OPENING = r"""["'“‘«‹»›(\[{*_~「『（【《〈¿¡#>—–-]"""
_PLACE = re.compile(
    rf"(?P<line>\n)|(?P<end>(?<![.!?…])[.!?…؟۔।॥]+{_CLOSING}[^\S\n]+|[。！？｡][。！？｡.!?…]*{_CLOSING}[^\S\n]*)"
    rf"|(?P<clause>[,;:][^\S\n]+|[，；：])|(?P<span>{SPAN_BEGINS})"
)
_NEXT = re.compile(rf"(?:{_OPENING}|[^\S\n])*+(\S|\n)")
_CLAUSES = re.compile(r"[,;:][^\S\n]+|[，；：、]")
_SPACES = re.compile(r"\s+")
_SIGN = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]")
_NO_WORDS = re.compile(r"""["'“”‘’«»‹›()\[\]{}*_~#>`「」『』（）【】]""")
_FULL_STOPS = frozenset(".…")
_UNMISTAKABLE = frozenset("。！？｡؟۔।॥")
_ENUMERATOR = re.compile(r"(?:^|[:;.)]\s+)\d{1,3}\.$|(?:^|[:;]\s+)[^\W\d_]\.$")
_ORDINAL = re.compile(r"\b(?:ab|am|beim|bis|das|dem|den|der|des|die|im|seit|vom|zum) \d{1,2}\.$", re.IGNORECASE)
_LAST_WORD = re.compile(r"([^\W\d_]+)\.$")


class SentenceStream:
    """Cut a text into sentences while it comes. Together they are the text, letter by letter.

    A sentence ends with its line at the latest, or after some 250 characters; never within a link or a span of code.
    The first one may be no more than a clause, so that there is something to hear.

    Args:
        language: BCP 47 tag of the text; None to guess it as it comes.
    """

    def __init__(self, language: str | None = None) -> None:
        self._language = re.split("[-_]", language)[0].lower() if language else ""
        self._text = ""
        self._known = ""
        self._is_first = True
        self._looked = 0
        self._spans: list[tuple[int, int]] = []

    def feed(self, text: str) -> list[str]:
        """Return the sentences that are complete by now: the next one has begun, or their line has ended."""
        self._text += text
        return self._cut(ended=False)

    def finish(self) -> list[str]:
        """Return the rest, whether it ends with a full stop or not."""
        sentences = self._cut(ended=True)
        rest, self._text = self._text, ""
        return [*sentences, rest] if rest.strip() else sentences

    def _cut(self, ended: bool) -> list[str]:
        sentences = []
        while end := self._end(ended):
            sentence, self._text = self._text[:end], self._text[end:]
            sentences.append(sentence)
            self._known = (self._known + sentence)[:_GUESSED_FROM]
            self._is_first, self._looked, self._spans = False, 0, []
        return sentences

    def _end(self, ended: bool) -> int:
        """Return where the first sentence ends, 0 if that is open yet."""
        text, at, spans = self._text, self._looked, self._spans.copy()
        while (place := _PLACE.search(text, at)) and place.end() <= _LONGEST:
            if place["span"]:
                after = span_end(text, place.start(), ended)
                if after is None:
                    return 0
                spans.append((place.start(), after))
                at = after
                continue
            at = place.end()
            ends = self._ends(place, ended)
            if ends is None:
                return 0
            if ends:
                return at
            self._looked, self._spans = at, spans.copy()
        return _cut_long(text, spans) if len(text) > _LONGEST else 0

    def _ends(self, place: re.Match[str], ended: bool) -> bool | None:
        """Tell whether a sentence ends at this place; None if what follows it has to come."""
        text, end = self._text, place.end()
        if place["line"]:
            return bool(text[:end].strip())
        following = _NEXT.match(text, end)
        if following is None:
            return False if ended else None
        if any(span_end(text, at, ended) is None for at in range(end, following.start(1)) if text[at] in "[【"):
            return None
        if following[1] == "\n":
            return False
        weight = _weight(text[:end])
        if place["clause"]:
            return self._is_first and weight >= _FIRST_CLAUSE
        if weight < (1 if self._is_first else _SHORTEST):
            return False
        return self._is_full_stop(place["end"], end, following[1])

    def _is_full_stop(self, mark: str, end: int, following: str) -> bool:
        """Tell whether the mark ends a sentence, or an abbreviation or a number instead."""
        if not _UNMISTAKABLE.isdisjoint(mark):
            return True
        if following.islower():
            return False
        sentence = _NO_WORDS.sub(" ", self._text[:end]).strip()
        if mark[0] not in _FULL_STOPS or sentence.endswith(("..", "…")):
            return True
        language = self._language or likely_language(self._known + sentence)
        last = _LAST_WORD.search(sentence)
        if last and last[1].lower() in ABBREVIATIONS.get(language, ()):
            return False
        if _ENUMERATOR.search(sentence) or (language == "de" and _ORDINAL.search(sentence)):
            return False
        parts = sentencex.segment(language, f"{sentence} {following}")
        return bool(parts[-1] == following)


def _cut_long(text: str, spans: Sequence[tuple[int, int]]) -> int:
    """Return where to cut a sentence that is too long: behind a clause, else behind a word, else anywhere."""
    for pattern in (_CLAUSES, _SPACES):
        ends = [match.end() for match in pattern.finditer(text, _EARLIEST_CUT, _LONGEST)]
        free = [end for end in ends if not _span_at(spans, end)]
        if free:
            return free[-1]
    span = _span_at(spans, _LONGEST)
    if span:
        return span[0] or span[1]
    return _whole_signs(text, _LONGEST)


def _span_at(spans: Sequence[tuple[int, int]], at: int) -> tuple[int, int] | None:
    return next((span for span in spans if span[0] < at < span[1]), None)


def _weight(text: str) -> int:
    """Return the number of characters without those that say nothing; a Chinese one counts as three."""
    return sum(map(str.isalnum, text)) and len(text.strip()) + (_WIDE - 1) * len(_SIGN.findall(text))


def _whole_signs(text: str, at: int) -> int:
    """Return the place, or the nearest one before it, that parts no sign from its accents, joiners or other half."""
    cut = at
    while cut > 1 and (_leans(text[cut]) or text[cut - 1] == "\u200d"):
        cut -= 1
    return cut if cut > 1 else at


def _leans(sign: str) -> bool:
    return unicodedata.category(sign) in ("Mn", "Mc", "Me", "Sk", "Cf") or "\udc00" <= sign <= "\udfff"
