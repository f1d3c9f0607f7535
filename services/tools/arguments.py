"""The arguments of a call as a model wrote them: read, and held against the schema that it saw."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import jsonschema
from jsonschema.protocols import Validator

from services.characters import whole

_MOST_FAULTS = 3
_LONGEST_FAULT = 300
_CHECKED = (
    "type", "properties", "required", "enum", "const", "items", "prefixItems", "anyOf", "allOf", "oneOf",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
)  # fmt: skip
"""What a model is told at once; the rest is left to the tool's server. Its schema is a stranger's text: a pattern can
keep Python busy for ever, and so can references that name each other."""

_MOST_WORK = 20_000
"""Values of the schema times values of the arguments: as often they may be held against each other. Each time costs
about 20 us and, where it does not fit, 1 KiB: a stranger's alternatives for a long list would take minutes and memory
without end. What is larger is left to the tool's server too."""
_CHECKING_SCHEMA = 10
"""Looking whether the schema is one costs as much as so many values of arguments."""


class BadArguments(ValueError):
    """Refuse arguments; the message is for the model."""


def read_arguments(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call; none at all are an empty object.

    Raises:
        BadArguments: they are no JSON object, or do not fit the schema.
    """
    try:
        read = json.loads(text.strip() or "{}", parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadArguments("The arguments are no JSON. Call again with a JSON object.") from None
    if not isinstance(read, dict):
        raise BadArguments("The arguments must be a JSON object. Call again with one.")
    faults = list(_faults(read, schema))
    if faults:
        raise BadArguments(f"The arguments do not fit: {'; '.join(faults)}. Correct them and call again.")
    arguments: dict[str, Any] = json.loads(whole(json.dumps(read, ensure_ascii=False)))
    return arguments


def _faults(arguments: dict[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong, as far as it can be said; a schema that is none, is too deep or too large, is not asked."""
    if _size(schema) * (_size(arguments) + _CHECKING_SCHEMA) > _MOST_WORK:
        return
    try:
        _ArgumentValidator.check_schema(dict(schema))
        errors = list(_ArgumentValidator(schema).iter_errors(arguments))
    except (jsonschema.SchemaError, RecursionError):
        return
    for error in errors[:_MOST_FAULTS]:
        place = error.json_path.removeprefix("$.").removeprefix("$")
        yield (f"{place}: " if place else "") + error.message[:_LONGEST_FAULT]


def _size(value: object) -> int:
    """Return how many values a value of JSON consists of."""
    count, rest = 0, [value]
    while rest:
        one = rest.pop()
        count += 1
        if isinstance(one, Mapping):
            rest.extend(one.values())
        elif isinstance(one, list | tuple):
            rest.extend(one)
    return count


def _validator() -> type[Validator]:
    known = jsonschema.Draft202012Validator
    checked = {name: known.VALIDATORS[name] for name in _CHECKED}
    made: type[Validator] = jsonschema.validators.create(known.META_SCHEMA, checked, type_checker=known.TYPE_CHECKER)
    return made


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_ArgumentValidator = _validator()
