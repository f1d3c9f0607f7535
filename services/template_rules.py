"""What a prompt template may hold: a subset of Jinja2 whose rendering is bounded and cannot fail.

A sandbox alone does not keep an admin's template from filling the memory (`'a' * 10**9`) or from running for ever
(loops in loops). So there is nothing here that repeats or multiplies, and every value's kind and greatest length are
worked out from the template's tree before it is rendered for the first time.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

from jinja2 import nodes

MOST_FAULTS = 10
_MOST_CHARACTERS = 400_000
"""That a rendering may handle, in and between all values: four times the longest prompt."""
_MOST_NODES = 2_000
_DEEPEST = 30
_GROWTH = 3
"""Letters that become several in capitals: U+0390 is three then."""
_NUMBER_LENGTH = 24
_DATE_LENGTH = 10
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}\Z", re.ASCII)
_DATE_FORMAT = re.compile(r"(?:[^%]|%[aAbBdGjmuVyY%])*\Z")
_STATEMENTS = {
    "AssignBlock": "set ... endset",
    "CallBlock": "call",
    "FilterBlock": "filter",
    "FromImport": "from",
    "ScopedEvalContextModifier": "autoescape",
}


class Kind(Enum):
    """What a value is, as far as it matters for what may be done with it."""

    TEXT = auto()
    NUMBER = auto()
    DATE = auto()
    OTHER = auto()


@dataclass(frozen=True)
class Value:
    """What is known of a value before it is there: its kind, and how many characters it has as text at most."""

    kind: Kind
    longest: int


VALUES = {
    "username": Value(Kind.TEXT, 100),
    "channel": Value(Kind.TEXT, 64),
    "today": Value(Kind.DATE, _DATE_LENGTH),
    "assistant": Value(Kind.TEXT, 200),
}
TEXT_FILTERS = frozenset({"upper", "lower", "title", "capitalize", "trim"})


class _Refused(Exception):
    """One thing that a template may not hold."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.fault = f"line {line}: {reason}"


class _Exhausted(_Refused):
    """The template as a whole is too much: looking on would be too."""


def faults_of(tree: nodes.Template) -> Sequence[str]:
    """Return what is wrong with a parsed template, `line 3: ...`, up to `MOST_FAULTS` of them; none if it is fine."""
    inspection = _Inspection()
    try:
        inspection.body(tree.body)
    except _Exhausted as exhausted:
        inspection.faults.append(exhausted.fault)
    return inspection.faults[:MOST_FAULTS]


class _Inspection:
    """One walk through a template, in the order in which it is rendered."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._names = dict(VALUES)
        self._characters = self._nodes = self._depth = 0

    def body(self, statements: Sequence[nodes.Node]) -> None:
        """Look at statements one after the other."""
        for statement in statements:
            self._noting(self._statement, statement)

    def _noting(self, look: Callable[[nodes.Node], object], node: nodes.Node) -> None:
        """Note what is refused and go on behind it."""
        try:
            look(node)
        except _Exhausted:
            raise
        except _Refused as refused:
            self.faults.append(refused.fault)

    def _statement(self, node: nodes.Node) -> None:
        with self._inside(node):
            match node:
                case nodes.Output(nodes=parts):
                    for part in parts:
                        self._noting(self._output, part)
                case nodes.If():
                    self._if(node)
                case nodes.Assign(target=nodes.Name(name=name), node=expression) if _NAME.match(name):
                    known = Value(Kind.OTHER, 0)
                    try:
                        known = self._value(expression)
                    finally:  # a name whose value is refused is there all the same: one fault is named once
                        self._names[name] = known
                case nodes.Assign():
                    raise _Refused(node.lineno, "{% set %} takes one name of the letters a to z, digits and _")
                case _:
                    word = _STATEMENTS.get(type(node).__name__, type(node).__name__.lower())
                    raise _Refused(node.lineno, f"{{% {word} %}} is not allowed, only if, set and raw")

    def _output(self, part: nodes.Node) -> None:
        if isinstance(part, nodes.TemplateData):
            self._count(part, len(part.data))
        else:
            self._value(part)

    def _if(self, node: nodes.If) -> None:
        for one in (node, *node.elif_):
            self._noting(self._value, one.test)
        before, ends = self._names, []
        for branch in (node.body, *(one.body for one in node.elif_), node.else_):
            self._names = dict(before)
            self.body(branch)
            ends.append(self._names)
        # A name that only some branches set may be missing afterwards.
        names = set.intersection(*(set(end) for end in ends))
        self._names = {name: _either(*(end[name] for end in ends)) for name in names}

    def _value(self, node: nodes.Node) -> Value:
        """Return what is known of an expression's value."""
        with self._inside(node):
            value = self._plain(node) or self._combined(node)
            self._count(node, value.longest)
            return value

    def _plain(self, node: nodes.Node) -> Value | None:
        match node:
            case nodes.Const(value=float(number)) if not math.isfinite(number):
                raise _Refused(node.lineno, "a number is too large")
            case nodes.Const(value=constant):
                return _constant(constant)
            case nodes.Name(name=name):
                if name in self._names:
                    return self._names[name]
                known = ", ".join(VALUES)
                raise _Refused(node.lineno, f"there is no value {name[:50]!r}, only {known} and what was {{% set %}}")
            case nodes.Getattr(node=nodes.Name(name="today"), attr="year" | "month" | "day") if (
                self._names["today"].kind is Kind.DATE
            ):
                return Value(Kind.NUMBER, 4)
        return None

    def _combined(self, node: nodes.Node) -> Value:
        match node:
            case nodes.Filter():
                return self._filtered(node)
            case nodes.Compare():
                return self._compared(node)
            case nodes.Concat(nodes=parts):
                return Value(Kind.TEXT, sum(self._value(part).longest for part in parts))
            case nodes.And(left=left, right=right) | nodes.Or(left=left, right=right):
                return _either(self._value(left), self._value(right))
            case nodes.CondExpr(test=test, expr1=one, expr2=nodes.Node() as other):
                self._value(test)
                return _either(self._value(one), self._value(other))
            case nodes.Not(node=inner):
                self._value(inner)
                return Value(Kind.OTHER, 5)
        raise _Refused(node.lineno, _advice(node))

    def _filtered(self, node: nodes.Filter) -> Value:
        if node.node is None or node.kwargs or node.dyn_args or node.dyn_kwargs:
            raise _Refused(node.lineno, "a filter takes plain arguments only, such as default('friend')")
        value = self._value(node.node)
        match node.name, node.args:
            case name, [] if name in TEXT_FILTERS:
                return Value(Kind.TEXT, _GROWTH * value.longest)
            case "length", [] if value.kind is Kind.TEXT:
                return Value(Kind.NUMBER, _NUMBER_LENGTH)
            case "default" | "d", [other] | [other, nodes.Const()]:
                return _either(value, self._value(other))
            case "date", [nodes.Const(value=str(text))] if value.kind is Kind.DATE and is_date_format(text):
                return Value(Kind.TEXT, _DATE_LENGTH * len(text))
            case "date", _:
                raise _Refused(node.lineno, "`date` is written today|date('%d/%m/%Y'), with %a %A %b %B %d %G %j %m "
                               "%u %V %y %Y %% and other text")  # fmt: skip
        filters = ", ".join(sorted(TEXT_FILTERS))
        raise _Refused(node.lineno, f"the filters are {filters}, default('text'), date('%d/%m/%Y') and, of a text, "
                       f"length; not {node.name[:50]!r} like this")  # fmt: skip

    def _compared(self, node: nodes.Compare) -> Value:
        left = self._value(node.expr)
        for operand in node.ops:
            if operand.op in ("in", "notin") and isinstance(operand.expr, nodes.Tuple | nodes.List):
                kinds = {self._value(item).kind for item in operand.expr.items}
                comparable = kinds <= {left.kind, Kind.OTHER} or left.kind is Kind.OTHER
            else:
                right = self._value(operand.expr)
                comparable = _can_compare(operand.op, left.kind, right.kind)
                left = right
            if not comparable:
                raise _Refused(node.lineno, "these two cannot be compared: make both texts, as in "
                               "today|date('%m-%d') == '12-25', or both numbers")  # fmt: skip
        return Value(Kind.OTHER, 5)

    @contextmanager
    def _inside(self, node: nodes.Node) -> Iterator[None]:
        """Count a node, and how deep it lies."""
        self._nodes += 1
        self._depth += 1
        if self._nodes > _MOST_NODES or self._depth > _DEEPEST:
            raise _Exhausted(node.lineno, "there is too much of it up to here: use fewer or less nested expressions")
        try:
            yield
        finally:
            self._depth -= 1

    def _count(self, node: nodes.Node, characters: int) -> None:
        self._characters += characters
        if self._characters > _MOST_CHARACTERS:
            raise _Exhausted(node.lineno, f"more than {_MOST_CHARACTERS} characters could come out up to here")


def is_date_format(text: str) -> bool:
    """Tell whether a text is a format of dates in which every part's length is known."""
    return _DATE_FORMAT.match(text) is not None


def _either(*values: Value) -> Value:
    kinds = {value.kind for value in values}
    return Value(kinds.pop() if len(kinds) == 1 else Kind.OTHER, max(value.longest for value in values))


def _constant(constant: object) -> Value:
    if isinstance(constant, str):
        return Value(Kind.TEXT, len(constant))
    is_number = isinstance(constant, int | float) and not isinstance(constant, bool)
    return Value(Kind.NUMBER if is_number else Kind.OTHER, len(str(constant)))


def _can_compare(operator: str, left: Kind, right: Kind) -> bool:
    """Tell whether two kinds can be compared at all, and not always with the same result."""
    match operator:
        case "eq" | "ne":
            return left is right or Kind.OTHER in (left, right)
        case "in" | "notin":
            return left is right is Kind.TEXT
        case _:
            return left is right is not Kind.OTHER


def _advice(node: nodes.Node) -> str:
    match node:
        case nodes.Call():
            return "nothing can be called; a date is written as today|date('%d/%m/%Y')"
        case nodes.Getattr() | nodes.Getitem():
            return "of the values only today.year, today.month and today.day have parts"
        case nodes.Test():
            return "tests with `is` are not allowed: a value that is absent is empty, so write {% if username %}"
        case nodes.CondExpr():
            return "an `if` within an expression needs an `else`, such as else ''"
        case nodes.BinExpr() | nodes.UnaryExpr():
            return "there is no arithmetic; texts are joined with ~"
        case _:
            return "this expression is not allowed"
