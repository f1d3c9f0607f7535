"""OpenAI's conversations, each continuing one of ours for as long as it holds exactly what ours does.

One in which texts were found that documents do not have any more is not continued either.

What is missing there (an agent's words, a message left to a human, everything when it is new) goes along with the next
question as `input`, and the provider adds input and answer together once the answer is complete. So a conversation
that an attempt has asked and that gave no complete answer may hold that question or not; it is never asked again.
"""

import logging
from collections.abc import Iterable
from dataclasses import replace

import httpx2
import openai

from models.answers import ModelRequest, Turn
from models.deadline import Deadline
from models.errors import OrquestraError, ProviderFailed, Unavailable
from models.ids import new_id
from models.threads import Thread
from services.ports import ThreadRegistry
from services.providers.http_calls import Endpoint, opened
from services.providers.http_sockets import Call
from services.providers.openai_sending import opening

logger = logging.getLogger("orquestra.providers")

_MOST_TURNS = 400
"""A longer conversation is begun anew with our history, or each answer would cost more than the one before."""
_MOST_REPLACED = 20
_DELETING_SECONDS = 2.0
_FORGETTING_SECONDS = 10.0


class OpenAIThreads:
    """Make and delete conversations at the provider, and implement `HostedMemory`."""

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
            call.run(response.read)
        try:
            return str(response.json()["id"])
        except (KeyError, TypeError, ValueError) as error:
            self._endpoint.log(logging.ERROR, "no conversation", response.text)
            raise self._endpoint.unreadable() from error

    def delete(self, ids: Iterable[str], seconds: float = _DELETING_SECONDS) -> tuple[str, ...]:
        """Delete conversations within so many seconds, and return those that may be there still."""
        left, deadline = list(ids), Deadline(seconds)
        try:
            while left:
                self._delete(left[0], Call(deadline))
                left.pop(0)
        except OrquestraError as error:
            logger.warning("conversations could not be deleted", extra={"count": len(left), "code": error.code})
        return tuple(left)

    def forget(self, assistant_id: str, conversation_id: str | None = None) -> None:
        """Forget a conversation, or all of an assistant's, and delete it at the provider if that can be reached now."""
        forgotten: list[str] = []
        named = self.registry.conversations(assistant_id) if conversation_id is None else (conversation_id,)
        for one in named:
            forgotten += self.registry.forget(assistant_id, one).ids
        self.delete(forgotten, _FORGETTING_SECONDS)

    def _post(self, call: Call) -> httpx2.Response:
        return opening(
            self._client.conversations.with_streaming_response.create(timeout=call.timeout()), self._endpoint
        )

    def _delete(self, name: str, call: Call) -> None:
        """Delete one; that it is not there is as good."""

        def send() -> httpx2.Response:
            return opening(
                self._client.conversations.with_streaming_response.delete(name, timeout=call.timeout()), self._endpoint
            )

        try:
            with opened(send, call, self._endpoint) as response:
                call.run(response.read)
        except ProviderFailed as error:
            if error.code != "model_not_found":
                raise


class Continuation:
    """One attempt's use of the conversation at the provider.

    Attributes:
        id: the conversation to ask in; None to ask without one, with the whole history.
        unheard: the turns of the history that it does not hold.
    """

    def __init__(self, threads: OpenAIThreads, request: ModelRequest) -> None:
        self._threads = threads
        self._request = request
        self._attempt = new_id()
        self._thread = Thread()
        self._may_have_heard = False
        self.id: str | None = None
        self.unheard: tuple[Turn, ...] = request.history

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
        self._thread = Thread(fresh, replaced=self._thread.ids[-_MOST_REPLACED:], context=self._request.context)
        self.id, self.unheard, self._may_have_heard = fresh, self._request.history, False
        if not self._kept():  # another attempt has it, or it was forgotten: whatever is said here would be nobody's
            self._threads.delete([fresh])
            self.id = None

    def prepare(self, call: Call) -> None:
        """Get ready to ask, or to ask again: a conversation that may have heard the question is not asked twice."""
        if self.id is not None and self._may_have_heard:
            self.renew(call)
        self._may_have_heard = True

    def note(self, response: httpx2.Response) -> None:
        """Take in how the provider answered: what it refused, it has not heard."""
        if response.is_client_error:
            self._may_have_heard = False

    def settle(self) -> None:
        """Register what the conversation holds now that the answer is complete, and delete those that it replaced.

        Our own store commits after this. If that fails, or a human comes first, our history lacks the turn that is
        registered here, and the conversation is not continued.
        """
        if self.id is None:
            return
        heard = (*self._thread.turns, *(turn.key for turn in self.unheard), *self._request.keys)
        left = self._threads.delete(self._thread.replaced)
        self._thread = replace(self._thread, turns=heard, settled=True, replaced=left)
        self._kept()

    @property
    def _ours(self) -> tuple[str, str]:
        return self._request.assistant_id, self._request.conversation_id

    def _kept(self) -> bool:
        try:
            return self._threads.registry.keep(*self._ours, self._attempt, self._thread)
        except Unavailable:
            logger.warning("a conversation begins anew next time: the registry of threads does not answer")
            return False
