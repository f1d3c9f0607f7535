"""Composing an answer: prompt document, passages, history and message go to a model, text and sources come back."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from models.answers import Audience, ModelRequest
from models.assistants import Assistant
from models.deadline import Deadline
from models.documents import ScoredPassage
from models.errors import ProviderFailed
from models.hosting import HostedView
from models.routing import PromptRole, Route
from services.drafts import Draft, Task, ms_since
from services.filler import Chatter
from services.inbox import Inbox
from services.instructions import Instructions
from services.ports import (
    ChatRepository,
    DocumentRepository,
    HostedKnowledge,
    KnowledgeIndex,
    LanguageModel,
    PassageRepository,
)
from services.prompt_texts import PromptTexts
from services.remembering import key_of, remembered
from services.routing import Router, has_tools
from services.speaking import Speech
from services.tools.listing import Toolboxes
from services.tools.loop import Loop, Shown
from services.tools.toolbox import Toolbox

PASSAGES_IN_A_PROMPT = 6
_ROLES = {Route.CHAT: PromptRole.CHAT, Route.TOOL: PromptRole.TOOL}


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
        toolboxes: what models may call.
    """

    def __init__(
        self,
        memory: Memory,
        models: Mapping[str, LanguageModel],
        default_provider: str,
        history_tokens: int,
        toolboxes: Toolboxes,
    ) -> None:
        self._memory = memory
        self._models = models
        self._default_provider = default_provider
        self._history_tokens = history_tokens
        self._toolboxes = toolboxes
        self._instructions = Instructions(PromptTexts(memory.documents, memory.passages))
        self._router, self._chatter = Router(self._instructions), Chatter(self._instructions)

    def compose(self, task: Task, draft: Draft, deadline: Deadline) -> Iterator[Shown]:
        """Yield the answer's text as the model writes it, filling the draft on the way.

        Closing the iterator or cancelling the deadline stops the models and the tools.

        Raises:
            ProviderFailed: also when the assistant's provider is not configured here.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """
        whole = deadline.child()
        try:
            yield from self._composed(task, draft, whole)
        finally:
            whole.cancel()
        if not draft.text.strip() and not draft.asked:
            raise ProviderFailed("The model gave no answer. Try again.", code="empty_answer")

    def _composed(self, task: Task, draft: Draft, deadline: Deadline) -> Iterator[Shown]:
        began, assistant = time.monotonic(), task.assistant
        model = self._model_of(assistant)
        draft.provider, draft.model = model.provider, assistant.model or model.model
        view = self._memory.hosted.view(assistant.id) if model.hosts_memory else HostedView("")
        request = self._request(task, view, keeps=model.hosts_memory)
        draft.route = self._router.decide(task, request.question, model, draft, deadline)
        request = self._routed(task, request, draft.route)
        draft.model = request.model or model.model
        passages: list[ScoredPassage] = []
        searching = time.monotonic()
        if request.search is None:
            request = self._with_passages(assistant, request, passages)
        draft.retrieval_ms = ms_since(searching)
        deadline.check()
        toolbox = Toolbox()
        if draft.route is not Route.CHAT and has_tools(task, model):
            toolbox = self._toolboxes.open(task, passages, deadline)

        def unsearched(refused: ModelRequest) -> ModelRequest:
            self._memory.hosted.missed(assistant.id)
            return self._with_passages(assistant, refused, passages)

        inbox: Inbox[object] = Inbox(deadline)
        talk = self._chatter.talk(task, request.question, model, inbox.put, deadline)
        speech = Speech(passages, draft, began)
        loop = Loop(model, toolbox, speech, draft, talk, unsearched, inbox, deadline)
        yield from loop.answer(replace(request, tools=toolbox.specs))
        draft.count(talk.tokens())

    def _request(self, task: Task, view: HostedView, *, keeps: bool) -> ModelRequest:
        """Return what to ask, without instructions, passages and tools.

        Args:
            keeps: whether the provider keeps conversations.
        """
        assistant, chat, merged, given = task.assistant, task.chat, task.merged, task.given
        limit = given.max_output_tokens
        memory = remembered(self._memory.chats, task, self._history_tokens)
        return ModelRequest(
            assistant_id=assistant.id,
            question="\n".join(one.message for one in (*merged, chat) if one.message) or given.question,
            history=memory.turns,
            temperature=assistant.temperature if given.temperature is None else given.temperature,
            max_output_tokens=assistant.max_output_tokens if limit is None else limit,
            language=assistant.language,
            conversation_id=chat.conversation_id if keeps and assistant.history_turns and not given.alone else "",
            keys=(*(key_of(one, answered=False) for one in merged), key_of(chat, answered=True)),
            context=view.context,
            search=view.search,
            rounds=memory.rounds,
            options=given.options,
            whole=chat.given is not None and task.audience is Audience.NOBODY,
        )

    def _routed(self, task: Task, request: ModelRequest, route: Route | None) -> ModelRequest:
        """Return the request with the prompt and the model of its route; None is the assistant's own."""
        assistant, routing = task.assistant, task.assistant.routing
        models = {Route.CHAT: routing.chat_model, Route.TOOL: routing.tool_model} if routing else {}
        own = self._instructions.of(assistant, task.chat, _ROLES[route] if route else None)
        return replace(
            request,
            instructions="\n\n".join(filter(None, (own, task.given.instructions))),
            model=(models[route] if route else None) or assistant.model,
        )

    def _with_passages(
        self, assistant: Assistant, request: ModelRequest, passages: list[ScoredPassage]
    ) -> ModelRequest:
        """Return the request with what our own index finds, in place of the provider's search.

        Args:
            passages: takes what is found; what tools have found before keeps its numbers.
        """
        found = self._memory.index.search(assistant, request.question, PASSAGES_IN_A_PROMPT)
        passages.extend(found)
        return replace(request, passages=tuple(passages), search=None)

    def _model_of(self, assistant: Assistant) -> LanguageModel:
        name = assistant.provider or self._default_provider
        model = self._models.get(name)
        if model is None:
            raise ProviderFailed(
                f"The provider {name!r} is not configured on this server. Configure it, or choose another one.",
                code="provider_not_configured",
            )
        return model
