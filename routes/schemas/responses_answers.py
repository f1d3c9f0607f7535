"""Wire names of the Responses API: what its clients are given."""

from collections.abc import Sequence
from typing import Any

from models.chats import Chat, ChatStatus, Citation
from models.conversations import THREAD
from models.errors import OrquestraError
from models.tools import ToolCall
from routes.schemas.chats import CITATIONS
from routes.schemas.openai_answers import created, shown_text
from routes.schemas.responses_echo import Asked, response_id

_LIMITS = frozenset({"rate_limited", "rate_limit_exceeded"})


def thread_of(chat: Chat, named: str | None = None) -> str:
    """Return the name by which a request goes on with a chat's memory.

    Args:
        named: how the client called the thread.
    """
    return named or (chat.channel.id if chat.channel.message_service == THREAD else chat.conversation_id)


def response(chat: Chat, asked: Asked, output: Sequence[dict[str, Any]], status: str) -> dict[str, Any]:
    """Return a response.

    Args:
        status: `in_progress`, `completed`, `incomplete` or `failed`.
    """
    ended = status in ("completed", "incomplete")
    return {
        "id": response_id(chat.id),
        "object": "response",
        "created_at": created(chat),
        "completed_at": int(chat.answered_at.timestamp()) if chat.answered_at and status == "completed" else None,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        **asked.fields,
        "output": list(output),
        "usage": usage(chat) if ended else None,
        "store": True,
        "background": False,
        "service_tier": "default",
        "thread_id": thread_of(chat, asked.thread),
        **({} if chat.status is ChatStatus.ANSWERED or not ended else {"chat_status": chat.status.value}),
    }


def settled(chat: Chat, asked: Asked, output: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the response that a chat is.

    Args:
        output: its items as they were streamed; None for those of `output_of`.
    """
    if chat.status is ChatStatus.RECEIVED:
        return response(chat, asked, (), "in_progress")
    if chat.status is ChatStatus.FAILED:
        code, detail = (chat.error.code, chat.error.detail) if chat.error else (OrquestraError.code, "")
        return failed(chat, asked, (), code, detail)
    return response(chat, asked, output_of(chat) if output is None else output, final_status(chat))


def failed(chat: Chat, asked: Asked, output: Sequence[dict[str, Any]], code: str, detail: str) -> dict[str, Any]:
    """Return a response that failed; `type` is our code of the failure, `code` one that OpenAI's clients know."""
    known = "rate_limit_exceeded" if code in _LIMITS else "server_error"
    return {**response(chat, asked, output, "failed"), "error": {"code": known, "message": detail, "type": code}}


def final_status(chat: Chat) -> str:
    """Return how the response of a settled chat ended."""
    return "incomplete" if chat.truncated and chat.status is ChatStatus.ANSWERED else "completed"


def output_of(chat: Chat) -> list[dict[str, Any]]:
    """Return what a chat says: a message, empty where nobody may answer, and the calls that the model waits for."""
    text, calls = shown_text(chat), calls_of(chat)
    items = [message(chat, 0, text, final_status(chat), annotations(chat))] if text or not calls else []
    return [*items, *(function_call(chat, number, call) for number, call in enumerate(calls, len(items)))]


def calls_of(chat: Chat) -> tuple[ToolCall, ...]:
    """Return the client's functions that the model waits for."""
    return chat.asked if chat.status is ChatStatus.ANSWERED else ()


def message(
    chat: Chat,
    number: int,
    text: str | None,
    status: str,
    notes: Sequence[dict[str, Any]] = (),
    phase: str | None = None,
) -> dict[str, Any]:
    """Return a message.

    Args:
        number: its place in the response's output.
        text: None for one that has not begun.
        phase: `commentary` for what is said while tools run.
    """
    item = {
        "type": "message",
        "id": f"msg_{chat.id}_{number}",
        "status": status,
        "role": "assistant",
        "content": [] if text is None else [text_part(text, notes)],
    }
    return item if phase is None else {**item, "phase": phase}


def text_part(text: str, notes: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return the content of a message."""
    return {"type": "output_text", "text": text, "annotations": list(notes), "logprobs": []}


def function_call(chat: Chat, number: int, call: ToolCall, status: str = "completed") -> dict[str, Any]:
    """Return a call that the client is to make; one in progress has no arguments yet."""
    return {
        "type": "function_call",
        "id": f"fc_{chat.id}_{number}",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments if status == "completed" else "",
        "status": status,
    }


def annotations(chat: Chat) -> list[dict[str, Any]]:
    """Return the citations of an answer, each with the exact place in its document beside OpenAI's fields.

    `index` counts the documents: the answer's text has no marks that a place in it could be given for.
    """
    cited: Sequence[Citation] = chat.citations if chat.status is ChatStatus.ANSWERED else ()
    documents = list(dict.fromkeys(one.document_id for one in cited))
    return [
        {
            "type": "file_citation",
            "file_id": one.document_id,
            "filename": one.filename,
            "index": documents.index(one.document_id),
            "citation": CITATIONS.dump(one, many=False),
        }
        for one in cited
    ]


def usage(chat: Chat) -> dict[str, Any]:
    """Return the tokens; of parts that no provider's answer is asked about, 0."""
    read, written = chat.tokens.input, chat.tokens.output
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
