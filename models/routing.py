"""Routing: which prompt and model a message is answered with, and what is said while tools run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RoutingMode(StrEnum):
    """`direct` gives every message to one model; `route` has a router decide first."""

    DIRECT = "direct"
    ROUTE = "route"


class Route(StrEnum):
    """What a router decides: whether a message can be answered by talking, or needs tools."""

    CHAT = "chat"
    TOOL = "tool"


class PromptRole(StrEnum):
    """Whose prompt it is. Prompt documents and `Routing.prompts` are named like this."""

    CHAT = "chat"
    TOOL = "tool"
    ROUTER = "router"
    CHATTY = "chatty"


class FillerUse(StrEnum):
    """Where filler is shown: nowhere, where it can be told from the answer, or in plain text too."""

    OFF = "off"
    EVENTS = "events"
    EVERYWHERE = "everywhere"


@dataclass(frozen=True)
class Routing:
    """How an assistant's messages find their model.

    Attributes:
        router_model, chat_model, tool_model, chatty_model: the provider's model names; None for the assistant's own.
        prompts: texts by `PromptRole`; they come before documents of the same name.
    """

    mode: RoutingMode = RoutingMode.DIRECT
    router_model: str | None = None
    chat_model: str | None = None
    tool_model: str | None = None
    chatty_model: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    filler: FillerUse = FillerUse.EVERYWHERE
