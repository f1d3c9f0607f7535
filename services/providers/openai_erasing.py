"""Deleting at OpenAI what it keeps of our conversations.

Its reference says that the items of a conversation are not deleted with it, so they go one by one before it does.
"""

import contextlib
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx2
import openai

from models.deadline import Deadline
from models.errors import ProviderFailed
from models.threads import Leftover, LeftoverKind
from services.providers.http_calls import Endpoint, opened
from services.providers.http_sockets import Call
from services.providers.openai_absence import says_gone
from services.providers.openai_sending import Answering, opening

_ITEMS_PER_PAGE = 100

_Request = Callable[[httpx2.Timeout], AbstractContextManager[Answering]]


class _Gone(ProviderFailed):
    """Report that the provider has said that it does not have something."""


class OpenAIEraser:
    """Implement `HostedMemory`.

    Args:
        client: from `openai_chat.build_client`; another one is not woken by a cancel.
    """

    def __init__(self, client: openai.OpenAI) -> None:
        client = client.with_options(max_retries=0)
        self._conversations = client.conversations.with_streaming_response
        self._items = client.conversations.items.with_streaming_response
        self._responses = client.responses.with_streaming_response
        self._endpoint = Endpoint(
            name="The model's endpoint",
            key_hint="Check OPENAI_API_KEY.",
            model_hint="Check OPENAI_BASE_URL: is it where the conversations were kept?",
            url_hint="Check OPENAI_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def delete(self, leftover: Leftover, deadline: Deadline) -> None:
        """Delete a conversation with its items, or a response; that it is not there is as good."""
        name = leftover.id
        with contextlib.suppress(_Gone):
            if leftover.kind is LeftoverKind.RESPONSE:
                self._ask(lambda timeout: self._responses.delete(name, timeout=timeout), name, deadline)
            else:
                self._delete_items(name, deadline)
                self._ask(lambda timeout: self._conversations.delete(name, timeout=timeout), name, deadline)

    def _delete_items(self, conversation: str, deadline: Deadline) -> None:
        """Delete what is listed until nothing new is: a list that goes on behind a deleted item may be refused."""
        seen: set[str] = set()
        while new := [item for item in self._listed(conversation, deadline) if item not in seen]:
            for item in new:
                self._delete_item(conversation, item, deadline)
            seen.update(new)

    def _listed(self, conversation: str, deadline: Deadline) -> list[str]:
        """Return the ids of a conversation's first items."""
        text = self._ask(
            lambda timeout: self._items.list(conversation, limit=_ITEMS_PER_PAGE, timeout=timeout),
            conversation,
            deadline,
        )
        try:
            held: dict[str, Any] = json.loads(text)
            return [str(item["id"]) for item in held["data"]]
        except (KeyError, TypeError, ValueError) as error:
            self._endpoint.log(logging.ERROR, "no list of items", text)
            raise self._endpoint.unreadable() from error

    def _delete_item(self, conversation: str, item: str, deadline: Deadline) -> None:
        with contextlib.suppress(_Gone):
            self._ask(
                lambda timeout: self._items.delete(item, conversation_id=conversation, timeout=timeout), item, deadline
            )

    def _ask(self, request: _Request, name: str, deadline: Deadline) -> str:
        """Return the body of a request's response.

        Args:
            name: what it is about.

        Raises:
            _Gone: the provider says that this is not there.
            ProviderFailed: as `open_response`.
        """
        call = Call(deadline)

        def send() -> httpx2.Response:
            response = opening(request(call.timeout()), self._endpoint)
            response.read()  # a body that breaks off is a lost connection like others
            if says_gone(response, name):
                raise _Gone(f"{self._endpoint.name} does not have it.")
            return response

        with opened(send, call, self._endpoint) as response:
            return response.text
