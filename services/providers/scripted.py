"""A language model that does what a test tells it to; part of the product so that users can test against it too."""

import threading
from collections.abc import Callable, Generator, Iterable

from models.answers import ModelEvent, ModelRequest, TextDelta
from models.deadline import Deadline

Item = ModelEvent | str | BaseException | threading.Event
"""An event to yield, text to yield as one, an error to raise, or an event of threading to wait for."""

Step = Iterable[Item] | BaseException | Callable[[ModelRequest, Deadline], Iterable[Item]]
"""What one call does: several items, one error, or whatever a function returns for the request."""

_GLANCE_SECONDS = 0.01


class ScriptedModel:
    """Answer each call with the next step.

    Args:
        steps: one for each call, in order.

    Attributes:
        requests: what the calls asked, in order.
    """

    provider = "scripted"
    model = "scripted"
    hosts_memory = False
    calls_tools = True

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self.requests: list[ModelRequest] = []
        self._steps = list(steps)
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """Return how many calls there were."""
        return len(self.requests)

    def add(self, step: Step) -> None:
        """Plan one more call."""
        with self._lock:
            self._steps.append(step)

    def stream(self, request: ModelRequest, deadline: Deadline) -> Generator[ModelEvent, None, None]:
        """Yield what the next step says.

        Raises:
            AssertionError: nothing is planned for this call.
        """
        with self._lock:
            self.requests.append(request)
            if len(self.requests) > len(self._steps):
                raise AssertionError(f"call {len(self.requests)} was not planned: {request.question!r}")
            step = self._steps[len(self.requests) - 1]
        return _play(step, request, deadline)


def _play(step: Step, request: ModelRequest, deadline: Deadline) -> Generator[ModelEvent, None, None]:
    if callable(step):
        step = step(request, deadline)
    for item in [step] if isinstance(step, BaseException) else step:
        deadline.check()
        if isinstance(item, BaseException):
            raise item
        if isinstance(item, threading.Event):
            _wait(item, deadline)
        else:
            yield TextDelta(item) if isinstance(item, str) else item


def _wait(event: threading.Event, deadline: Deadline) -> None:
    while not event.wait(_GLANCE_SECONDS):
        deadline.check()
