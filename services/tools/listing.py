"""What the sources of an assistant's tools offer at the moment."""

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from models.clock import now
from models.deadline import Deadline
from models.documents import ScoredPassage
from models.errors import DeadlineExceeded, OrquestraError, ProviderFailed
from models.tools import SourceKind, ToolOutput, ToolServer, ToolSource, ToolSpec
from services.drafts import Task
from services.inbox import Inbox
from services.patience import Patience
from services.ports import KnowledgeIndex, ToolHost
from services.tools.builtin import BUILTIN_TOOLS, CURRENT_TIME, SEARCH_DOCUMENTS, DocumentSearch, current_time
from services.tools.toolbox import Run, Tool, Toolbox, tools_of

logger = logging.getLogger("orquestra.tools")

_LISTING_SECONDS = 5.0
"""A server that does not say what it offers until then is left out of the answer."""
_HANGING_SECONDS = (5.0, 60.0)
"""For so long, and longer each time, nobody waits for a server that did not answer in time."""
_LOGGED_EVERY = 60.0

_NO_ANSWER = DeadlineExceeded("It did not say in time what it offers.")

Listed = tuple[ToolServer, Sequence[ToolSpec]]
Offered = Sequence[ToolSpec] | OrquestraError


class Toolboxes:
    """Put together the tools of each message.

    Args:
        resolve: returns the server of a source of the kind `mcp` or `shared`; raises `ProviderFailed` without one.
        index: where `search_documents` searches.
    """

    def __init__(self, host: ToolHost, resolve: Callable[[ToolSource], ToolServer], index: KnowledgeIndex) -> None:
        self._host = host
        self._resolve = resolve
        self._index = index
        self._hanging = Patience(*_HANGING_SECONDS)
        self._logged = Patience(_LOGGED_EVERY, _LOGGED_EVERY)
        self._lock = threading.Lock()

    def open(self, task: Task, passages: list[ScoredPassage], deadline: Deadline) -> Toolbox:
        """Return what a message's model may call; a server that does not answer is left out.

        Args:
            passages: what the model is given; what it searches for itself is added.

        Raises:
            DeadlineExceeded, CallCancelled: as `Deadline.check`.
        """
        sources, given = task.assistant.tools, task.given
        listed = self._listed([one for one in sources if one.kind is not SourceKind.BUILTIN], deadline)
        tools: list[Tool] = []
        for source in sources:
            if source.kind is SourceKind.BUILTIN and source.name in BUILTIN_TOOLS:
                run = _builtin(source.name, DocumentSearch(self._index, task.assistant, passages))
                tools += tools_of(source, [BUILTIN_TOOLS[source.name]], partial(_always, run), "")
            elif source.name in listed:
                server, specs = listed[source.name]
                tools += tools_of(source, specs, partial(self._remote, server), given.device_id)
        return Toolbox(tools, given.tools)

    def _listed(self, sources: Sequence[ToolSource], deadline: Deadline) -> Mapping[str, Listed]:
        """Return what the servers offer, by source; they are asked at the same time."""
        servers = self._servers(sources)
        bounded = deadline.child(_LISTING_SECONDS)
        inbox: Inbox[tuple[str, Offered]] = Inbox(bounded)
        asking = [partial(self._ask, name, server, bounded, inbox) for name, server in servers.items()]
        for ask in asking[1:]:
            threading.Thread(target=ask, name="tools", daemon=True).start()
        for ask in asking[:1]:  # mostly the only one: what it offers is known, and a thread would cost more
            ask()
        offered: dict[str, Offered] = {}
        with contextlib.suppress(DeadlineExceeded):
            while len(offered) < len(servers):
                name, found = inbox.next()
                offered[name] = found
        deadline.check()
        for name in servers:
            if isinstance(failure := offered.get(name, _NO_ANSWER), OrquestraError):
                self._note(name, servers[name], failure)
        return {name: (servers[name], one) for name, one in offered.items() if not isinstance(one, OrquestraError)}

    def _servers(self, sources: Sequence[ToolSource]) -> dict[str, ToolServer]:
        """Return the servers to ask, by source: not those that kept everybody waiting a moment ago."""
        servers: dict[str, ToolServer] = {}
        for source in sources:
            try:
                server = self._resolve(source)
            except ProviderFailed as error:
                self._note(source.name, source, error)
                continue
            with self._lock:
                if self._hanging.is_due(server):
                    servers[source.name] = server
        return servers

    def _ask(self, name: str, server: ToolServer, deadline: Deadline, inbox: Inbox[tuple[str, Offered]]) -> None:
        offered: Offered = OrquestraError("The server failed. Its log says why.")
        try:
            offered = self._host.tools(server, deadline)
        except OrquestraError as error:
            offered = error
        finally:
            inbox.put((name, offered))

    def _note(self, name: str, server: ToolServer | ToolSource, failure: OrquestraError) -> None:
        with self._lock:
            if isinstance(failure, DeadlineExceeded):
                self._hanging.tried(server)
            if not self._logged.is_due(server):
                return
            self._logged.tried(server)
        logger.warning("a server of tools is left out of answers", extra={"tools": name, "code": failure.code})

    def _remote(self, server: ToolServer, name: str, seconds: float) -> Run:
        def run(arguments: Mapping[str, Any], deadline: Deadline) -> ToolOutput:
            return self._host.call(server, name, arguments, seconds, deadline)

        return run


def _always(run: Run, _name: str, _seconds: float) -> Run:
    return run


def _builtin(name: str, search: DocumentSearch) -> Run:
    runs: dict[str, Run] = {
        CURRENT_TIME: lambda arguments, _deadline: current_time(arguments, now()),
        SEARCH_DOCUMENTS: lambda arguments, _deadline: search(arguments),
    }
    return runs[name]
