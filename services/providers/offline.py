"""Answers without any model: the sentences of the documents that fit the question best, as they stand there.

A sentence is weighed by the question's informative words that it holds, rare ones counting more, and less by those in
what it stands under: headings, a question as in a FAQ, the line above a list, a table's head.
"""

import math
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from models.answers import ModelEvent, ModelRequest, Sources, TextDelta, Usage
from models.chats import Citation, Tokens
from models.deadline import Deadline
from models.documents import Passage
from services.citations import sentence_spans
from services.knowledge.analysis import QueryWord, index_terms, query_terms
from services.knowledge.language import detect
from services.prompting import estimate_tokens, system_text

_LEAST_COVERAGE = 0.4
"""Below this share of the question's words a passage is about something else."""
_LEAST_SCORE = 0.35
_ALSO_GOOD = 0.8
_CONTEXT_WEIGHT = 0.6
_CONTEXT_FADING = 0.95
_CANDIDATES = 5
_SENTENCES = 3

_INTRODUCTIONS = {
    "en": "According to {}:",
    "pt": "De acordo com {}:",
    "es": "Según {}:",
    "zh": "根据 {}：",
}
_REFUSALS = {
    "en": "I could not find this in the documents of this assistant.",
    "pt": "Não encontrei essa informação nos documentos deste assistente.",
    "es": "No encontré esa información en los documentos de este asistente.",
    "zh": "在这个助手的文档中没有找到相关信息。",
}

_HEADING = re.compile(r"\s{0,3}#{1,6}\s")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+")
_RULE = re.compile(r"[\s|:=*_-]*\Z")
_ENDED = re.compile(r"[.!?:;。！？：；…][\"'”’)*_]*\Z")
_LEAD = re.compile(r"[?:？：][\"'”’)*_]*\Z")
_WRAPPED_LENGTH = 50
_MARKUP = re.compile(r"\A\s*(?:>\s*)*(?:(?:[-*+•]|#{1,6})\s+)?|\*\*|__|`|\[(?=[^\]\n]*\]\()|(?<=\w)\]\([^)\s]*\)")
_DELTA = re.compile(r"\S{1,12}\s*|\s+")


@dataclass(frozen=True)
class _Sentence:
    """A sentence, list item or table row with the words of what it stands under."""

    passage: Passage
    start: int
    end: int
    own: frozenset[str]
    above: frozenset[str]
    distance: int

    @property
    def shown(self) -> str:
        """Return the text without markdown's signs."""
        text = self.passage.text[self.start : self.end]
        if text.startswith("|"):
            return " | ".join(cell.strip() for cell in text.strip("| ").split("|"))
        return " ".join(_MARKUP.sub("", text).split())

    def score(self, weights: Sequence[tuple[QueryWord, float]]) -> float:
        """Return the weighted share of the question's words, 0 to 1."""
        near = _CONTEXT_WEIGHT * _CONTEXT_FADING**self.distance
        held = sum(
            weight * (1.0 if word.terms & self.own else near)
            for word, weight in weights
            if word.terms & (self.own | self.above)
        )
        return held / (sum(weight for _, weight in weights) or 1.0)


class OfflineModel:
    """Answer with sentences of the passages, or say plainly that nothing fits."""

    provider = "offline"
    model = "extractive"
    hosts_memory = False
    calls_tools = False

    def stream(self, request: ModelRequest, deadline: Deadline) -> Generator[ModelEvent, None, None]:
        """Yield the answer in small pieces, its exact sources if it has any, and an estimated usage."""
        deadline.check()
        chosen = choose(request)
        text = _answer(_language(request), chosen)
        for delta in _DELTA.findall(text):
            deadline.check()
            yield TextDelta(delta)
        if chosen:
            yield Sources(tuple(_citation(sentence) for sentence in chosen))
        asked = [system_text(request), request.question]
        asked += [side for turn in request.history for side in (turn.message, turn.response) if side]
        yield Usage(Tokens(sum(map(estimate_tokens, asked)), estimate_tokens(text)), self.model)


def choose(request: ModelRequest) -> list[_Sentence]:
    """Return the one to three sentences that answer best, in the order of their documents; none if nothing fits."""
    passages = [scored.passage for scored in request.passages if scored.coverage >= _LEAST_COVERAGE][:_CANDIDATES]
    sentences = [sentence for passage in passages for sentence in _sentences(passage)]
    words = [word for word in query_terms(request.question, {p.language for p in passages}) if word.informative]
    weights = [(word, _weight(word, sentences)) for word in words]
    ranked = sorted(((one.score(weights), one) for one in sentences), key=lambda pair: -pair[0])
    if not ranked or ranked[0][0] < _LEAST_SCORE:
        return []
    chosen: dict[str, _Sentence] = {}
    for score, sentence in ranked:
        if len(chosen) == _SENTENCES or score < _ALSO_GOOD * ranked[0][0]:
            break
        chosen.setdefault(sentence.shown, sentence)
    order = {passage.id: number for number, passage in enumerate(passages)}
    return sorted(chosen.values(), key=lambda one: (order[one.passage.id], one.start))


def _weight(word: QueryWord, sentences: Sequence[_Sentence]) -> float:
    holding = sum(bool(word.terms & sentence.own) for sentence in sentences)
    return math.log(1 + len(sentences) / (1 + holding))


def _sentences(passage: Passage) -> Iterator[_Sentence]:
    """Yield what can be quoted of a passage, each with what it stands under."""
    titles = frozenset(index_terms("\n".join((*passage.headings, passage.header)), passage.language))
    heading, above, distance = titles, titles, 0
    for start, end, is_title in _units(passage.text, passage.language):
        terms = frozenset(index_terms(passage.text[start:end], passage.language))
        if is_title:
            if _HEADING.match(passage.text, start):
                heading = above = titles | terms
            else:
                above = (heading if distance else above) | terms
            distance = 0
        elif terms:
            yield _Sentence(passage, start, end, terms, above, distance)
            distance += 1


def _units(text: str, language: str) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, whether it is a title of what follows) of each sentence, item and row, trimmed."""
    for start, end in _blocks(text):
        block = text[start:end]
        if block.startswith("|"):
            following = text[end:].lstrip().partition("\n")[0]
            yield start, end, bool(following.startswith("|") and _RULE.match(following))
        elif _HEADING.match(block) or _ITEM.match(block):
            yield start, end, bool(_HEADING.match(block) or _LEAD.search(block))
        else:
            # The spaces stand for line breaks, one for one: offsets stay what they are.
            for begin, stop in sentence_spans(block.replace("\n", " "), language):
                yield start + begin, start + stop, bool(_LEAD.search(block[begin:stop]))


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each heading, row, item with the lines that belong to it, and paragraph."""
    begin = end = 0
    open_ = False
    for line in re.finditer(r"[^\n]+", text):
        bare = line[0].strip()
        blank_before = text.count("\n", end, line.start()) > 1
        fresh = bare.startswith("|") or _HEADING.match(line[0]) or _ITEM.match(line[0]) or _RULE.match(line[0])
        if open_ and (fresh or blank_before or not _is_wrapped(text[begin:end])):
            yield begin, end
            open_ = False
        if not bare or _RULE.match(line[0]):
            continue
        if not open_:
            begin, open_ = line.start() + line[0].index(bare), True
        end = line.start() + len(line[0].rstrip())
    if open_:
        yield begin, end


def _is_wrapped(block: str) -> bool:
    """Tell whether the block's last line looks cut for width, so that the next one continues it."""
    if block.startswith("|") or _HEADING.match(block):
        return False
    last = block.rpartition("\n")[2].strip()
    return len(last) >= _WRAPPED_LENGTH and not (_ITEM.match(block) and _ENDED.search(last))


def _language(request: ModelRequest) -> str:
    """Return the two letters of the language to answer in."""
    language = (request.language or "").partition("-")[0].lower() or detect(request.question)
    if not language and request.passages:
        language = request.passages[0].passage.language
    return language if language in _REFUSALS else "en"


def _answer(language: str, chosen: Sequence[_Sentence]) -> str:
    if not chosen:
        return _REFUSALS[language]
    parts: list[str] = []
    for name in dict.fromkeys(sentence.passage.filename for sentence in chosen):
        quoted = [sentence.shown for sentence in chosen if sentence.passage.filename == name]
        parts.append("\n".join((_INTRODUCTIONS[language].format(name), *quoted)))
    return "\n\n".join(parts)


def _citation(sentence: _Sentence) -> Citation:
    passage = sentence.passage
    text = passage.text[sentence.start : sentence.end]
    start = passage.start + sentence.start
    return Citation(passage.document_id, passage.filename, text, start, start + len(text), passage.page)
