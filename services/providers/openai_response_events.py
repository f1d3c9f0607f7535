"""What the events of a streamed response say: text, calls, how it ended, usage, what a file search found and cited."""

import json
import logging
import re
from typing import Any

from models.chats import Tokens
from models.errors import ProviderFailed
from models.hosting import SEARCH_REFUSED
from models.tools import ToolCall
from services.providers.http_calls import Endpoint
from services.providers.openai_findings import Findings
from services.providers.openai_marks import MarkFilter

CONTENT_FILTER = "content_filter"
"""The code of a question or an answer that was withheld."""

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
_CONVERSATION = re.compile(r"conversation|call_id|tool (?:call|output)", re.IGNORECASE)
_STORE = re.compile(r"vector[ _]?store", re.IGNORECASE)
_WITHHELD = frozenset({CONTENT_FILTER, "bio_policy", "invalid_prompt", "misalignment_policy_violation"})
_TOO_FAST = frozenset({"rate_limit_exceeded", "insufficient_quota"})


class ConversationRefused(ProviderFailed):
    """Report that the provider did not take the conversation: unknown, expired, or busy with an earlier attempt."""


def is_about_it(words: str) -> bool:
    """Tell whether a refusal names the conversation, or function calls that it lacks or still has."""
    return _CONVERSATION.search(words) is not None


def is_about_store(words: str) -> bool:
    """Tell whether a refusal names the vector store that was to be searched."""
    return _STORE.search(words) is not None


def search_refused(endpoint: Endpoint) -> ProviderFailed:
    """Return the error for a vector store that is not there."""
    return ProviderFailed(
        f"{endpoint.name} does not find the assistant's documents. Synchronize the assistant.", code=SEARCH_REFUSED
    )


def withheld(endpoint: Endpoint) -> ProviderFailed:
    """Return the error for an answer that nobody is given."""
    return ProviderFailed(
        f"{endpoint.name} withheld the answer by its content filter. Put the question another way.",
        code="content_filtered",
    )


class ResponseEvents:
    """What has come of a response so far.

    Args:
        findings: of the rounds of calls before; they are added to.
        may_call: whether the request told of tools; calls that were not asked for are no answer.

    Attributes:
        text: what it has said.
        items: what it has said and done, as input that tells it again.
        ended: whether the provider has said how it ended.
        complete: whether it ended as it should; then its conversation has the question and the answer, or the calls.
    """

    def __init__(self, endpoint: Endpoint, findings: Findings, *, may_call: bool = False) -> None:
        self._endpoint = endpoint
        self._may_call = may_call
        self._marks = MarkFilter()
        self._place: object = None
        self._cause: str | None = None
        self._asides: set[str] = set()
        self._calls: dict[str, ToolCall] = {}
        self.findings = findings
        self.text = ""
        self.items: list[dict[str, Any]] = []
        self.ended = False
        self.complete = False
        self.tokens: Tokens | None = None
        self.model: str | None = None
        self.response_id: str | None = None

    def take(self, name: bytes, data: bytes) -> str:
        """Take in one event and return its text; a refusal's words are the answer's text."""
        if name not in _READ or data.strip() == b"[DONE]":
            return ""
        try:
            event = json.loads(data)
            return self._read(event.get("type") or name.decode(), event)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self._endpoint.log(logging.ERROR, "an event of another protocol", f"{name!r}, {len(data)} bytes")
            raise self._endpoint.unreadable() from error

    def check(self) -> None:
        """Return if the answer has ended and is one."""
        if not self.ended:
            self._endpoint.log(logging.WARNING, "the answer broke off", "end of stream without an end of the response")
            raise self._endpoint.cut()
        if self._cause == CONTENT_FILTER:
            raise withheld(self._endpoint)
        if self.text.strip() or (self.calls and self._may_call):
            return
        if self.truncated:
            raise ProviderFailed(
                f"{self._endpoint.name} used its limit of tokens up before it said anything. Raise max_output_tokens.",
                code="empty_answer",
            )
        raise self._endpoint.empty()

    @property
    def truncated(self) -> bool:
        """Tell whether it ended because it reached its limit of tokens."""
        return self._cause == "max_output_tokens"

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Return the functions that it asks for: none unless it ended as it should, for they may be half of them."""
        return tuple(self._calls.values()) if self.complete else ()

    def _read(self, kind: str, event: dict[str, Any]) -> str:
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                return self._text(event)
            case "response.output_item.added":
                self._begin(event["item"])
            case "response.output_item.done":
                self._item(event["item"])
            case "response.output_text.annotation.added":
                self.findings.cite(event["annotation"])
            case "response.completed" | "response.incomplete":
                return self._end(event["response"])
            case "response.failed":
                raise self._failed(event["response"].get("error") or {}, event)
            case "error":
                raise self._failed(event.get("error") or event, event)
        return ""

    def _text(self, event: dict[str, Any]) -> str:
        """Return what can be shown; what a model says before and after a search are paragraphs of their own."""
        if event.get("item_id") in self._asides:
            return ""
        place, before = event.get("output_index"), ""
        if self.text and place != self._place:
            before = self._marks.finish() + "\n\n"
        self._place = place
        text = before + self._marks.feed(str(event["delta"]))
        self.text += text
        return text

    def _begin(self, item: dict[str, Any]) -> None:
        """Take in what a text will be: remarks besides the answer are not told."""
        if item.get("phase") == "commentary":
            self._asides.add(item["id"])

    def _item(self, item: dict[str, Any]) -> None:
        """Take in a whole item; a function's name and arguments come with it, whatever events went before."""
        match item["type"]:
            case "function_call":
                call = ToolCall(str(item["call_id"]), str(item["name"]), str(item["arguments"]))
                self._calls[call.id] = call
                # without the item's own id, which the provider may take for the call's
                told = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
                self.items.append({"type": "function_call", **told})
            case "message":
                self._message(item)
            case "file_search_call":
                self.findings.add(item)
                self.items.append(item)
            case "reasoning" if item.get("encrypted_content"):  # without it, it is an id of what is kept nowhere
                self.items.append(item)

    def _message(self, item: dict[str, Any]) -> None:
        parts = item.get("content") or ()
        said = "".join(str(part.get("text") or part.get("refusal") or "") for part in parts)
        if said:
            told = {"type": "message", "role": "assistant", "content": said}
            self.items.append(told | ({"phase": item["phase"]} if item.get("phase") else {}))
        for part in parts:
            for annotation in part.get("annotations") or ():
                self.findings.cite(annotation)

    def _end(self, response: dict[str, Any]) -> str:
        """Take in how it ended, and return the rest; an answer that reached its limit is one, but an unfinished one."""
        self.ended, self.complete = True, response["status"] == "completed"
        self._cause = (response.get("incomplete_details") or {}).get("reason")
        self.model, self.response_id = response.get("model"), response.get("id")
        usage = response.get("usage")
        if usage:
            self.tokens = Tokens(int(usage["input_tokens"]), int(usage["output_tokens"]))
        rest = self._marks.finish()
        self.text += rest
        return rest

    def _failed(self, error: dict[str, Any], event: dict[str, Any]) -> ProviderFailed:
        response = event.get("response") or {}  # it holds the prompt and the passages too: they are not for the log
        reason = {"id": response.get("id"), "error": error, "incomplete": response.get("incomplete_details")}
        self._endpoint.log(logging.ERROR, "an error within the answer", json.dumps(reason, ensure_ascii=False))
        if error.get("code") in _TOO_FAST:
            return self._endpoint.refused(429)
        if error.get("code") in _WITHHELD:
            return withheld(self._endpoint)
        if not self.text and is_about_store(str(error.get("message"))):
            return search_refused(self._endpoint)
        about_it = not self.text and is_about_it(str(error.get("message")))
        kind = ConversationRefused if about_it else ProviderFailed
        return kind(f"{self._endpoint.name} reported an error within the answer. Try again.")
