"""What comes with a message from a client that speaks a model provider's protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.tools import ToolResult, ToolSpec


@dataclass(frozen=True)
class Turn:
    """One earlier exchange. Either side may be missing: a person wrote to an agent, or an agent wrote unasked.

    Attributes:
        key: names exactly these words: another attempt at the answer, or an answer that was withheld, has another key.
            It says where they are from, so turns with the same words are equal all the same.
    """

    message: str | None
    response: str | None
    key: str = field(default="", compare=False)


@dataclass(frozen=True)
class Given:
    """What a request says beside its new message. It is stored with the chat, so that every attempt knows it.

    Attributes:
        alone: the request began a thread of its own, and its own messages are all that is known of it.
        turns: earlier exchanges that the request told, oldest first; they become part of the thread's memory.
        instructions: the client's own, behind the assistant's.
        tools: functions that the client makes itself.
        question: what the rounds are about, where the message was stored with an earlier chat; else "".
        rounds: the calls of the client's functions since the question, with what they gave, a tuple for each time.
        temperature, max_output_tokens: instead of the assistant's own; None for these.
        options: further parameters of the model, in OpenAI's names.
        device_id: goes to tools that ask for it.
        session: the conversation that the device says it is in; the memory is that of the newest (services/devices.py).
    """

    alone: bool = False
    turns: tuple[Turn, ...] = ()
    instructions: str = ""
    tools: tuple[ToolSpec, ...] = ()
    question: str = ""
    rounds: tuple[tuple[ToolResult, ...], ...] = ()
    temperature: float | None = None
    max_output_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device_id: str = ""
    session: str = ""


NOTHING_GIVEN = Given()
