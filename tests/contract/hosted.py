"""OpenAI's provider as a test scripts it, what asks it, and a conversation of ours whose history grows."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from models.answers import ModelRequest, TextDelta, ToolCalls
from models.chats import Citation
from models.deadline import Deadline
from models.errors import ProviderFailed
from models.given import Turn
from models.ids import new_id
from models.threads import Thread
from repositories.redis.threads import RedisThreads
from services.providers.openai_chat import build_client
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from tests.emulators.openai_wire import Reply, WireServer, wire

KEY = "sk-test-0123456789abcdef"
ALONE = ModelRequest("a", "q")


@dataclass(frozen=True)
class Places:
    """Implement `Locator`: a text is in our documents, or it is not."""

    known: bool = True

    def locate(self, document_id: str, text: str, answer: str) -> Citation | None:
        """Return the whole text as a place."""
        return Citation(document_id, "policy.md", text, 0, len(text)) if self.known else None


@dataclass(frozen=True)
class Peer:
    """The provider, as scripted, and what asks it."""

    server: WireServer
    model: OpenAIResponsesModel
    threads: OpenAIThreads

    def text(self, request: ModelRequest = ALONE, seconds: float = 5) -> str:
        """Return an answer's text."""
        events = self.model.stream(request, Deadline(seconds))
        return "".join(event.text for event in events if isinstance(event, TextDelta))

    def turn(self, request: ModelRequest, seconds: float = 5) -> tuple[str, ToolCalls | None]:
        """Return the text of a response, and the calls that it ended with."""
        events = list(self.model.stream(request, Deadline(seconds)))
        calls = [event for event in events if isinstance(event, ToolCalls)]
        assert len(calls) <= 1
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        return text, calls[0] if calls else None

    def code(self, request: ModelRequest = ALONE, seconds: float = 5) -> str:
        """Return the code of an answer's failure."""
        with pytest.raises(ProviderFailed) as failure:
            self.text(request, seconds)
        return failure.value.code

    def asked(self) -> list[Any]:
        """Return what was asked: a conversation and what was told for an answer, else the path."""
        return [_told(request.path, request.body) for request in self.server.requests]


def _told(path: str, body: Any) -> Any:
    if path != "/v1/responses":
        return path
    return (body.get("conversation"), *map(_words, body["input"]))


def _words(item: Any) -> str:
    match item.get("type"):
        case "function_call":
            return f"{item['call_id']}: {item['name']}({item['arguments']})"
        case "function_call_output":
            return f"{item['call_id']} -> {item['output']}"
        case None | "message":
            return str(item["content"])
        case kind:
            return f"<{kind} {item['id']}>"


@contextlib.contextmanager
def scripted(registry: RedisThreads, *replies: Reply, known: bool = True) -> Iterator[Peer]:
    """Give a provider that answers each request with the next reply."""
    with wire(*replies) as server, contextlib.closing(build_client(KEY, server.base_url, 8)) as client:
        threads = OpenAIThreads(client, registry)
        yield Peer(server, OpenAIResponsesModel(client, "default", threads, Places(known)), threads)


class Dialogue:
    """One of our conversations: its history grows as the engine's does."""

    def __init__(self) -> None:
        self.ours = (new_id(), new_id())
        self.history: list[Turn] = []

    def ask(self, question: str, **fields: Any) -> ModelRequest:
        """Return the request for the next question."""
        assistant, ours = self.ours
        history = tuple(self.history)
        return ModelRequest(assistant, question, history=history, conversation_id=ours, keys=(question,), **fields)

    def remember(self, question: str | None, response: str | None) -> None:
        """Take a turn into the history; its key is its question, or the response of a human who wrote unasked."""
        self.history.append(Turn(question, response, key=question or response or ""))

    def settled(self, registry: RedisThreads, *turns: str, name: str = "conv_1") -> None:
        """Let the provider's conversation hold these turns."""
        registry.take(*self.ours, "before")
        registry.keep(*self.ours, "before", Thread(name, turns, settled=True))
