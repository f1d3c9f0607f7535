"""Function calls in the pieces that a stream of chat completions tells them in.

OpenAI numbers its calls, tells the name of each once and its arguments piece by piece. Other servers tell no number, or
the same for all; no id, or the same for all; the name again with each piece; a call whole; the arguments as an object.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.ids import new_id
from models.tools import ToolCall

EXTRA = "extra_content"
"""What a server wants to be told again with a call, such as Gemini's signatures of its thoughts."""


@dataclass
class _Begun:
    """A call that may go on."""

    index: int | None
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra: Mapping[str, Any] | None = None

    def is_whole(self) -> bool:
        """Tell whether its arguments can be all."""
        return is_object(self.arguments)


@dataclass
class CallsInPieces:
    """The calls that have come so far."""

    _begun: list[_Begun] = field(default_factory=list)

    def take(self, piece: Mapping[str, Any]) -> None:
        """Take in a piece of a call.

        Raises:
            AttributeError, TypeError: it is none.
        """
        function = piece.get("function") or {}
        index, name, told = piece.get("index"), function.get("name") or "", function.get("arguments")
        if not isinstance(name, str):
            raise TypeError("a name that is no text")
        arguments = told if isinstance(told, str) else "" if told is None else json.dumps(told, ensure_ascii=False)
        id_ = str(piece.get("id") or "")
        call = self._continued(index, id_, name, arguments)
        if call is None:
            call = _Begun(index)
            self._begun.append(call)
        elif name and call.name and name != call.name:  # a name in pieces, or one that grows
            name = name if name.startswith(call.name) else call.name + name
        elif name and call.arguments == arguments and call.is_whole():  # told again at the end
            return
        call.id, call.name = call.id or id_, name or call.name
        call.arguments += arguments
        call.extra = piece.get(EXTRA) or call.extra

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls, each with an id of its own.

        Raises:
            ValueError: one has no name.
        """
        told: dict[str, ToolCall] = {}
        for one in self._begun:
            if not one.name:
                raise ValueError("a call without a name")
            id_ = one.id if one.id and one.id not in told else f"call_{new_id()}"
            told[id_] = ToolCall(id_, one.name, one.arguments if one.arguments.strip() else "{}")
        return tuple(told.values())

    def extras(self) -> tuple[Mapping[str, Any] | None, ...]:
        """Return what is to be told again with each call."""
        return tuple(one.extra for one in self._begun)

    def _continued(self, index: int | None, id_: str, name: str, arguments: str) -> _Begun | None:
        """Return the call that a piece goes on with; None if it begins one."""
        if index is not None:
            candidates = [one for one in self._begun if one.index == index]
        elif id_:
            candidates = [one for one in self._begun if one.id == id_]
        else:
            candidates = self._begun
        last = candidates[-1] if candidates else None
        if last is None or not name:
            return last
        if id_ and last.id and id_ != last.id:  # a server that gives all its calls one number
            return None
        if index is None and not id_:
            return last if name == last.name and not last.is_whole() else None
        return None if last.is_whole() and arguments.strip() and arguments != last.arguments else last


def is_object(arguments: str) -> bool:
    """Tell whether arguments are what they should be: a JSON object."""
    try:
        return isinstance(json.loads(arguments), dict)
    except ValueError:
        return False
