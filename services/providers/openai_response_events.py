"""What the events of a streamed response say: text, how it ended, usage, and what a file search found and cited."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from models.chats import Tokens
from models.errors import ProviderFailed
from services.providers.http_calls import Endpoint

_READ = frozenset(
    {
        b"",  # the data alone says which event it is
        b"error",
        b"response.output_text.delta",
        b"response.refusal.delta",
        b"response.output_item.added",
        b"response.output_item.done",
        b"response.completed",
        b"response.incomplete",
        b"response.failed",
        b"response.output_text.annotation.added",
    }
)
_TOO_FAST = frozenset({"rate_limit_exceeded", "insufficient_quota"})


class ConversationRefused(ProviderFailed):
    """Report that the provider did not take the conversation: unknown, expired, or busy with an earlier attempt."""


@dataclass(frozen=True)
class FoundText:
    """A text that a file search brought and that the answer cites.

    Attributes:
        document_id: our document, as the file's attributes say; "" where they do not.
    """

    file_id: str
    document_id: str
    text: str


class ResponseEvents:
    """What has come of a response so far.

    Attributes:
        text: what it has said.
        ended: whether the provider has said how it ended.
        complete: whether it ended as it should; then its conversation has the question and the answer.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.text = ""
        self._withheld = False
        self._asides: set[str] = set()
        self._found: dict[str, FoundText] = {}
        self._cited: dict[str, None] = {}
        self.ended = False
        self.complete = False
        self.tokens: Tokens | None = None
        self.model: str | None = None
        self.response_id: str | None = None

    def expect_stream(self, response: httpx2.Response) -> None:
        """Refuse a response that is a page or a document: the address is not that of a streaming model."""
        kind = response.headers.get("content-type", "")
        if kind.startswith(("application/json", "text/html")):
            self._endpoint.log(logging.ERROR, "no event stream", kind)
            raise self._endpoint.unreadable()

    def take(self, name: bytes, data: bytes) -> str:
        """Take in one event and return its text; a refusal's words are the answer's text."""
        if name not in _READ or data.strip() == b"[DONE]":
            return ""
        try:
            event = json.loads(data)
            return self._read(event.get("type") or name.decode(), event)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self._endpoint.log(logging.ERROR, "an event of another protocol", data)
            raise self._endpoint.unreadable() from error

    def check(self) -> None:
        """Return if the answer has ended and is one."""
        if not self.ended:
            self._endpoint.log(logging.WARNING, "the answer broke off", "end of stream without an end of the response")
            raise self._endpoint.cut()
        if self._withheld:
            raise ProviderFailed(
                f"{self._endpoint.name} withheld the answer by its content filter. Put the question another way.",
                code="content_filtered",
            )
        if not self.text.strip():
            raise self._endpoint.empty()

    def cited(self) -> Iterator[FoundText]:
        """Yield what the file search brought of each cited file: the text that fitted best."""
        for file_id in self._cited:
            if file_id in self._found:
                yield self._found[file_id]

    def _read(self, kind: str, event: dict[str, Any]) -> str:
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                return self._text(event)
            case "response.output_item.added" | "response.output_item.done":
                self._item(event["item"])
            case "response.output_text.annotation.added":
                if event["annotation"]["type"] == "file_citation":
                    self._cited[event["annotation"]["file_id"]] = None
            case "response.completed" | "response.incomplete":
                self._end(event["response"])
            case "response.failed":
                raise self._failed(event["response"].get("error") or {}, event)
            case "error":
                raise self._failed(event.get("error") or event, event)
        return ""

    def _text(self, event: dict[str, Any]) -> str:
        if event.get("item_id") in self._asides:
            return ""
        text = str(event["delta"])
        self.text += text
        return text

    def _item(self, item: dict[str, Any]) -> None:
        """Take in what is no text: remarks besides the answer, and the best text of each file that was found.

        The results of a search come best first.
        """
        if item.get("phase") == "commentary":
            self._asides.add(item["id"])
        for result in item.get("results") or () if item["type"] == "file_search_call" else ():
            attributes = result.get("attributes") or {}
            found = FoundText(str(result["file_id"]), str(attributes.get("document", "")), str(result["text"]))
            self._found.setdefault(found.file_id, found)

    def _end(self, response: dict[str, Any]) -> None:
        """Take in how it ended; an answer that reached its limit of tokens is one, but an unfinished one."""
        self.ended, self.complete = True, response["status"] == "completed"
        self._withheld = (response.get("incomplete_details") or {}).get("reason") == "content_filter"
        self.model, self.response_id = response.get("model"), response.get("id")
        usage = response.get("usage")
        if usage:
            self.tokens = Tokens(int(usage["input_tokens"]), int(usage["output_tokens"]))

    def _failed(self, error: dict[str, Any], event: dict[str, Any]) -> ProviderFailed:
        self._endpoint.log(logging.ERROR, "an error within the answer", json.dumps(event, ensure_ascii=False))
        if error.get("code") in _TOO_FAST:
            return self._endpoint.refused(429)
        about_it = not self.text and "conversation" in str(error.get("message")).lower()
        kind = ConversationRefused if about_it else ProviderFailed
        return kind(f"{self._endpoint.name} reported an error within the answer. Try again.")
