"""What both of OpenAI's lists of messages have in common: parts of text, and what a list tells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from marshmallow import ValidationError, fields

from models.errors import Invalid
from models.given import Turn
from models.tools import ToolResult
from routes.schemas.base import Text

INSTRUCTING = frozenset({"system", "developer"})
"""The roles of messages that say how to answer."""


class PartsText(fields.Field[str]):
    """A text: a string, or a list of parts whose texts are joined with line breaks.

    Args:
        place: where in a request it stands.
        keys: where the text stands in a part of each type that is read.
        usual: the type of a part that names none; "" where each has to.

    Raises:
        Invalid: code `unsupported_content`, a part is no text.
    """

    def __init__(self, place: str, keys: Mapping[str, str], usual: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._place, self._keys, self._usual = place, keys, usual

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        if isinstance(value, str):
            return _text(value)
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            raise ValidationError("Must be a string or a list of parts.")
        return "\n".join(self._part(part) for part in value)

    def _part(self, part: dict[str, Any]) -> str:
        kind = part.get("type", self._usual)
        key = self._keys.get(kind) if isinstance(kind, str) else None
        if key is None:
            refused = f"Parts of type {str(kind)[:50]!r} are not read"
            raise Invalid(f"{refused}; send text.", code="unsupported_content", errors={self._place: [f"{refused}."]})
        return _text(part.get(key))


@dataclass(frozen=True)
class Told:
    """What a list of messages tells.

    Attributes:
        text: the newest words of the user; "" where there are only outputs of functions.
    """

    text: str
    instructions: str
    turns: tuple[Turn, ...]
    rounds: tuple[tuple[ToolResult, ...], ...]


@dataclass(frozen=True)
class Parted:
    """A list of messages, parted where its question begins; without one, all of it is `since`."""

    before: Sequence[dict[str, Any]]
    since: Sequence[dict[str, Any]]
    asks: bool


def parted(
    spoken: Sequence[dict[str, Any]],
    is_users: Callable[[dict[str, Any]], bool],
    is_output: Callable[[dict[str, Any]], bool],
    refused: Callable[[str], Invalid],
    *,
    alone: bool,
) -> Parted:
    """Part messages at the user's last one, or at an earlier one if nobody answered the outputs behind it.

    Args:
        alone: the messages are all there is; else they go on from what is stored.

    Raises:
        Invalid: what `refused` makes of an explanation.
    """
    last = max((place for place, one in enumerate(spoken) if is_users(one)), default=-1)
    first = last
    while first > 0 and is_output(spoken[first - 1]):
        first = max((place for place, one in enumerate(spoken[:first]) if is_users(one)), default=-1)
        if first < 0:
            raise refused("Send the outputs of functions alone, and the user's next message behind the answer.")
    if first < last and not alone:
        raise refused("Send the outputs of functions first, and the user's next message with the next request.")
    place = max(first, 0)
    return Parted(spoken[:place], spoken[place:], asks=last >= 0)


def turns_told(messages: Sequence[dict[str, Any]]) -> tuple[Turn, ...]:
    """Pair what the user said with the answer behind it; of calls on the way to an answer only the text counts."""
    turns: list[Turn] = []
    for one in messages:
        said = one["content"] or one.get("refusal") or ""
        if not said.strip() or one["role"] == "tool":
            continue
        if one["role"] == "user":
            turns.append(Turn(said, None))
        elif not turns:
            turns.append(Turn(None, said))
        else:
            earlier = turns[-1].response
            turns[-1] = replace(turns[-1], response=f"{earlier}\n\n{said}" if earlier else said)
    return tuple(turns)


def _text(value: Any) -> str:
    return str(Text().deserialize(value))
