"""What can happen to a request to our fake of OpenAI, and what a test can see and set of a running one."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.emulators.provider_account import Account


class Moment(Enum):
    """When a rule is asked."""

    BEFORE = "before the request is executed; a fault keeps it from being"
    AFTER = "after it was executed"


class Action(Enum):
    """Faults without more to say."""

    HANG = "say nothing until the client leaves, or for `hang_seconds`"
    DROP = "abort the connection"
    CUT = "close the connection within the reply"


@dataclass(frozen=True)
class Status:
    """An error in place of the reply.

    Attributes:
        retry_after: seconds, for a header; None for none.
    """

    code: int
    retry_after: float | None = None


Fault = Action | Status
HANG, DROP, CUT = Action.HANG, Action.DROP, Action.CUT


@dataclass
class Asked:
    """A request, and what became of it.

    Attributes:
        number: the order of arrival, from 0.
        names: the ids in its path, such as `{"file": "file-..."}`.
        body: parsed JSON, the fields of a form (bytes for a file), or None.
        executed: whether it changed what it was to change.
        status: of the reply, 0 until there was one.
        fault: what happened to it instead.
    """

    number: int
    operation: str
    names: dict[str, str]
    query: dict[str, str]
    body: Any
    executed: bool = False
    status: int = 0
    fault: Fault | None = None


FaultRule = Callable[[Moment, Asked], Fault | None]


def no_faults(moment: Moment, asked: Asked) -> Fault | None:
    """Let everything happen as it should."""
    return None


@dataclass
class FakeProvider:
    """A running fake.

    Attributes:
        rule: may be exchanged at any time.
        journal: every request so far.
        thinking_seconds: how long a model waits before it searches and answers.
        word_seconds: how long it waits between the pieces of an answer.
        hang_seconds: how long `HANG` lasts at most; then the connection is aborted.
    """

    url: str
    rule: FaultRule = no_faults
    account: Account = field(default_factory=Account)
    journal: list[Asked] = field(default_factory=list)
    thinking_seconds: float = 0.0
    word_seconds: float = 0.0
    hang_seconds: float = math.inf
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def base_url(self) -> str:
        """Return the address for `openai.OpenAI(base_url=...)`."""
        return f"{self.url}/v1"

    def asked(self, operation: str) -> list[Asked]:
        """Return the requests of an operation so far."""
        return [one for one in list(self.journal) if one.operation == operation]
