"""Prompt documents as templates: `{{ username }}`, `{{ channel }}`, `{{ today }}` and `{{ assistant }}`."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.errors import Invalid
from services.template_rules import TEXT_FILTERS, VALUES, faults_of

_SIGNS = ("{{", "{%", "{#")
_REMEMBERED = 128
_LONGEST_REASON = 200
_ADVICE = "Correct it; put text with {{, {% or {# that is meant as it stands between {% raw %} and {% endraw %}."


@dataclass(frozen=True)
class PromptValues:
    """What a prompt may name.

    Attributes:
        username: the display name that the channel sent with the message, "" if it sent none: a stranger's words.
        channel: the kind of the channel, such as `whatsapp`, as the channel writes it.
        today: the date in UTC; it makes a prompt another one every day.
        assistant: the assistant's name.
    """

    username: str
    channel: str
    today: date
    assistant: str


_SAMPLES = (
    PromptValues("Ana Souza", "whatsapp", date(2026, 11, 21), "Bia"),
    PromptValues("", "", date(2026, 1, 1), ""),
)


def check(text: str) -> None:
    """Take a prompt only if it can be rendered, whatever the values are.

    Raises:
        Invalid: code `template_error`; `errors["file"]` names the lines.
    """
    for values in _SAMPLES:
        render(text, values)


def render(text: str, values: PromptValues) -> str:
    """Return the prompt with its values; without any of Jinja2's signs it comes out as it is.

    Raises:
        Invalid: as `check`.
    """
    if not any(sign in text for sign in _SIGNS):
        return text
    template = _compiled(text)
    if not isinstance(template, Template):
        raise _invalid(template)
    given = {
        name: _one_line(getattr(values, name), VALUES[name].longest) for name in ("username", "channel", "assistant")
    }
    try:
        return template.render(given, today=values.today)
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _invalid(("line 1: it cannot be rendered with every value",)) from error


@lru_cache(_REMEMBERED)
def _compiled(text: str) -> Template | tuple[str, ...]:
    """Return the template, or what is wrong with it."""
    try:
        tree = _ENVIRONMENT.parse(text)
    except TemplateSyntaxError as error:
        reason = (error.message or "this is no template")[:_LONGEST_REASON].rstrip(".")
        return (f"line {error.lineno}: {reason}",)
    except RecursionError:
        return ("line 1: brackets or blocks are nested too deeply",)
    except ValueError:  # Python refuses numbers of thousands of digits
        return ("line 1: a number has too many digits",)
    faults = faults_of(tree)
    if faults:
        return tuple(faults)
    code = _ENVIRONMENT.compile(tree)
    return Template.from_code(_ENVIRONMENT, code, {})


def _invalid(faults: tuple[str, ...]) -> Invalid:
    return Invalid(
        f"The prompt is no valid template: {faults[0]}. {_ADVICE}", code="template_error", errors={"file": faults}
    )


def _one_line(text: str, longest: int) -> str:
    """Return a text that cannot pass for more than a name: on one line, visible signs only, not too long."""
    visible = "".join(" " if sign.isspace() else sign for sign in text if sign.isspace() or _is_visible(sign))
    return " ".join(visible.split())[:longest].rstrip()


def _is_visible(sign: str) -> bool:
    """Tell whether a sign is no control, direction override, zero width, half of a pair or unassigned one."""
    return not unicodedata.category(sign).startswith("C")


def _date(day: date, form: str) -> str:
    """Return a date by a format of `strftime`, of which only the parts get there: not all platforms bear any text."""
    return re.sub("%(.)", lambda part: "%" if part[1] == "%" else day.strftime(part[0]), form)


def _default(value: object, other: object, _as_boolean: bool = True) -> object:
    """Return the other for an empty value: Jinja2's own looks for missing ones, and here none is ever missing."""
    return value or other


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.globals = {}
    environment.filters = {name: FILTERS[name] for name in (*TEXT_FILTERS, "length")}
    environment.filters |= {"date": _date, "default": _default, "d": _default}
    return environment


_ENVIRONMENT = _environment()
