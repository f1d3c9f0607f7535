"""Terms that passages and questions meet in: folded, stemmed words, pairs of CJK signs, numbers and codes.

Accents fall before stemming, so that "ferias" and "férias" share a term whichever was typed. For Portuguese this breaks
Snowball's suffixes and Snowball never joined all plurals, hence `_portuguese`: the plural step of RSLP (Orengo & Huyck
2001, "A Stemming Algorithm for the Portuguese Language") with the accents that Snowball looks for put back.

A term is made of ASCII letters, digits and dots and of non-ASCII letters: the FTS5 tokenizer `ascii tokenchars '.'`
leaves it whole, and it needs no escaping within double quotes.
"""

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import Stemmer

from services.knowledge.language import FUNCTION_WORDS, detect, fold

_CJK = (  # and Thai, Lao, Khmer and Burmese, which put no space between words either
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = rf"[^\W_{_CJK}]+"
_TOKEN = re.compile(rf"[{_CJK}]+|{_WORD}(?:(?:://|[-'’‐‑./@:_+&#\\]|(?<=\d),(?=\d)){_WORD})*")
_PART = re.compile(_WORD)
_THOUSANDS = re.compile(r"(\d{1,3}(?:[.,]\d{3})+)(?:[.,]\d{1,2})?")
_LONGEST = 64  # characters of a term; longer ones are rubbish such as base64
_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "fi": "finnish", "fr": "french", "hi": "hindi", "hu": "hungarian", "id": "indonesian",
    "it": "italian", "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sv": "swedish", "tr": "turkish",
}  # fmt: skip
_CJK_FUNCTION_WORDS = re.compile(
    "请问|请|为什么|什么|怎么样|怎么办|怎么|怎样|如何|哪些|哪里|哪个|哪|多少|多久|多长|几|是否|是不是|能不能|可不可以|可以|能够|"
    "能|会|我们|我的|我|你们|你|您|他|公司的|的|了|吗|呢|吧|啊|是|有没有|有|在|和|与|或|要|需要|应该|应|一下|谁|时候|"
    "に|は|が|を|の|で|と|も|か|です|ます|ですか|ますか|何"
)
_kept = threading.local()

ANALYSER = 1
"""Which version of the analysis this is. Count it up whenever the terms of some text change, `fold`'s part included."""


@dataclass(frozen=True)
class QueryWord:
    """One word of a question.

    Attributes:
        terms: what the index may hold for it; any of them will do.
        informative: whether it says what is asked about, unlike "how" or "many".
    """

    terms: frozenset[str]
    informative: bool


def index_terms(text: str, language: str) -> list[str]:
    """Return the terms of a passage in its language (two letters, "" for none), in their order, with repetitions."""
    words: list[str] = []
    for token in _TOKEN.findall(fold(text)):
        if _is_cjk(token):
            words.extend(_pairs(token))
        else:
            words.extend(part for part in _PART.findall(token))
            words.extend(_wholes(token))
    return _stem((word[:_LONGEST] for word in words), language)


def passage_terms(filename: str, headings: Iterable[str], header: str, text: str, language: str) -> tuple[str, str]:
    """Return what the full-text index holds for a passage: the terms of its titles and of what a model is shown.

    Each is the terms in their order, separated by spaces, as in `Piece.terms`. The titles are the file's name without
    its extension and the headings.
    """
    stem = filename.rpartition(".")[0] or filename
    titles = index_terms("\n".join((stem, *headings)), language)
    return " ".join(titles), " ".join(index_terms(f"{header}\n{text}", language))


def query_terms(text: str, languages: Iterable[str]) -> list[QueryWord]:
    """Return the different words of a question, each with its stems in all these languages."""
    languages = sorted(set(languages)) or [""]
    unasked = _function_words(text, languages)
    found: dict[frozenset[str], QueryWord] = {}
    for token in _TOKEN.findall(fold(text)):
        for alternatives, informative in _cjk_words(token) if _is_cjk(token) else _words(token, unasked):
            terms = frozenset(term for language in languages for term in _stem(alternatives, language))
            known = found.get(terms)
            found[terms] = QueryWord(terms, informative or (known is not None and known.informative))
    return list(found.values())


def _is_cjk(token: str) -> bool:
    return _PART.match(token) is None


def _function_words(text: str, languages: list[str]) -> frozenset[str]:
    """Return the words that say nothing in the question's language or, if that is unclear, in the index's."""
    language = detect(text)
    if language in FUNCTION_WORDS:
        return FUNCTION_WORDS[language]
    return frozenset().union(*(FUNCTION_WORDS[known] for known in languages if known in FUNCTION_WORDS))


def _words(token: str, unasked: frozenset[str]) -> Iterator[tuple[set[str], bool]]:
    """Yield each part of a token, found by itself or within the whole."""
    parts, wholes = _PART.findall(token), _wholes(token)
    for part in parts:
        yield {word[:_LONGEST] for word in (part, *wholes)}, part not in unasked and (len(part) > 1 or part.isdigit())


def _wholes(token: str) -> list[str]:
    """Return a compound as one word: `e-mail` -> `email`, `10/12` -> `10.12`, `1,500.00` -> `1500`; none for a word."""
    parts = _PART.findall(token)
    if len(parts) == 1:
        return []
    if thousands := _THOUSANDS.fullmatch(token):
        return [re.sub("[.,]", "", thousands[1])]
    return [(".".join if all(part.isdigit() for part in parts) else "".join)(parts)]


def _pairs(signs: str) -> list[str]:
    return [signs[start : start + 2] for start in range(len(signs) - 1)] or [signs]


def _cjk_words(signs: str) -> Iterator[tuple[set[str], bool]]:
    """Yield each sign as the pairs it is part of: word borders are unknown, so one of two will do.

    Pairs that touch a function word are searched for but not informative.
    """
    if len(signs) == 1:
        yield {signs}, True
        return
    asked = [segment for segment in _CJK_FUNCTION_WORDS.split(signs) if len(segment) > 1]
    inside = {pair for segment in asked for pair in _pairs(segment)}
    for segment in asked:
        for position in range(len(segment)):
            yield set(_pairs(segment[max(0, position - 1) : position + 2])), True
    for pair in _pairs(signs):
        if pair not in inside:
            yield {pair}, False


def _stem(words: Iterable[str], language: str) -> list[str]:
    """Stem the words that have letters of an alphabet, with this thread's stemmer: one is not thread-safe."""
    algorithm = _STEMMERS.get(language)
    if algorithm is None:
        return list(words)
    stemmers: dict[str, Stemmer.Stemmer] = _kept.__dict__
    if language not in stemmers:
        stemmers[language] = Stemmer.Stemmer(algorithm)
    if language == "pt":
        words = map(_portuguese, words)
    elif language == "es":
        words = (word[:-2] + "ón" if word.endswith(("cion", "sion")) else word for word in words)
    return list(stemmers[language].stemWords(words))


def _portuguese(word: str) -> str:
    """Make a folded plural singular and put back the accents of its suffix."""
    if len(word) > 3:
        if word.endswith(("as", "os")):
            word = word[:-1]
        elif word.endswith(("oes", "aes")):
            word = word[:-3] + "ao"
        elif word.endswith(("ais", "ois")):
            word = word[:-2] + "l"
        elif word.endswith(("eis", "el")):  # móveis and móvel, but also úteis and útil
            word = word[: word.rindex("e")] + "il"
        elif word.endswith("ns"):
            word = word[:-2] + "m"
        if word.endswith(("cao", "sao")):
            word = word[:-3] + ("ção" if word[-3] == "c" else "são")
    return word
