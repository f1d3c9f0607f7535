"""Requests by OpenAI's SDK, which knows addresses, keys and headers, answered by its HTTP client's plain responses."""

import logging
from contextlib import AbstractContextManager
from typing import Protocol

import httpx2
import openai

from services.providers.http_calls import Endpoint


class Answering(Protocol):
    """What the SDK gives of a response."""

    @property
    def http_response(self) -> httpx2.Response:
        """Return the HTTP client's own."""
        ...


def opening(request: AbstractContextManager[Answering], endpoint: Endpoint) -> httpx2.Response:
    """Send a request of the SDK's `with_streaming_response`; return the response whatever its status, body unread.

    Raises:
        httpx2.HTTPError: as the HTTP client.
        ProviderFailed: the SDK failed by itself.
    """
    try:
        return request.__enter__().http_response
    except openai.APIStatusError as error:
        return error.response
    except openai.APIConnectionError as error:
        if isinstance(error.__cause__, httpx2.HTTPError):
            raise error.__cause__ from None
        raise endpoint.unreachable() from error
    except openai.OpenAIError as error:
        endpoint.log(logging.ERROR, "the SDK failed", repr(error))
        raise endpoint.unreadable() from error
