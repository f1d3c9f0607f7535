"""Filler: what a chatty model says while tools run. It is shown to those who want it, and kept nowhere."""

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

from models.answers import Audience, Filler, ModelRequest, TextDelta, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import OrquestraError
from models.routing import FillerUse, PromptRole
from services.characters import WholeCharacters
from services.drafts import Task
from services.instructions import Instructions
from services.ports import LanguageModel
from services.speaking import estimated

logger = logging.getLogger("orquestra.filler")

DEFAULT_PROMPT = (
    "Tools are looking something up for the person who wrote the message. Until their answer is there, say in one or "
    "two short, friendly sentences that you are looking it up. Write in the language of the message. State no facts, "
    "promise nothing, ask nothing, and do not answer the message: somebody else does that in a moment."
)
_MOST_CHARACTERS = 1_000
_SHOWN_TO = {
    FillerUse.OFF: frozenset[Audience](),
    FillerUse.EVENTS: frozenset({Audience.EVENTS}),
    FillerUse.EVERYWHERE: frozenset({Audience.EVENTS, Audience.TEXT}),
}

Ask = Callable[[Sequence[str]], ModelRequest]
Tell = Callable[[Filler], None]


class Talk:
    """The filler of one answer. It begins once at most, and ends when it is stopped, at the latest.

    Args:
        ask: returns what the chatty model is asked while tools of these names run; None where nobody is to hear it.
        tell: takes each piece; called from a thread.
    """

    def __init__(self, model: LanguageModel, ask: Ask | None, tell: Tell, within: Deadline) -> None:
        self._model = model
        self._ask = ask
        self._tell = tell
        self._deadline = within.child()
        self._asked: ModelRequest | None = None
        self._said = ""
        self._counted: Tokens | None = None
        self._begun = False
        self._ended = threading.Event()

    @property
    def is_heard(self) -> bool:
        """Tell whether what it says, or has said just now, is to be shown."""
        return self._begun and not self._deadline.cancelled

    @property
    def goes_on(self) -> bool:
        """Tell whether there may be more of it."""
        return self.is_heard and not self._ended.is_set()

    def begin(self, tools: Sequence[str]) -> None:
        """Begin to talk, unless that was done or stopped before.

        Args:
            tools: the names of those that run.
        """
        if self._ask is not None and not self._begun and not self._deadline.cancelled:
            self._begun = True
            threading.Thread(target=self._talk, args=(self._ask, tools), name="filler", daemon=True).start()

    def stop(self) -> None:
        """Be silent from now on. Safe from any thread, any number of times."""
        if not self._deadline.cancelled:
            self._deadline.cancel()

    def tokens(self) -> Tokens:
        """Return what it has cost, estimated where the provider was not heard to the end."""
        if self._asked is None:
            return Tokens()
        return self._counted or estimated(self._asked, self._said)

    def _talk(self, ask: Ask, tools: Sequence[str]) -> None:
        characters = WholeCharacters()
        try:
            self._asked = ask(tools)
            with contextlib.closing(self._model.stream(self._asked, self._deadline)) as events:
                for event in events:
                    if isinstance(event, Usage):
                        self._counted = event.tokens
                    elif isinstance(event, TextDelta) and len(self._said) < _MOST_CHARACTERS:
                        text = characters.feed(event.text)
                        self._said += text
                        if text:
                            self._tell(Filler(text))
        except OrquestraError as error:
            if not self._deadline.cancelled:
                logger.warning("an answer has no filler", extra={"code": error.code})
        finally:
            self._ended.set()


class Chatter:
    """Say what the chatty model is asked."""

    def __init__(self, instructions: Instructions) -> None:
        self._instructions = instructions

    def talk(self, task: Task, question: str, model: LanguageModel, tell: Tell, within: Deadline) -> Talk:
        """Return the filler of an answer, which nobody hears where the assistant or the audience wants none."""
        routing = task.assistant.routing
        wanted = routing is not None and task.audience in _SHOWN_TO[routing.filler]
        return Talk(model, partial(self._request, task, question) if wanted else None, tell, within)

    def _request(self, task: Task, question: str, tools: Sequence[str]) -> ModelRequest:
        assistant, routing = task.assistant, task.assistant.routing
        prompt = self._instructions.of(assistant, task.chat, PromptRole.CHATTY) or DEFAULT_PROMPT
        language = f"Write in the language `{assistant.language}`." if assistant.language else ""
        return ModelRequest(
            assistant_id=assistant.id,
            question=question,
            instructions="\n\n".join(filter(None, (prompt, language, f"Tools that run now: {', '.join(tools)}."))),
            model=(routing.chatty_model if routing else None) or assistant.model,
            bare=True,
        )
