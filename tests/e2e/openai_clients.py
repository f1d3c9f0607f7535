"""A served instance behind an upstream of a test's own, and OpenAI's client for it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai

from bench.running import RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.openai_wire import DONE, Reply, chunk, event, stream

SOON = 10.0
"""Seconds within which the upstream sees that nobody waits: mostly half a second; what else ends an answer takes 20."""


@dataclass(frozen=True)
class Door:
    """A running server, and its admin."""

    server: RunningServer
    api: Api

    @property
    def base_url(self) -> str:
        """Return the address for `openai.OpenAI(base_url=...)`."""
        return f"{self.server.url}/v1"

    def chats(self, assistant: dict[str, Any]) -> list[dict[str, Any]]:
        """Return an assistant's chats, oldest first."""
        return list(reversed(self.api.get(f"/chats/list?assistant_id={assistant['_id']}").json()))

    def said(self, assistant: dict[str, Any]) -> list[list[tuple[str, str]]]:
        """Return what is said in each of an assistant's conversations, as role and text."""
        held = self.api.get(f"/conversations/list?assistant_id={assistant['_id']}").json()
        found = [self.api.get(f"/conversations/messages/{one['_id']}").json() for one in held]
        return [[(message["role"], message["content"]) for message in one] for one in found]


@contextlib.contextmanager
def door(folder: Path, upstream: str, **settings: str) -> Iterator[Door]:
    """Serve with a model's endpoint, with the admin logged in."""
    env = {**SETTINGS, "OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "sk-a-key-of-the-tests", **settings}
    with running_server(folder, env) as server, Api(server.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        yield Door(server, api)


@contextlib.contextmanager
def client_of(served: Door, assistant: dict[str, Any], **options: Any) -> Iterator[openai.OpenAI]:
    """Give OpenAI's client with the key of an assistant."""
    with openai.OpenAI(api_key=assistant["api_key"], base_url=served.base_url, **options) as client:
        yield client


def says(*pieces: str) -> Reply:
    """Return an upstream's whole answer in these pieces, with its tokens."""
    texts = [event(chunk(piece)) for piece in pieces]
    return stream(*texts, event(chunk(finish="stop")), event(chunk(usage=(12, 5))), DONE)


class Losing(httpx2.HTTPTransport):
    """A way to the server on which the first responses get lost, after the server has answered."""

    def __init__(self, lost: int = 1) -> None:
        super().__init__()
        self._lost = lost
        self.retry_counts: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; lose what comes back."""
        self.retry_counts.append(request.headers.get("x-stainless-retry-count", ""))
        response = super().handle_request(request)
        if self._lost:
            self._lost -= 1
            response.read()
            raise httpx2.ReadError("the connection broke")
        return response
