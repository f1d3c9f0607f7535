"""Composing an answer: prompt document, passages, history and message go to a model, text and sources come back."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.answers import (
    Audience,
    Filler,
    ModelRequest,
    Sources,
    TextDelta,
    ToolCalls,
    ToolProgress,
    ToolRound,
    Usage,
)
from models.assistants import Assistant
from models.chats import Chat, ChatStatus, Citation, Tokens
from models.clock import now
from models.deadline import Deadline
from models.documents import DocumentType
from models.errors import Invalid, ProviderFailed, Unavailable
from models.given import NOTHING_GIVEN, Turn
from models.hosting import SEARCH_REFUSED, HostedView
from models.routing import Route
from models.tools import ToolCall, ToolUse
from services import templates
from services.citations import CitationFilter
from services.ports import (
    ChatRepository,
    DocumentRepository,
    HostedKnowledge,
    KnowledgeIndex,
    LanguageModel,
    PassageRepository,
)
from services.prompting import estimate_tokens, fit_history, system_text

logger = logging.getLogger("orquestra.composing")

PROMPT_FILENAME = "prompt.txt"
PASSAGES_IN_A_PROMPT = 6
_PROMPT_READS = 5


@dataclass(frozen=True)
class Task:
    """A message that is to be answered.

    Attributes:
        merged: earlier messages of its burst, which the answer is for as well; they are no part of the history.
        memory_from: the id that the conversation's memory begins behind.
        audience: who may be shown more than the answer.
    """

    assistant: Assistant
    chat: Chat
    merged: tuple[Chat, ...] = ()
    memory_from: str = ""
    audience: Audience = Audience.NOBODY


@dataclass
class Draft:
    """An answer in the making; it keeps what was said when a model breaks off."""

    text: str = ""
    citations: tuple[Citation, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)
    provider: str | None = None
    model: str | None = None
    response_id: str | None = None
    truncated: bool = False
    route: Route | None = None
    tools: list[ToolUse] = field(default_factory=list)
    asked: tuple[ToolCall, ...] = ()
    queued_ms: int | None = None
    retrieval_ms: int | None = None
    first_token_ms: int | None = None


@dataclass(frozen=True)
class Memory:
    """Where the composer reads what an assistant knows.

    Attributes:
        hosted: what providers hold of it themselves.
    """

    chats: ChatRepository
    documents: DocumentRepository
    passages: PassageRepository
    index: KnowledgeIndex
    hosted: HostedKnowledge


class Composer:
    """Turn a stored message into an answer.

    Args:
        models: provider name -> model; only configured providers are in it.
        default_provider: of assistants that name none.
        history_tokens: estimated tokens that earlier turns may take.
    """

    def __init__(
        self, memory: Memory, models: Mapping[str, LanguageModel], default_provider: str, history_tokens: int
    ) -> None:
        self._memory = memory
        self._models = models
        self._default_provider = default_provider
        self._history_tokens = history_tokens

    def compose(self, task: Task, draft: Draft, deadline: Deadline) -> Iterator[TextDelta | ToolProgress | Filler]:
        """Yield the answer's text as the model writes it, filling the draft on the way.

        Raises:
            ProviderFailed: also when the assistant's provider is not configured here.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """
        began = time.monotonic()
        assistant = task.assistant
        model = self._model_of(assistant)
        draft.provider, draft.model = model.provider, assistant.model or model.model
        view = self._memory.hosted.view(assistant.id) if model.hosts_memory else HostedView("")
        request = self._request(task, view, keeps=model.hosts_memory)
        if request.search is None:
            request = self._with_passages(assistant, request)
        draft.retrieval_ms = ms_since(began)
        deadline.check()
        try:
            yield from self._told(model, request, draft, deadline, began)
        except ProviderFailed as error:
            if error.code != SEARCH_REFUSED or draft.text:
                raise
            self._memory.hosted.missed(assistant.id)
            yield from self._told(model, self._with_passages(assistant, request), draft, deadline, began)
        if not draft.text.strip() and not draft.asked:
            raise ProviderFailed("The model gave no answer. Try again.", code="empty_answer")

    def _request(self, task: Task, view: HostedView, *, keeps: bool) -> ModelRequest:
        """Return what to ask, without passages.

        Args:
            keeps: whether the provider keeps conversations.
        """
        assistant, chat, merged = task.assistant, task.chat, task.merged
        given = chat.given or NOTHING_GIVEN
        limit = given.max_output_tokens
        return ModelRequest(
            assistant_id=assistant.id,
            question="\n".join(one.message for one in (*merged, chat) if one.message) or given.question,
            instructions="\n\n".join(filter(None, (self._instructions(assistant, chat), given.instructions))),
            history=self._history(task),
            model=assistant.model,
            temperature=assistant.temperature if given.temperature is None else given.temperature,
            max_output_tokens=assistant.max_output_tokens if limit is None else limit,
            language=assistant.language,
            conversation_id=chat.conversation_id if keeps and assistant.history_turns and not given.alone else "",
            keys=(*(_key(one, answered=False) for one in merged), _key(chat, answered=True)),
            context=view.context,
            search=view.search,
            tools=given.tools,
            rounds=tuple(ToolRound(round_) for round_ in given.rounds),
            options=given.options,
        )

    def _with_passages(self, assistant: Assistant, request: ModelRequest) -> ModelRequest:
        """Return the request with what our own index finds, in place of the provider's search."""
        found = self._memory.index.search(assistant, request.question, PASSAGES_IN_A_PROMPT)
        return replace(request, passages=tuple(found), search=None)

    def _told(
        self, model: LanguageModel, request: ModelRequest, draft: Draft, deadline: Deadline, began: float
    ) -> Iterator[TextDelta]:
        """Yield what the model says; the draft keeps it."""
        for text in self._stream(model, request, draft, deadline):
            if draft.first_token_ms is None:
                draft.first_token_ms = ms_since(began)
            draft.text += text
            yield TextDelta(text)

    def _stream(self, model: LanguageModel, request: ModelRequest, draft: Draft, deadline: Deadline) -> Iterator[str]:
        """Yield the text to show; keep sources and usage in the draft."""
        cited, whole = CitationFilter(request.passages), WholeCharacters()
        sources: tuple[Citation, ...] | None = None
        counted: Tokens | None = None
        with contextlib.closing(model.stream(request, deadline)) as events:
            for event in events:
                match event:
                    case TextDelta(text):
                        shown = cited.feed(whole.feed(text))
                        if shown:
                            yield shown
                    case Sources(citations):
                        sources = citations
                    case ToolCalls(calls):
                        draft.asked = calls
                    case Usage(tokens, name, response_id, truncated):
                        counted, draft.model, draft.response_id = tokens, name or draft.model, response_id
                        draft.truncated = truncated
        rest = cited.finish()
        if rest:
            yield rest
        draft.citations = cited.citations() if sources is None else sources
        draft.tokens = counted or _estimated(request, draft.text)

    def _model_of(self, assistant: Assistant) -> LanguageModel:
        name = assistant.provider or self._default_provider
        model = self._models.get(name)
        if model is None:
            raise ProviderFailed(
                f"The provider {name!r} is not configured on this server. Configure it, or choose another one.",
                code="provider_not_configured",
            )
        return model

    def _instructions(self, assistant: Assistant, chat: Chat) -> str:
        """Return the prompt with the chat's values; one that is no template is used as it stands."""
        prompt = self._prompt(assistant.id)
        values = templates.PromptValues(chat.username or "", chat.channel.message_service, now().date(), assistant.name)
        try:
            return templates.render(prompt, values)
        except Invalid:  # it was stored before templates were checked
            logger.warning("a prompt is no valid template; upload it again", extra={"assistant_id": assistant.id})
            return prompt

    def _prompt(self, assistant_id: str) -> str:
        for _ in range(_PROMPT_READS):  # a prompt that is replaced between the two reads is read again
            document = self._memory.documents.find(assistant_id, DocumentType.PROMPT, PROMPT_FILENAME)
            if document is None or not document.build:
                return ""
            pieces = self._memory.passages.of_document(assistant_id, document.id, document.build)
            if pieces:
                return "".join(piece.text for piece in pieces)
        raise Unavailable("The assistant's prompt cannot be read. Upload it again.", code="prompt_missing")

    def _history(self, task: Task) -> tuple[Turn, ...]:
        """Return the turns that fit, behind them those that the request itself told, whole as they are."""
        assistant, chat, merged = task.assistant, task.chat, task.merged
        told = _given_turns(chat)
        if assistant.history_turns == 0:
            return told
        limit = assistant.history_turns + len(merged)
        asked_now = {one.id for one in merged}
        earlier = self._memory.chats.history(chat.conversation_id, chat.id, limit, task.memory_from)
        if chat.given is not None and chat.given.question:
            earlier = _without_the_question(earlier)
        turns = [turn for one in earlier if one.id not in asked_now for turn in (*_given_turns(one), _turn(one))]
        return (*fit_history(turns[-assistant.history_turns :], self._history_tokens), *told)


class WholeCharacters:
    """Put together the characters that a server cuts into halves of a UTF-16 pair, as JavaScript ones do."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Return the text without halves: a first half waits for its second, a half alone becomes U+FFFD."""
        text, self._held = self._held + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _given_turns(chat: Chat) -> tuple[Turn, ...]:
    """Return what a chat's request told of earlier turns."""
    turns = chat.given.turns if chat.given is not None else ()
    return tuple(replace(turn, key=f"{chat.id}.given.{number}") for number, turn in enumerate(turns))


def _without_the_question(earlier: Sequence[Chat]) -> Sequence[Chat]:
    """Return the chats before the one whose question a client brings its functions' outputs for."""
    last = len(earlier)
    while last and earlier[last - 1].asked:
        last -= 1
        if earlier[last].message is not None:
            break
    return earlier[:last]


def _turn(chat: Chat) -> Turn:
    """Return what the memory holds of a chat: an answer that nobody was given is not part of it."""
    answered = chat.status is ChatStatus.ANSWERED
    return Turn(chat.message, chat.response if answered else None, _key(chat, answered=answered))


def _key(chat: Chat, *, answered: bool) -> str:
    """Name what the memory holds of a chat: each attempt may have said something else."""
    return f"{chat.id}.{chat.attempts}" if answered else f"{chat.id}.unanswered"


def _estimated(request: ModelRequest, answer: str) -> Tokens:
    turns = "".join(f"{turn.message or ''}{turn.response or ''}" for turn in request.history)
    return Tokens(estimate_tokens(system_text(request) + turns + request.question), estimate_tokens(answer))


def ms_since(began: float) -> int:
    """Return the milliseconds since a reading of `time.monotonic`."""
    return round((time.monotonic() - began) * 1000)
