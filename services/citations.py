"""Which passages an answer rests on: by the marks that the model was asked to make, or by its words."""

import re
from collections.abc import Iterator, Sequence

import sentencex

from models.chats import Citation
from models.documents import ScoredPassage
from services.knowledge.analysis import QueryWord, index_terms, query_terms
from services.knowledge.language import detect, fold

_MARKER = re.compile(r"[ \t\u00a0]?\[\^([0-9]{1,3})\]")
_UNFINISHED = re.compile(r"[ \t\u00a0]?(?:\[(?:\^[0-9]{0,3})?)?\Z")
_SUPPORT = 0.75
_FEWEST_WORDS = 3
_MOST_CITATIONS = 3
_REFUSAL = re.compile(  # looked for in folded text
    r"\bi (?:do not|don.?t|cannot|can.?t|could not|couldn.?t|was unable|am unable)\b"
    r"|\b(?:passages?|documents?|context|sources?|information|text) (?:\w+ ){0,2}(?:do|does|did|is|are)(?: not|n.?t)\b"
    r"|\bno (?:information|mention|answer)\b|\bnot (?:mentioned|specified|stated|described)\b"
    r"|\bnao (?:sei|encontr|localiz|consta|consegu|consig|possu|(?:e |foi )?menciona|esta (?:descrit|disp))"
    r"|\bnao (?:ha|tenho|temos|dispon\w*|traz\w*|cont\w+|inform\w+) (?:\w+ ){0,2}(?:informa|resposta|dados|mencao)"
    r"|\b(?:nenhuma|sem|ninguna|sin) informac|\bdesconhec|\bdesconozco"
    r"|\bno (?:lo se|se (?:cual|cuant|la|el|si|mencion|encuentr|especific|indic)|encontr|encuentr|consta|dispong|puedo)"
    r"|\bno (?:hay|tengo|tenemos|contien\w+) (?:\w+ ){0,2}(?:informac|respuesta|datos|mencion)"
    r"|\bje ne (?:sais|trouve|peux)\b|\bich (?:weiss|kann|habe) (?:\w+ ){0,3}(?:nicht|keine)\b|\bnon (?:so|trovo|ho)\b"
    r"|不知道|不清楚|没有(?:找到|提到|提及|相关|提供|说明)|未(?:找到|提到|提及|说明|包含)|无法(?:回答|确定|找到)|抱歉|对不起"
)
"""Sentences that say that something is not known, in the languages that such answers are likely to have."""


class CitationFilter:
    """Take the marks `[^1]` out of a streamed answer and remember what they name.

    Args:
        passages: the passages that the model was given, in the order of their numbers.
    """

    def __init__(self, passages: Sequence[ScoredPassage]) -> None:
        self._passages = passages
        self._held = ""
        self._shown: list[str] = []
        self._used: dict[int, None] = {}

    def feed(self, delta: str) -> str:
        """Return what can be shown after this piece; what may become a mark is held back."""
        text = self._held + delta
        unfinished = _UNFINISHED.search(text)
        end = unfinished.start() if unfinished else len(text)
        self._held = text[end:]
        return self._show(text[:end])

    def finish(self) -> str:
        """Return the rest, once the answer is complete."""
        rest, self._held = self._held, ""
        return self._show(rest)

    def citations(self) -> tuple[Citation, ...]:
        """Return the marked passages in the order of their first use; without marks, those that support the text."""
        return self.marked() or supporting("".join(self._shown), self._passages)

    def marked(self) -> tuple[Citation, ...]:
        """Return the marked passages in the order of their first use."""
        return tuple(citation_of(self._passages[number - 1]) for number in self._used)

    def _show(self, text: str) -> str:
        for marker in _MARKER.finditer(text):
            if 1 <= int(marker[1]) <= len(self._passages):
                self._used[int(marker[1])] = None
        shown = _MARKER.sub("", text)
        self._shown.append(shown)
        return shown


def citation_of(scored: ScoredPassage) -> Citation:
    """Return the citation of a whole passage."""
    passage = scored.passage
    return Citation(passage.document_id, passage.filename, passage.text, passage.start, passage.end, passage.page)


def supporting(answer: str, passages: Sequence[ScoredPassage]) -> tuple[Citation, ...]:
    """Return the passages, three at most, in which the words of a sentence of the answer stand.

    A sentence counts when it has three informative words, three quarters of them are in the passage and every number
    is; one that says that something is not known counts for nothing.
    """
    if not passages:
        return ()
    known = [frozenset(index_terms(_searched(scored), scored.passage.language)) for scored in passages]
    languages = {scored.passage.language for scored in passages}
    found: dict[int, None] = {}
    for start, end in sentence_spans(answer, detect(answer)):
        sentence = answer[start:end]
        if _REFUSAL.search(fold(sentence)):
            continue
        words = [word for word in query_terms(sentence, languages) if word.informative]
        shares = [_share(words, terms) for terms in known]
        if shares and len(words) >= _FEWEST_WORDS and max(shares) >= _SUPPORT:
            found[shares.index(max(shares))] = None
    return tuple(citation_of(passages[index]) for index in list(found)[:_MOST_CITATIONS])


def sentence_spans(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each sentence without the space around it; a line break ends a sentence too."""
    for line in re.finditer(r"[^\n]+", text):
        start = line.start()
        for sentence in sentencex.segment(language or "en", line[0]):
            bare = sentence.strip()
            if bare:
                begin = start + sentence.index(bare)
                yield begin, begin + len(bare)
            start += len(sentence)


def _searched(scored: ScoredPassage) -> str:
    return "\n".join((*scored.passage.headings, scored.passage.shown))


def _share(words: Sequence[QueryWord], terms: frozenset[str]) -> float:
    """Return how many of the words are among the terms, 0 to 1; 0 if a number is missing."""
    missing = [word for word in words if not word.terms & terms]
    if not words or any(character.isdigit() for word in missing for term in word.terms for character in term):
        return 0.0
    return 1 - len(missing) / len(words)
