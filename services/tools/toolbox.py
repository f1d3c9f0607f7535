"""Which tools one message has: where they come from, what the model is told of them, and what is filled in for it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.deadline import Deadline
from models.tools import ToolOutput, ToolSource, ToolSpec

DEVICE_ID = "device_id"
"""A parameter that the model never sees: it is the device that the message came from."""

_MOST_TOOLS = 128
"""OpenAI takes no more."""
_LONGEST_NAME = 64
_NAME = re.compile(rf"[a-zA-Z0-9_-]{{1,{_LONGEST_NAME}}}")
_NO_NAME = re.compile(r"[^a-zA-Z0-9_-]")

Run = Callable[[Mapping[str, Any], Deadline], ToolOutput]
"""Make a call. It may raise any `OrquestraError`, and ends when its deadline is cancelled."""


@dataclass(frozen=True)
class Tool:
    """A tool of the assistant's.

    Attributes:
        spec: as the model is told of it.
        source: the name of its `ToolSource`.
        seconds: how long a call may take.
        hidden: parameters that the model is not asked for, whatever it writes.
        filled: what they are filled in with.
    """

    spec: ToolSpec
    source: str
    seconds: float
    run: Run = field(repr=False)
    hidden: frozenset[str] = frozenset()
    filled: Mapping[str, Any] = field(default_factory=dict)

    def call(self, arguments: Mapping[str, Any], deadline: Deadline) -> ToolOutput:
        """Make a call with the arguments of the model."""
        shown = {name: value for name, value in arguments.items() if name not in self.hidden}
        return self.run(shown | dict(self.filled), deadline)


class Toolbox:
    """The tools that one message has, by the names that the model knows.

    Args:
        tools: the assistant's, in the order of its sources; they are renamed where that is necessary.
        clients: functions that the client makes itself; they keep their names.
    """

    def __init__(self, tools: Iterable[Tool] = (), clients: Sequence[ToolSpec] = ()) -> None:
        self._clients = {spec.name: spec for spec in clients}
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if len(self._clients) + len(self._tools) < _MOST_TOOLS:
                name = self._name(tool)
                self._tools[name] = replace(tool, spec=replace(tool.spec, name=name))

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """Return what a model is told."""
        return (*self._clients.values(), *(tool.spec for tool in self._tools.values()))

    @property
    def names(self) -> Sequence[str]:
        """Return the names of all that can be called."""
        return (*self._clients, *self._tools)

    def find(self, name: str) -> Tool | None:
        """Return the tool of the assistant's that has this name."""
        return self._tools.get(name)

    def is_clients(self, name: str) -> bool:
        """Tell whether the client makes this call itself."""
        return name in self._clients

    def _name(self, tool: Tool) -> str:
        """Return a free name that every provider takes; its source's stands before one that is not."""
        wanted = tool.spec.name
        if _NAME.fullmatch(wanted) and self._is_free(wanted):
            return wanted
        base = _NO_NAME.sub("_", f"{tool.source}_{wanted}")[:_LONGEST_NAME]
        name, number = base, 2
        while not self._is_free(name):
            name, number = f"{base[: _LONGEST_NAME - 5]}_{number}", number + 1
        return name

    def _is_free(self, name: str) -> bool:
        return name not in self._clients and name not in self._tools


def tools_of(
    source: ToolSource, specs: Iterable[ToolSpec], run: Callable[[str, float], Run], device_id: str
) -> list[Tool]:
    """Return the tools of a source that a message may use.

    A tool that needs to know the device is left out of a message that is from none.

    Args:
        specs: what the source offers.
        run: returns what makes the calls of a tool, by its name and the seconds that one may take.
    """
    seconds = dict(source.timeouts)
    made: list[Tool] = []
    for spec in specs:
        schema = _object_schema(spec.parameters)
        needs_device = DEVICE_ID in schema.get("required", ())
        if _is_allowed(source, spec) and (device_id or not needs_device):
            limit = seconds.get(spec.name, source.timeout_seconds)
            tool = Tool(replace(spec, parameters=schema), source.name, limit, run(spec.name, limit))
            made.append(_without_device(tool, schema, device_id) if DEVICE_ID in schema["properties"] else tool)
    return made


def _is_allowed(source: ToolSource, spec: ToolSpec) -> bool:
    return source.allowed_tools is None or spec.name in source.allowed_tools


def _without_device(tool: Tool, schema: Mapping[str, Any], device_id: str) -> Tool:
    """Return the tool with the device hidden from the model, and filled in if there is one."""
    shown = {
        **schema,
        "properties": {name: value for name, value in schema["properties"].items() if name != DEVICE_ID},
        "required": [name for name in schema.get("required", ()) if name != DEVICE_ID],
    }
    return replace(
        tool,
        spec=replace(tool.spec, parameters=_object_schema(shown), strict=False),
        hidden=frozenset({DEVICE_ID}),
        filled={DEVICE_ID: device_id} if device_id else {},
    )


def _object_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that providers take: servers send some without a type, and some that are no objects."""
    properties, required = parameters.get("properties"), parameters.get("required")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list | tuple) else []
    rest = {name: value for name, value in parameters.items() if name != "required"}
    return {
        **rest,
        "type": "object",
        "properties": dict(properties) if isinstance(properties, Mapping) else {},
        **({"required": names} if names else {}),
    }
