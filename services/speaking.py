"""What a model says in the rounds of one answer: text to show, sources, usage. The draft keeps all of it."""

import json
from collections.abc import Sequence

from models.answers import ModelEvent, ModelRequest, Sources, TextDelta, ToolCalls, Usage
from models.chats import Citation, Tokens
from models.documents import ScoredPassage
from services.characters import WholeCharacters
from services.citations import CitationFilter
from services.drafts import Draft, ms_since
from services.prompting import estimate_tokens, system_text

_PARAGRAPH = "\n\n"


class Speech:
    """Take in the events of a model, round after round.

    Args:
        passages: what the model may cite by number; tools may add to it meanwhile.
        began: when the work on the answer did, a reading of `time.monotonic`.
    """

    def __init__(self, passages: Sequence[ScoredPassage], draft: Draft, began: float) -> None:
        self._draft = draft
        self._began = began
        self._cited = CitationFilter(passages)
        self._sources: tuple[Citation, ...] | None = None
        self._begin()

    def _begin(self) -> None:
        self._characters = WholeCharacters()
        self._said = ""
        self._usage = Usage()
        self._next_to = _PARAGRAPH if self._draft.text else ""
        self._asked: ToolCalls | None = None

    def take(self, event: ModelEvent) -> str:
        """Take in an event and return the text to show, "" if there is none."""
        match event:
            case TextDelta(text):
                self._said += text
                whole = self._characters.feed(text)
                if whole:
                    whole, self._next_to = self._next_to + whole, ""
                return self._shown(self._cited.feed(whole))
            case Sources(citations):
                self._sources = citations
            case ToolCalls():
                self._asked = event
            case Usage():
                self._usage = event
        return ""

    def end_round(self, request: ModelRequest) -> tuple[str, ToolCalls | None]:
        """Return the rest of the text to show, and the calls that the round ended with; the next round begins.

        Args:
            request: what this round's model was asked.
        """
        rest, asked, usage, draft = self._shown(self._cited.finish()), self._asked, self._usage, self._draft
        draft.count(usage.tokens or estimated(request, self._said))
        draft.model, draft.response_id = usage.model or draft.model, usage.response_id
        draft.truncated = usage.truncated
        if draft.text:
            draft.citations = self._citations()
        self._begin()
        return rest, asked

    def _citations(self) -> tuple[Citation, ...]:
        """Return what the model says that it cites, and what it marks; where it says nothing, what its words tell."""
        if self._sources is None:
            return self._cited.citations()
        return tuple(dict.fromkeys((*self._sources, *self._cited.marked())))

    def _shown(self, text: str) -> str:
        if text and self._draft.first_token_ms is None:
            self._draft.first_token_ms = ms_since(self._began)
        self._draft.text += text
        return text


def estimated(request: ModelRequest, answer: str) -> Tokens:
    """Estimate what a model read and wrote that does not say so."""
    turns = "".join(f"{turn.message or ''}{turn.response or ''}" for turn in request.history)
    tools = "".join(f"{tool.name}{tool.description}{json.dumps(tool.parameters)}" for tool in request.tools)
    results = [one for round_ in request.rounds for one in round_.results]
    rounds = "".join(f"{one.call.name}{one.call.arguments}{one.output}" for one in results)
    asked = system_text(request) + turns + request.question + tools + rounds
    return Tokens(estimate_tokens(asked), estimate_tokens(answer))
