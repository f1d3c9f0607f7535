"""Wire names of OpenAI's API: what its clients are given."""

from typing import Any

from models.assistants import Assistant
from models.chats import Chat, ChatStatus
from routes.schemas.chats import CITATIONS


def completion(chat: Chat, model: str, thread: str) -> dict[str, Any]:
    """Return a whole answer as OpenAI's `chat.completion`."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": shown_text(chat) or (None if chat.asked else ""),
        "refusal": None,
        "annotations": [],
        "citations": shown_citations(chat),
    }
    if finish_reason(chat) == "tool_calls":
        message["tool_calls"] = [call for _, call in tool_calls(chat)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(chat)}
    return {
        "id": completion_id(chat),
        "object": "chat.completion",
        "created": created(chat),
        "model": model,
        "choices": [choice],
        "usage": usage(chat),
        "thread_id": thread,
        **unanswered(chat),
    }


def completion_id(chat: Chat) -> str:
    """Return the id of an answer: its repetitions have the same."""
    return f"chatcmpl-{chat.id}"


def created(held: Chat | Assistant) -> int:
    """Return when something was made, in seconds since 1970."""
    return int(held.created_at.timestamp())


def shown_text(chat: Chat) -> str:
    """Return what the caller is given of a chat: nothing where nobody may answer it, or a human came first."""
    return (chat.response or "") if chat.status is ChatStatus.ANSWERED else ""


def shown_citations(chat: Chat) -> Any:
    """Return the places in documents that the answer rests on."""
    return CITATIONS.dump(chat.citations if chat.status is ChatStatus.ANSWERED else ())


def unanswered(chat: Chat) -> dict[str, str]:
    """Return the field that says why a chat has no answer; none where it has one."""
    return {} if chat.status is ChatStatus.ANSWERED else {"status": chat.status.value}


def tool_calls(chat: Chat) -> list[tuple[int, dict[str, Any]]]:
    """Return the calls that the model waits for, each with its number."""
    return [
        (number, {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
        for number, call in enumerate(chat.asked)
    ]


def finish_reason(chat: Chat) -> str:
    """Return why the answer ends."""
    if chat.status is not ChatStatus.ANSWERED:
        return "stop"
    if chat.asked:
        return "tool_calls"
    return "length" if chat.truncated else "stop"


def usage(chat: Chat) -> dict[str, int]:
    """Return the tokens, as the model counted them, or estimated where it does not say."""
    read, written = chat.tokens.input, chat.tokens.output
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def model_of(assistant: Assistant) -> dict[str, Any]:
    """Return an assistant as OpenAI's clients list models; its name is an alias."""
    return {
        "id": assistant.id,
        "object": "model",
        "created": created(assistant),
        "owned_by": "orquestra",
        "name": assistant.name,
    }
