"""What the model of our fake of OpenAI says, and the events that bring it.

It searches by counting words, and quotes the best paragraph of EVERY file that it found: whoever lets it find two
texts of one document reads both. Asked to `recall`, it tells what the people have said in the conversation so far.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.emulators.provider_account import Account, Json, Refused, message_json, new_name

NOTHING_KNOWN = "I do not have this information."
_PASSAGE = re.compile(r'<passage number="(\d+)" source="([^",>]*)[^"]*">\n(.*?)\n</passage>', re.DOTALL)
_WORD = re.compile(r"\w+")
_ORDERED = {
    "gt": lambda held, wanted: held > wanted,
    "gte": lambda held, wanted: held >= wanted,
    "lt": lambda held, wanted: held < wanted,
    "lte": lambda held, wanted: held <= wanted,
}


@dataclass(frozen=True)
class Chunk:
    """A paragraph that a search found."""

    file_id: str
    filename: str
    text: str
    score: float
    attributes: Mapping[str, str | float | bool]

    @property
    def result(self) -> Json:
        """Return it as a result of a file search."""
        return {
            "file_id": self.file_id,
            "filename": self.filename,
            "text": self.text,
            "score": self.score,
            "attributes": dict(self.attributes),
        }


@dataclass(frozen=True)
class Answer:
    """What the model says.

    Attributes:
        found: what it searched for and found, best first; None when it had no file search.
        cited: character of the text -> chunk.
    """

    text: str
    found: tuple[Chunk, ...] | None = None
    cited: tuple[tuple[int, Chunk], ...] = ()


def search(account: Account, tool: Json, question: str) -> tuple[Chunk, ...]:
    """Return the paragraphs with words of the question that a file search finds, best first, without headings."""
    wanted = _words(question)
    found: list[Chunk] = []
    with account.lock:
        for store_id in tool["vector_store_ids"]:
            for attached in account.store(store_id).files.values():
                if attached.status != "completed" or not passes(tool.get("filters"), attached.attributes):
                    continue
                file = account.files[attached.file_id]
                for text in re.split(r"\n\s*\n", file.content.decode()):
                    score = len(wanted & _words(text)) / max(1, len(wanted))
                    if score and not text.startswith("#"):
                        found.append(Chunk(file.id, file.filename, text.strip(), score, attached.attributes))
    return tuple(sorted(found, key=lambda one: -one.score)[: tool.get("max_num_results") or 20])


def passes(filters: Json | None, attributes: Mapping[str, str | float | bool]) -> bool:
    """Tell whether a file's attributes pass the filters of a search; what a file does not have, passes none.

    Raises:
        Refused: the filter is none.
    """
    if filters is None:
        return True
    kind = filters.get("type")
    if kind in ("and", "or"):
        inner = [passes(one, attributes) for one in filters["filters"]]
        return all(inner) if kind == "and" else any(inner)
    held, wanted = attributes.get(filters["key"]), filters["value"]
    if held is None:
        return False
    if kind in ("eq", "ne"):
        return (held == wanted) is (kind == "eq")
    if kind in ("in", "nin"):
        return (held in wanted) is (kind == "in")
    if kind not in _ORDERED:
        raise Refused(400, f"Invalid filter type: {kind}")
    return type(held) in (int, float) and bool(_ORDERED[kind](held, wanted))


def respond(account: Account, body: Json, heard: Sequence[Json]) -> Answer:
    """Return what the model says to a request for a response.

    Args:
        heard: the conversation's items with those of the request, oldest first.
    """
    said = [_text(item) for item in heard if item.get("role") == "user"]
    question = said[-1] if said else ""
    tools = [tool for tool in body.get("tools") or [] if tool["type"] == "file_search"]
    if question.lower().startswith("recall"):
        return Answer(recalled(said[:-1]))
    if tools:
        found = tuple(chunk for tool in tools for chunk in search(account, tool, question))
        return _quoting(found)
    return Answer(quoted(str(body.get("instructions") or ""), question))


def recalled(said: Sequence[str]) -> str:
    """Return what the model says when it is asked what it remembers."""
    return "You said: " + " | ".join(said)


def quoted(instructions: str, question: str) -> str:
    """Return the best passages of every document that the instructions quote, marked with their numbers.

    Of passages that are equally good all are quoted: two texts of one document would both be read.
    """
    wanted, best = _words(question), dict[str, tuple[int, list[str]]]()
    for number, source, text in _PASSAGE.findall(instructions):
        score, (most, texts) = len(wanted & _words(text)), best.get(source.strip(), (1, []))
        if score >= most:
            best[source.strip()] = (score, [*(texts if score == most else []), f"{text.strip()}[^{number}]"])
    return "\n\n".join(text for _, texts in best.values() for text in texts) or NOTHING_KNOWN


def _quoting(found: tuple[Chunk, ...]) -> Answer:
    """Quote the best chunk of every file."""
    best: dict[str, Chunk] = {}
    for chunk in found:
        best.setdefault(chunk.file_id, chunk)
    text, cited = "", list[tuple[int, Chunk]]()
    for chunk in best.values():
        text += ("\n\n" if text else "") + chunk.text
        cited.append((len(text), chunk))
    return Answer(text or NOTHING_KNOWN, found, tuple(cited))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _text(item: Json) -> str:
    content = item.get("content")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


class ResponseInTheMaking:
    """A response: its object at any time, its output and the events of its stream."""

    def __init__(self, body: Json, answer: Answer) -> None:
        self.id = new_name("resp_")
        self._body = body
        self._answer = answer
        self._created_at = int(time.time())
        self._search_id, self._message_id = new_name("fs_"), new_name("msg_")
        self._number = -1

    @property
    def output(self) -> list[Json]:
        """Return the finished items."""
        searched = [self._search("completed")] if self._answer.found is not None else []
        return [*searched, self._message("completed", [self._part(self._answer.text)])]

    def json(self, status: str = "completed") -> Json:
        """Return the response as the API shows it; only a completed one has output and usage."""
        done = status == "completed"
        counted = _usage(json.dumps(self._body), self._answer.text) if done else None
        conversation = self._body.get("conversation")
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            "model": self._body["model"],
            "instructions": self._body.get("instructions"),
            "conversation": {"id": conversation} if conversation else None,
            "output": self.output if done else [],
            "usage": counted,
            "store": self._body.get("store", True),
            "tools": self._body.get("tools") or [],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "temperature": self._body.get("temperature") or 1.0,
            "top_p": 1.0,
            "truncation": self._body.get("truncation") or "disabled",
            "error": None,
            "incomplete_details": None,
            "metadata": {},
        }

    def events(self) -> Iterator[bytes]:
        """Yield the server-sent events in the order of the API."""
        for name, fields in self._events():
            self._number += 1
            data = {"type": name, "sequence_number": self._number, **fields}
            yield f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

    def _events(self) -> Iterator[tuple[str, Json]]:
        yield "response.created", {"response": self.json("in_progress")}
        yield "response.in_progress", {"response": self.json("in_progress")}
        if self._answer.found is not None:
            yield from self._search_events()
        yield from self._message_events(0 if self._answer.found is None else 1)
        yield "response.completed", {"response": self.json()}

    def _search_events(self) -> Iterator[tuple[str, Json]]:
        place = {"output_index": 0, "item_id": self._search_id}
        yield "response.output_item.added", {"output_index": 0, "item": self._search("in_progress")}
        for step in ("in_progress", "searching", "completed"):
            yield f"response.file_search_call.{step}", place
        yield "response.output_item.done", {"output_index": 0, "item": self._search("completed")}

    def _message_events(self, index: int) -> Iterator[tuple[str, Json]]:
        place = {"item_id": self._message_id, "output_index": index, "content_index": 0}
        text = self._answer.text
        yield "response.output_item.added", {"output_index": index, "item": self._message("in_progress", [])}
        yield "response.content_part.added", {**place, "part": {**self._part(""), "annotations": []}}
        for piece in re.findall(r"\S+\s*", text):
            yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
        for number, annotation in enumerate(self._annotations()):
            fields = {**place, "annotation_index": number, "annotation": annotation}
            yield "response.output_text.annotation.added", fields
        yield "response.output_text.done", {**place, "text": text, "logprobs": []}
        yield "response.content_part.done", {**place, "part": self._part(text)}
        done = self._message("completed", [self._part(text)])
        yield "response.output_item.done", {"output_index": index, "item": done}

    def _search(self, status: str) -> Json:
        asked = "file_search_call.results" in (self._body.get("include") or [])
        results = [chunk.result for chunk in self._answer.found or ()] if asked and status == "completed" else None
        return {
            "id": self._search_id,
            "type": "file_search_call",
            "status": status,
            "queries": ["what was asked"],
            "results": results,
        }

    def _message(self, status: str, content: list[Json]) -> Json:
        return {
            "id": self._message_id, "type": "message", "role": "assistant", "status": status, "content": content,
        }  # fmt: skip

    def _part(self, text: str) -> Json:
        return {"type": "output_text", "text": text, "annotations": self._annotations(), "logprobs": []}

    def _annotations(self) -> list[Json]:
        return [
            {"type": "file_citation", "file_id": chunk.file_id, "filename": chunk.filename, "index": index}
            for index, chunk in self._answer.cited
        ]


def completion_events(body: Json) -> Iterator[bytes]:
    """Yield the server-sent events of a chat completion: the same model, which is told all there is."""
    said = [_text(one) for one in body["messages"] if one["role"] == "user"]
    system = "\n".join(_text(one) for one in body["messages"] if one["role"] == "system")
    recalls = said[-1].lower().startswith("recall")
    text = recalled(said[:-1]) if recalls else quoted(system, said[-1])
    base = {"id": new_name("chatcmpl-"), "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def chunk(**fields: Any) -> bytes:
        return b"data: " + json.dumps({**base, "choices": [], **fields}, ensure_ascii=False).encode() + b"\n\n"

    for piece in re.findall(r"\S+\s*", text):
        yield chunk(choices=[{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
    yield chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = _usage(json.dumps(body), text)
        prompt, completion = usage["input_tokens"], usage["output_tokens"]
        counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        yield chunk(usage=counted)
    yield b"data: [DONE]\n\n"


def input_items(body: Json) -> list[Json]:
    """Return the items that a request for a response brings."""
    given = body.get("input") or []
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return [message_json(one) for one in messages]


def _usage(asked: str, said: str) -> Json:
    tokens_in, tokens_out = len(asked) // 4, len(said) // 4
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens_in + tokens_out,
    }
