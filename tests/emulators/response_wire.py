"""Events of a streamed response for `openai_wire`, each checked against the SDK's model of it."""

import json
from typing import Any

from openai.types.responses import ResponseFunctionToolCall, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.emulators.openai_wire import Reply, document, stream

_EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
_PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def response_event(kind: str, **fields: Any) -> bytes:
    """Return a server-sent event."""
    data = {"type": kind, "sequence_number": 1, **fields}
    _EVENTS.validate_python(data)
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def delta(text: str, *, refusal: bool = False, item: str = "msg_1", index: int = 0) -> bytes:
    """Return a piece of an answer's text, or of a refusal's."""
    place = {**_PLACE, "item_id": item, "output_index": index}
    if refusal:
        return response_event("response.refusal.delta", **place, delta=text)
    return response_event("response.output_text.delta", **place, delta=text, logprobs=[])


def ended(kind: str = "completed", **fields: Any) -> bytes:
    """Return the end of a response: `completed`, `incomplete` or `failed`, with fields of the response."""
    return response_event(f"response.{kind}", response=_response(kind, **fields))


def begun() -> bytes:
    """Return what a response begins with."""
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
    return (
        response_event("response.created", response=_response("in_progress", usage=None))
        + response_event("response.in_progress", response=_response("in_progress", usage=None))
        + response_event("response.output_item.added", output_index=0, item=message)
    )


def item_done(**item: Any) -> bytes:
    """Return the end of an item, such as a file search."""
    return response_event("response.output_item.done", output_index=0, item=item)


def called(name: str, arguments: str = "{}", *, call_id: str = "call_1", index: int = 1) -> bytes:
    """Return the events of a function call, whose arguments come in two pieces."""
    item_id, middle = f"fc_{call_id}", len(arguments) // 2
    place = {"item_id": item_id, "output_index": index}
    item = {"type": "function_call", "id": item_id, "call_id": call_id, "name": name}
    begun_item, done_item = (
        ResponseFunctionToolCall.model_validate({**item, "arguments": told, "status": status}).to_dict()
        for told, status in (("", "in_progress"), (arguments, "completed"))
    )
    return b"".join(
        (
            response_event("response.output_item.added", output_index=index, item=begun_item),
            response_event("response.function_call_arguments.delta", **place, delta=arguments[:middle]),
            response_event("response.function_call_arguments.delta", **place, delta=arguments[middle:]),
            response_event("response.function_call_arguments.done", **place, arguments=arguments, name=name),
            response_event("response.output_item.done", output_index=index, item=done_item),
        )
    )


def thought(content: str | None = "secret", name: str = "rs_1") -> bytes:
    """Return a reasoning item, whose content is not for us."""
    return item_done(type="reasoning", id=name, summary=[], encrypted_content=content)


def said(text: str, **fields: Any) -> bytes:
    """Return a whole message."""
    parts = [{"type": "output_text", "text": text, "annotations": []}]
    return item_done(
        **{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": parts, **fields}
    )


def cited(file_id: str, filename: str, index: int) -> bytes:
    """Return the annotation of a cited file."""
    annotation = {"type": "file_citation", "file_id": file_id, "filename": filename, "index": index}
    return response_event("response.output_text.annotation.added", **_PLACE, annotation_index=0, annotation=annotation)


def answer(*texts: str, **fields: Any) -> Reply:
    """Return the reply of a whole response in these pieces."""
    done = response_event("response.output_text.done", **_PLACE, text="".join(texts), logprobs=[])
    return stream(begun(), *map(delta, texts), done, ended(**fields))


def conversation(name: str) -> Reply:
    """Return the reply of a new conversation."""
    return document(200, {"id": name, "object": "conversation", "created_at": 1, "metadata": {}})


def deleted(name: str) -> Reply:
    """Return the reply of a deletion."""
    return document(200, {"id": name, "object": "conversation.deleted", "deleted": True})


def refusal(status: int, message: str, **error: Any) -> Reply:
    """Return the reply of a refusal in OpenAI's shape."""
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **error}
    return document(status, {"error": body})


def _response(status: str, **fields: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    }
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "wire-1", "output": [],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": usage, **fields,
    }  # fmt: skip
