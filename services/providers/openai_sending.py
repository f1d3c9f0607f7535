"""Requests to what OpenAI's SDK knows addresses and keys of, answered by its HTTP client's plain responses."""

import json
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import httpx2
import openai

from services.providers.http_calls import Endpoint
from services.providers.http_direct import DIRECT
from services.providers.http_sockets import Call

_ENCODER = json.JSONEncoder(separators=(",", ":"))


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


class Sender:
    """Post JSON to one address of the SDK's endpoint, without the SDK, whose share of a request is 1 ms of CPU time.

    Args:
        client: its address, key and HTTP client are used. It has no public name for the last one.
        path: behind the endpoint's own.
        accept: the media types that are expected, as the SDK names them there.
    """

    def __init__(self, client: openai.OpenAI, path: str, accept: str) -> None:
        self._http = client._client
        self._url = client.base_url.join(path)
        self._headers = httpx2.Headers(
            {
                "Host": self._url.netloc.decode(),
                "Accept": accept,
                "Content-Type": "application/json",
                "User-Agent": client.user_agent,
                **client.auth_headers,
                **_account(client),
            }
        )

    def send(self, body: Mapping[str, object], call: Call) -> httpx2.Response:
        """Send a request and return the response whatever its status; the body is read only of a failure.

        Raises:
            httpx2.HTTPError: as the HTTP client.
        """
        request = httpx2.Request(
            "POST",
            self._url,
            headers=self._headers,
            content=_ENCODER.encode(body).encode(),
            extensions={"timeout": call.timeout().as_dict(), DIRECT: True},
        )
        response = self._http.send(request, stream=True)
        if response.is_error:
            response.read()
        return response


def _account(client: openai.OpenAI) -> dict[str, str]:
    """Return whom OpenAI bills where a key has several, as its SDK reads it: OPENAI_ORG_ID and OPENAI_PROJECT_ID."""
    named = {"OpenAI-Organization": client.organization, "OpenAI-Project": client.project}
    return {name: value for name, value in named.items() if value}
