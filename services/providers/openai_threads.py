"""OpenAI's conversations, each continuing one of ours for as long as it holds exactly what ours does.

One in which texts were found that documents do not have any more is not continued either.

What is missing there (an agent's words, a message left to a human, everything when it is new) goes along with the next
question as `input`, and the provider adds input and answer together once the answer is complete. So a conversation
that an attempt has asked and that gave no complete answer may hold that question or not; it is never asked again.
"""

import logging
from dataclasses import replace

import httpx2
import openai

from models.answers import ModelRequest
from models.errors import Unavailable
from models.given import Turn
from models.ids import new_id
from models.threads import Leftover, LeftoverKind, Thread
from services.ports import ThreadRegistry
from services.providers.http_calls import Endpoint, opened
from services.providers.http_sockets import Call
from services.providers.openai_sending import opening

logger = logging.getLogger("orquestra.providers")

_MOST_TURNS = 400
"""A longer conversation is begun anew with our history, or each answer would cost more than the one before."""


class OpenAIThreads:
    """Make conversations at the provider, and know which of them continue ours."""

    def __init__(self, client: openai.OpenAI, registry: ThreadRegistry) -> None:
        self.registry = registry
        self._client = client.with_options(max_retries=0)
        self._endpoint = Endpoint(
            name="The model's endpoint",
            key_hint="Check OPENAI_API_KEY.",
            model_hint="It keeps no conversations: choose the provider openai_chat for it.",
            url_hint="Check OPENAI_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def create(self, call: Call) -> str:
        """Return the id of a new, empty conversation.

        Raises:
            ProviderFailed: as `open_response`; also when the endpoint keeps no conversations.
        """
        with opened(lambda: self._post(call), call, self._endpoint) as response:
            pass
        try:
            return str(response.json()["id"])
        except (KeyError, TypeError, ValueError) as error:
            self._endpoint.log(logging.ERROR, "no conversation", response.text)
            raise self._endpoint.unreadable() from error

    def _post(self, call: Call) -> httpx2.Response:
        """Ask for one; the body is read here, so that one that breaks off is asked for again."""
        asking = self._client.conversations.with_streaming_response.create(timeout=call.timeout())
        response = opening(asking, self._endpoint)
        response.read()
        return response


class Continuation:
    """One attempt's use of the conversation at the provider.

    Attributes:
        id: the conversation to ask in; None to ask without one, with the whole history.
        unheard: the turns of the history that it does not hold.
        rounds: how many rounds of function calls it holds since the question; with the first it holds the question.
    """

    def __init__(self, threads: OpenAIThreads, request: ModelRequest) -> None:
        self._threads = threads
        self._request = request
        self._attempt = new_id()
        self._thread = Thread()
        self._may_have_heard = False
        self.id: str | None = None
        self.unheard: tuple[Turn, ...] = request.history
        self.rounds = 0

    def begin(self, call: Call) -> None:
        """Take the thread if it can be continued, else begin a new one.

        Without the registry nobody knows what a conversation holds, and one made now could not be found again: the
        answer is made without, from our own history, and nothing of it is kept at the provider.
        """
        if not self._request.conversation_id:
            return
        try:
            self._thread = self._threads.registry.take(*self._ours, self._attempt)
        except Unavailable:
            logger.warning("an answer is made without its conversation: the registry of threads does not answer")
            return
        keys = [turn.key for turn in self._request.history]
        held = self._thread.holds(keys) if self._thread.context == self._request.context else None
        if held is None or len(self._thread.turns) > _MOST_TURNS:
            self.renew(call)
        else:
            self.id, self.unheard = self._thread.id, self._request.history[held:]

    def renew(self, call: Call) -> None:
        """Begin a new conversation in place of the one there is; it is registered before anything is said in it."""
        fresh = self._threads.create(call)
        self._thread = Thread(fresh, context=self._request.context)
        self.id, self.unheard, self.rounds, self._may_have_heard = fresh, self._request.history, 0, False
        if not self._kept():  # another attempt has it, or it was forgotten: whatever is said here would be nobody's
            self._leave(LeftoverKind.CONVERSATION, fresh)
            self.id = None

    def prepare(self, call: Call, rounds: int = 0) -> None:
        """Get ready to ask, or to ask again: a conversation that may have heard the question is not asked twice.

        Args:
            rounds: of function calls that were made; one that holds others is not asked either.
        """
        if self.id is not None and (self._may_have_heard or self.rounds not in (0, rounds)):
            self.renew(call)
        self._may_have_heard = True

    def note(self, response: httpx2.Response) -> None:
        """Take in how the provider answered: what it refused, it has not heard."""
        if response.is_client_error:
            self._may_have_heard = False

    def wait_for_calls(self, rounds: int, response_id: str | None = None) -> None:
        """Take in that this round of function calls was the answer: the conversation waits for what they give.

        Args:
            response_id: the answer, as the provider stores it; only that of the last round is a chat's.
        """
        if self.id is not None:
            self.rounds, self._may_have_heard = rounds, False
            self._leave(LeftoverKind.RESPONSE, response_id)

    def settle(self, response_id: str | None = None) -> None:
        """Register what the conversation holds now that the answer is complete.

        Our own store commits after this. If that fails, or a human comes first, our history lacks the turn that is
        registered here, and the conversation is not continued.

        Args:
            response_id: the answer, as the provider stores it.
        """
        if self.id is None:
            return
        heard = (*self._thread.turns, *(turn.key for turn in self.unheard), *self._request.keys)
        self._thread = replace(self._thread, turns=heard, settled=True)
        if not self._kept():  # mostly there is no chat for it any more that could name it when it is erased
            self._leave(LeftoverKind.RESPONSE, response_id)

    @property
    def _ours(self) -> tuple[str, str]:
        return self._request.assistant_id, self._request.conversation_id

    def _leave(self, kind: LeftoverKind, name: str | None) -> None:
        """Leave something to be deleted that nothing of ours will name, once this answer does not need it any more."""
        if not name:
            return
        try:
            self._threads.registry.leave(self._request.assistant_id, [Leftover(kind, name)], in_use=True)
        except Unavailable:
            logger.warning("something stays at the provider: the registry of threads does not answer")

    def _kept(self) -> bool:
        try:
            return self._threads.registry.keep(*self._ours, self._attempt, self._thread)
        except Unavailable:
            logger.warning("a conversation begins anew next time: the registry of threads does not answer")
            return False
