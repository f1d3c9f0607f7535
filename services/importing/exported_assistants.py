"""An assistant of OpenAI's Assistants API, as the API gave it in JSON."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import Invalid
from services.importing.exported_threads import storable
from services.prompts import MOST_CHARACTERS

_LARGEST = 16 * 2**20
_LONGEST_NAME = 200
_SIGNS = re.compile(r"\{[{%#]")
_END_OF_RAW = re.compile(r"\{%(?=[-+]?\s*endraw)")


@dataclass(frozen=True)
class ExportedAssistant:
    """What can be taken over of an exported assistant.

    Attributes:
        prompt: the instructions as a prompt document: whatever looks like a template in them stays as it stands.
        files: names of its files.
        file_ids: ids of files and vector stores, which tell no names.
        lost: what it has that there is no place for, to be told.
    """

    name: str
    prompt: str
    model: str | None
    temperature: float | None
    files: tuple[str, ...]
    file_ids: tuple[str, ...]
    lost: tuple[str, ...]


def read_export(path: Path) -> ExportedAssistant:
    """Read an exported assistant.

    Raises:
        Invalid: the file holds no such object; the message says what is wrong.
        OSError: it cannot be read.
    """
    given = _object(path)
    kind = given.get("object", "assistant")
    if kind != "assistant":
        raise Invalid(f"{path} holds no assistant: its `object` is {kind!r}. Export one assistant to a file.")
    instructions = _text(given, "instructions") or ""
    prompt = as_it_stands(instructions) if instructions.strip() else ""
    if len(prompt) > MOST_CHARACTERS:
        raise Invalid(f"The instructions have more than {MOST_CHARACTERS:,} characters. Shorten them in the file.")
    temperature = given.get("temperature")
    if temperature is not None and (isinstance(temperature, bool) or not isinstance(temperature, int | float)):
        raise _wrong("temperature", "a number")
    if temperature is not None and not 0 <= temperature <= 2:
        raise _wrong("temperature", "a number from 0 to 2")
    return ExportedAssistant(
        name=(_text(given, "name") or _text(given, "id") or path.stem)[:_LONGEST_NAME],
        prompt=prompt,
        model=_text(given, "model"),
        temperature=temperature,
        files=_names(given),
        file_ids=_ids(given),
        lost=_lost(given),
    )


def as_it_stands(text: str) -> str:
    """Return a template that renders to this text, apart from the form of its line ends."""
    if not _SIGNS.search(text):
        return text
    return "{% raw %}" + _END_OF_RAW.sub("{% endraw %}{{ '{%' }}{% raw %}", text) + "{% endraw %}"


def _object(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise Invalid(f"{path} has more than {_LARGEST // 2**20} MiB. An assistant is one JSON object.")
    try:
        given = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Invalid(f"{path} is no JSON in UTF-8. Save the assistant as the API gave it.") from None
    if not isinstance(given, dict):
        raise Invalid(f"{path} holds no JSON object. Save one assistant as the API gave it.")
    return given


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong(name, "text")
    return storable(value).strip() or None if value else None


def _names(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of files, as text or in the objects that the API's list of files holds; each once."""
    names = []
    for key in ("files", "file_names"):
        for item in _list(given, key):
            name = item.get("filename") if isinstance(item, dict) else item
            if not isinstance(name, str) or not name.strip():
                raise _wrong(key, "a list of file names")
            names.append(name)
    return tuple(dict.fromkeys(names))


def _ids(given: Mapping[str, Any]) -> tuple[str, ...]:
    resources = given.get("tool_resources") or {}
    if not isinstance(resources, dict):
        raise _wrong("tool_resources", "an object")
    found = list(_list(given, "file_ids"))
    for resource in resources.values():
        for key in ("file_ids", "vector_store_ids"):
            found += _list(resource, key) if isinstance(resource, dict) else ()
    return tuple(dict.fromkeys(str(one) for one in found))


def _lost(given: Mapping[str, Any]) -> tuple[str, ...]:
    lost = []
    for tool in _list(given, "tools"):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str):
            raise _wrong("tools", "a list of tools with their types")
        function = tool.get("function")
        if kind == "function" and isinstance(function, dict):
            lost.append(f"the function {function.get('name')!r}: define it anew once assistants have tools")
        elif kind not in ("file_search", "retrieval"):
            lost.append(f"the tool {kind!r}: there is no such thing here")
    if given.get("top_p") not in (None, 1):
        lost.append(f"top_p {given['top_p']!r}: there is no such setting here")
    if given.get("response_format") not in (None, "auto"):
        lost.append("response_format: answers are text")
    return tuple(lost)


def _list(given: Mapping[str, Any], name: str) -> list[Any]:
    value = given.get(name)
    if value is not None and not isinstance(value, list):
        raise _wrong(name, "a list")
    return value or []


def _wrong(name: str, expected: str) -> Invalid:
    return Invalid(f"The exported assistant's `{name}` is not {expected}. Save it as the API gave it.")
