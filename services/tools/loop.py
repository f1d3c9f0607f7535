"""The loop of an answer: the model asks for tools, they are called, and it goes on, until it answers."""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

from models.answers import (
    Filler,
    ModelEvent,
    ModelRequest,
    TextDelta,
    ToolCalls,
    ToolProgress,
)
from models.deadline import Deadline
from models.errors import OrquestraError, ProviderFailed
from models.hosting import SEARCH_REFUSED
from models.tools import ToolCall
from services.characters import whole
from services.drafts import Draft
from services.filler import Talk
from services.inbox import Inbox
from services.ports import LanguageModel
from services.speaking import Speech
from services.tools.running import Runner
from services.tools.toolbox import Toolbox

MOST_STEPS = 8
"""So often a model may ask for calls before it has to answer without."""

Shown = TextDelta | ToolProgress | Filler
_END = object()


@dataclass(frozen=True)
class Loop:
    """What the rounds of one answer share.

    Attributes:
        unsearched: returns a request that does without the provider's own search, which was refused.
        inbox: takes what tools, filler and, beside filler, the model have.
        deadline: of this answer alone: who is done with it cancels it.
    """

    model: LanguageModel
    toolbox: Toolbox
    speech: Speech
    draft: Draft
    talk: Talk
    unsearched: Callable[[ModelRequest], ModelRequest]
    inbox: Inbox[Any]
    deadline: Deadline

    def answer(self, request: ModelRequest) -> Iterator[Shown]:
        """Yield the answer's text as the model writes it, and what is shown meanwhile.

        It ends with the answer, or with `Draft.asked`: calls of the client's functions, which leave no others made.

        Raises:
            ProviderFailed, DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """
        runner = Runner(self.toolbox, self.draft, self.talk, self.inbox, self.deadline)
        for step in range(MOST_STEPS + 1):
            if step == MOST_STEPS:
                request = replace(request, tools=())
            said = self.draft.text
            try:
                asked = yield from self._round(request)
            except ProviderFailed as error:
                if error.code != SEARCH_REFUSED or request.search is None or self.draft.text != said:
                    raise
                request = self.unsearched(request)
                asked = yield from self._round(request)
            if asked is None or step == MOST_STEPS:
                return
            self.draft.asked = tuple(_clean(call) for call in asked.calls if self.toolbox.is_clients(call.name))
            if self.draft.asked:
                return
            outputs = yield from runner.make(asked.calls)
            request = request.after(asked, outputs)

    def _round(self, request: ModelRequest) -> Generator[TextDelta | Filler, None, ToolCalls | None]:
        """Yield what the model says to one request; return the calls that it waits for."""
        with contextlib.closing(self._events(request)) as events:
            for event in events:
                if isinstance(event, Filler):
                    yield event
                elif text := self.speech.take(event):
                    self.talk.stop()
                    yield TextDelta(text)
        rest, asked = self.speech.end_round(request)
        if rest:
            yield TextDelta(rest)
        return asked

    def _events(self, request: ModelRequest) -> Generator[ModelEvent | Filler, None, None]:
        """Return what comes of a request: of the model alone, or with filler that is being said beside it."""
        return self._beside_filler(request) if self.talk.goes_on else self.model.stream(request, self.deadline)

    def _beside_filler(self, request: ModelRequest) -> Generator[ModelEvent | Filler, None, None]:
        threading.Thread(target=self._pump, args=(request,), name="model", daemon=True).start()
        while (item := self.inbox.next()) is not _END:
            if isinstance(item, OrquestraError):
                raise item
            if not isinstance(item, Filler) or self.talk.is_heard:
                yield item

    def _pump(self, request: ModelRequest) -> None:
        ending: object = OrquestraError("The server failed. Its log says why.")
        try:
            with contextlib.closing(self.model.stream(request, self.deadline)) as events:
                for event in events:
                    if isinstance(event, TextDelta) and event.text:
                        self.talk.stop()
                    self.inbox.put(event)
            ending = _END
        except OrquestraError as error:
            ending = error
        finally:
            self.inbox.put(ending)


def _clean(call: ToolCall) -> ToolCall:
    """Return a call of the client's as it can be stored and sent."""
    return ToolCall(whole(call.id), call.name, whole(call.arguments))
