"""Known-item questions: each is made of one passage's own words and is answered when that passage comes back.

No other passage of the corpus has all of these words (or the phrase), else there would be no right answer. Four kinds,
without synonyms (no lexical index could find those):
  exact        a few words as they stand in the passage, one after the other
  accentless   the same without accents (Portuguese)
  inflected    informative words in another number or tense, as found elsewhere in the corpus (Portuguese, English)
  question     informative words in another order, with question words
"""

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.knowledge.language import FUNCTION_WORDS, detect

KINDS = {"pt": ("exact", "accentless", "inflected", "question"), "en": ("exact", "inflected", "question"),
         "zh": ("exact", "question")}  # fmt: skip
"""Language -> the kinds of question that make sense in it."""

_WORD = re.compile(r"[^\W\d_]{2,}")
_HAN = re.compile(r"[\u4e00-\u9fff]{4,}")
_PROSE = re.compile(r"[\w,.;:()'\"-]+")
_COMMON = 0.02  # of the passages: words in more of them say little
_ENDINGS = {
    "en": (("ies", "y"), ("y", "ies"), ("es", ""), ("s", ""), ("ed", "ing"), ("ing", "ed"), ("e", "ing"), ("", "s")),
    "pt": (("ões", "ão"), ("ão", "ões"), ("ais", "al"), ("al", "ais"), ("ens", "em"), ("em", "ens"), ("is", "l"),
           ("res", "r"), ("r", "res"), ("ado", "ando"), ("ando", "ado"), ("s", ""), ("", "s")),
}  # fmt: skip
_ASKED = {
    "pt": ("como {}?", "o que fazer com {}?", "qual é {}?", "onde se define {}?"),
    "en": ("how do I {}?", "what is {}?", "where do I find {}?", "why does {}?"),
    "zh": ("如何{}？", "什么是{}？", "请问{}在哪里？", "怎么{}？"),
}


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        target: the text of the passage it was made of.
    """

    language: str
    kind: str
    text: str
    target: str


@dataclass(frozen=True)
class Item:
    """A passage to make questions of; no two have the same text.

    Attributes:
        folded: the text in lower case and on one line.
    """

    language: str
    text: str
    folded: str


class Vocabulary:
    """In how many passages each word is, as written in lower case."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._counts: Counter[str] = Counter()
        self._texts = 0
        for text in texts:
            self._counts.update({word.lower() for word in _WORD.findall(text)})
            self._texts += 1

    def __contains__(self, word: str) -> bool:
        """Tell whether the corpus has the word."""
        return word in self._counts

    def says_something(self, word: str) -> bool:
        """Tell whether a word is in few passages, but not in one only, where it may be a misprint."""
        return 1 < self._counts[word] <= max(5, self._texts * _COMMON)


def questions(items: Sequence[Item], vocabulary: Vocabulary, each: int, seed: int) -> list[Question]:
    """Return up to so many questions of each kind in each language, always the same for the same items and seed."""
    chance = random.Random(seed)
    made: list[Question] = []
    for language, kinds in KINDS.items():
        of_language = [item for item in items if item.language == language]
        for kind in kinds:
            chance.shuffle(of_language)
            found: list[Question] = []
            for item in of_language:
                if len(found) == each:
                    break
                draft = _MAKERS[kind](item, vocabulary, chance)
                if draft and _holders(draft.parts, of_language) == 1:
                    found.append(Question(language, kind, draft.text, item.text))
            made.extend(found)
    return made


@dataclass(frozen=True)
class _Draft:
    """A question and the parts of its passage, in lower case, that it was made of."""

    text: str
    parts: Sequence[str]


def _holders(parts: Sequence[str], items: Iterable[Item]) -> int:
    """Return how many passages hold all parts."""
    return sum(all(part in item.folded for part in parts) for item in items)


def _exact(item: Item, vocabulary: Vocabulary, chance: random.Random) -> _Draft | None:
    """Take 7 words (10 signs) in a row out of a passage that is written in its document's language."""
    if item.language == "zh":
        runs = [run for run in _HAN.findall(item.text) if len(run) >= 10]
        if not runs:
            return None
        run = chance.choice(runs)
        start = chance.randrange(len(run) - 9)
        return _Draft(run[start : start + 10], [run[start : start + 10]])
    words = item.text.split()
    starts = [
        start
        for start in range(len(words) - 6)
        if all(_PROSE.fullmatch(word) for word in words[start : start + 7])
        and len(_informative(words[start : start + 7], item.language, vocabulary)) >= 3
    ]
    if not starts or detect(item.text) != item.language:
        return None
    start = chance.choice(starts)
    phrase = " ".join(words[start : start + 7])
    return _Draft(phrase, [phrase.lower()])


def _accentless(item: Item, vocabulary: Vocabulary, chance: random.Random) -> _Draft | None:
    draft = _exact(item, vocabulary, chance)
    if draft is None:
        return None
    bare = "".join(sign for sign in unicodedata.normalize("NFD", draft.text) if not unicodedata.combining(sign))
    return _Draft(bare, draft.parts) if bare != draft.text else None


def _inflected(item: Item, vocabulary: Vocabulary, chance: random.Random) -> _Draft | None:
    """Take 5 informative words in other forms, which the corpus has and the passage has not."""
    if detect(item.text) != item.language:
        return None
    held = {word.lower() for word in _WORD.findall(item.text)}
    others = {}
    for word in _informative(item.text.split(), item.language, vocabulary):
        forms = [form for form in _forms(word, item.language) if form in vocabulary and form not in held]
        if forms:
            others[word] = forms[0]
    if len(others) < 5:
        return None
    words = chance.sample(list(others), 5)
    return _Draft(" ".join(others[word] for word in words), words)


def _question(item: Item, vocabulary: Vocabulary, chance: random.Random) -> _Draft | None:
    """Ask for 5 informative words (3 runs of 4 signs) in another order."""
    if detect(item.text) != item.language:
        return None
    asked = chance.choice(_ASKED[item.language])
    if item.language == "zh":
        runs = list(dict.fromkeys(_HAN.findall(item.text)))
        if len(runs) < 3:
            return None
        parts = []
        for run in chance.sample(runs, 3):
            start = chance.randrange(len(run) - 3)
            parts.append(run[start : start + 4])
        return _Draft(asked.format("和".join(parts)), parts)
    words = _informative(item.text.split(), item.language, vocabulary)
    if len(words) < 5:
        return None
    parts = chance.sample(words, 5)
    return _Draft(asked.format(" ".join(parts)), parts)


def _informative(words: Sequence[str], language: str, vocabulary: Vocabulary) -> list[str]:
    """Return the different words that say something, in lower case."""
    bare = (word.strip(",.;:()'\"").lower() for word in words)
    return list(
        dict.fromkeys(
            word
            for word in bare
            if len(word) > 3
            and _WORD.fullmatch(word)
            and word not in FUNCTION_WORDS[language]
            and vocabulary.says_something(word)
        )
    )


def _forms(word: str, language: str) -> list[str]:
    return [word[: len(word) - len(old)] + new for old, new in _ENDINGS[language] if word.endswith(old)]


_Maker = Callable[[Item, Vocabulary, random.Random], _Draft | None]
_MAKERS: dict[str, _Maker] = {
    "exact": _exact,
    "accentless": _accentless,
    "inflected": _inflected,
    "question": _question,
}
