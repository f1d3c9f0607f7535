"""Looking at an assistant's tools: what each of its sources offers now, or why it offers nothing."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, OrquestraError
from models.tools import SourceKind, ToolSource, ToolSpec
from models.users import Principal
from services.ownership import Ownership
from services.ports import AssistantRepository, ToolHost
from services.tools.builtin import BUILTIN_TOOLS
from services.tools.sources import ToolSources

_SECONDS = 15.0


@dataclass(frozen=True)
class InspectedTool:
    """A tool as its server describes it, and whether answers may use it."""

    spec: ToolSpec
    allowed: bool


@dataclass(frozen=True)
class InspectedSource:
    """What a source offers.

    Attributes:
        reason: why it could not be asked, and what to do about it; None where it could.
    """

    name: str
    kind: SourceKind
    tools: tuple[InspectedTool, ...] = ()
    reason: str | None = None


class ToolInspection:
    """Ask the sources of an assistant's tools what they offer.

    Args:
        seconds: how long all of them have, together.
    """

    def __init__(
        self, assistants: AssistantRepository, sources: ToolSources, host: ToolHost, *, seconds: float = _SECONDS
    ) -> None:
        self._ownership = Ownership(assistants)
        self._sources = sources
        self._host = host
        self._seconds = seconds

    def inspect(self, caller: Principal, assistant_id: str, deadline: Deadline) -> Sequence[InspectedSource]:
        """Return what each source offers, in the assistant's order; they are asked at the same time.

        Raises:
            NotFound: there is no such assistant, or it is somebody else's.
            CallCancelled: the deadline was cancelled.
        """
        tools = self._ownership.assistant(caller, assistant_id).tools
        if not tools:
            return []
        bounded = deadline.child(self._seconds)
        with ThreadPoolExecutor(len(tools), "tools") as pool:
            return list(pool.map(lambda source: self._inspected(source, bounded), tools))

    def _inspected(self, source: ToolSource, deadline: Deadline) -> InspectedSource:
        try:
            specs = self._offered(source, deadline)
        except CallCancelled:
            raise
        except DeadlineExceeded:
            reason = f"The server did not answer within {deadline.seconds:.2g} s. Look whether it runs, then try again."
            return InspectedSource(source.name, source.kind, reason=reason)
        except OrquestraError as error:
            return InspectedSource(source.name, source.kind, reason=error.detail)
        allowed = source.allowed_tools
        tools = tuple(InspectedTool(spec, allowed is None or spec.name in allowed) for spec in specs)
        return InspectedSource(source.name, source.kind, tools)

    def _offered(self, source: ToolSource, deadline: Deadline) -> tuple[ToolSpec, ...]:
        if source.kind is not SourceKind.BUILTIN:
            return tuple(self._host.tools(self._sources.resolve(source), deadline))
        return tuple(spec for name, spec in BUILTIN_TOOLS.items() if name == source.name)
