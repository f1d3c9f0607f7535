"""The calls of one step, made at the same time, and what is kept of them."""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from models.answers import Filler, ToolProgress, ToolStatus
from models.clock import now
from models.deadline import Deadline
from models.errors import DeadlineExceeded, OrquestraError
from models.tools import ToolCall, ToolOutput, ToolUse
from services.characters import whole
from services.drafts import Draft, ms_since
from services.filler import Talk
from services.inbox import Inbox
from services.tools.arguments import BadArguments, read_arguments
from services.tools.toolbox import Tool, Toolbox

logger = logging.getLogger("orquestra.tools")

_MOST_CALLS = 16
"""That are made of those that a model asks for at once."""
_MOST_REPEATED = 2
_GRACE_SECONDS = 1.0
"""What ends calls by itself has so much longer than the tool, and says more about it."""
_LONGEST_KEPT = 8_000
"""Characters of arguments and of output that are stored; the model is told the whole output."""

_STOPPED = ToolOutput("It was stopped: the answer's time was up, or nobody waited any more.", failed=True)


@dataclass(frozen=True)
class Ended:
    """A call of this step has ended.

    Attributes:
        number: its place among the calls of the step.
    """

    number: int
    output: ToolOutput


@dataclass(frozen=True)
class _Running:
    call: ToolCall
    tool: Tool
    started_at: datetime = field(default_factory=now)
    began: float = field(default_factory=time.monotonic)


class Runner:
    """Make the calls of one answer's tools, step after step.

    Args:
        draft: keeps each call that was made, or refused.
        talk: begins with the first of them.
        inbox: takes what becomes of them.
    """

    def __init__(self, toolbox: Toolbox, draft: Draft, talk: Talk, inbox: Inbox[Any], deadline: Deadline) -> None:
        self._toolbox = toolbox
        self._draft = draft
        self._talk = talk
        self._inbox = inbox
        self._deadline = deadline
        self._made: Counter[tuple[str, str]] = Counter()

    def make(self, calls: Sequence[ToolCall]) -> Generator[ToolProgress | Filler, None, list[str]]:
        """Make calls and return what each gave, in their order; what cannot be called gives the reason.

        Whoever stops it, or cancels the deadline, leaves none of them running.

        Raises:
            DeadlineExceeded, CallCancelled: as `Deadline.check`.
        """
        running, outputs = self._begun(calls)
        try:
            for one in running.values():
                yield ToolProgress(one.tool.spec.name, ToolStatus.RUNNING)
            while running:
                item = self._inbox.next()
                if isinstance(item, Ended):
                    ended = running.pop(item.number)
                    outputs[item.number] = item.output.text
                    self._keep(ended.call, item.output, ended)
                    yield ToolProgress(ended.tool.spec.name, _status(item.output))
                elif self._talk.is_heard:
                    yield item
        finally:
            for one in running.values():
                self._keep(one.call, _STOPPED, one)
        return [outputs[number] for number in range(len(calls))]

    def _begun(self, calls: Sequence[ToolCall]) -> tuple[dict[int, _Running], dict[int, str]]:
        """Begin the calls that can be made; return them, and what the others give, each by its place."""
        running: dict[int, _Running] = {}
        refused: dict[int, str] = {}
        for number, call in enumerate(calls):
            try:
                running[number] = self._started(number, call)
            except BadArguments as error:
                refused[number] = str(error)
                self._keep(call, ToolOutput(str(error), failed=True))
        if running:
            self._talk.begin(sorted({one.tool.spec.name for one in running.values()}))
        return running, refused

    def _started(self, number: int, call: ToolCall) -> _Running:
        """Begin a call.

        Raises:
            BadArguments: it is none that can be made.
        """
        tool = self._toolbox.find(call.name)
        if tool is None:
            names = ", ".join(self._toolbox.names) or "none"
            raise BadArguments(f"There is no tool {call.name[:100]!r}. The tools are: {names}.")
        if number >= _MOST_CALLS:
            raise BadArguments(f"That were too many calls at once. Ask for {_MOST_CALLS} at most.")
        arguments = read_arguments(call.arguments, tool.spec.parameters)
        key = call.name, json.dumps(arguments, sort_keys=True)
        if self._made[key] >= _MOST_REPEATED:
            raise BadArguments("This call was made before with the same arguments. Use what it gave, or do without.")
        self._made[key] += 1
        started = _Running(call, tool)
        threading.Thread(target=self._run, args=(number, tool, arguments), name="tool", daemon=True).start()
        return started

    def _run(self, number: int, tool: Tool, arguments: Mapping[str, Any]) -> None:
        output = ToolOutput("The tool failed.", failed=True)
        try:
            made = tool.call(arguments, self._deadline.child(tool.seconds + _GRACE_SECONDS))
            output = ToolOutput(whole(made.text), made.failed)
        except DeadlineExceeded:
            output = ToolOutput(f"The tool gave nothing within {tool.seconds:g} s.", failed=True)
        except OrquestraError as error:
            output = ToolOutput(f"The tool failed: {error.detail}", failed=True)
            if not self._deadline.cancelled:
                logger.warning("a tool failed", extra={"tools": tool.source, "code": error.code})
        finally:
            self._inbox.put(Ended(number, output))

    def _keep(self, call: ToolCall, output: ToolOutput, made: _Running | None = None) -> None:
        tool = self._toolbox.find(call.name)
        self._draft.tools.append(
            ToolUse(
                name=whole(call.name[:_LONGEST_KEPT]),
                source=tool.source if tool else "",
                arguments=whole(call.arguments[:_LONGEST_KEPT]),
                output=output.text[:_LONGEST_KEPT],
                failed=output.failed,
                started_at=made.started_at if made else now(),
                duration_ms=ms_since(made.began) if made else 0,
            )
        )


def _status(output: ToolOutput) -> ToolStatus:
    return ToolStatus.FAILED if output.failed else ToolStatus.DONE
