"""Assistants' tools and routing on each store: kept, imported, looked at."""

import dataclasses
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from models.assistants import Assistant
from models.deadline import Deadline
from models.errors import CallCancelled, Invalid, NotFound
from models.ids import new_id
from models.routing import FillerUse, Routing, RoutingMode
from models.tools import SourceKind, ToolServer, ToolSource, ToolSpec, Transport
from models.users import Principal, Role
from repositories.codec import ASSISTANTS
from services.api_keys import ApiKeys
from services.assistants import AssistantService
from services.importing.tools import ToolImport, ToolImportReport
from services.sealing import Sealer
from services.tools.inspection import InspectedSource, ToolInspection
from services.tools.mcp_json import McpRemark
from services.tools.sources import SEALING_PURPOSE, ToolSources, hidden
from services.webhook_secrets import WebhookSecrets
from tests.contract.house import ADMIN
from tests.contract.stores import Stores, make_assistant
from tests.contract.tool_servers import ToolServers, spec

DESK = ToolServer("support_desk", Transport.STDIO, command="python", args=("server.py",), trusted=True)
TIME = ToolSource(
    "time", SourceKind.MCP, Transport.SSE, "https://time.example.com/sse", (("Authorization", "Bearer secret"),),
    allowed_tools=("now",), timeout_seconds=10.0, timeouts=(("now", 60.0),),
)  # fmt: skip
SHARED = ToolSource("support_desk", SourceKind.SHARED)
CLOCK = ToolSource("current_time", SourceKind.BUILTIN)
ROUTING = Routing(RoutingMode.ROUTE, "small", None, "large", None, {"chat": "Be kind."}, FillerUse.EVENTS)
FILE = {
    "time": {"transport": "sse", "url": TIME.url, "headers": {"Authorization": "Bearer secret"}},
    "desk": {"transport": "streamable_http", "url": "https://desk.example.com/mcp", "sse_read_timeout": 60},
    "support_desk": {"transport": "stdio", "command": "python", "args": ["server.py"]},
    "calculator": {"transport": "stdio", "command": "python", "args": ["calculator.py"]},
    "socket": {"transport": "websocket", "url": "ws://socket.example.com"},
}


class Catalog:
    """Implement `ToolServerCatalog` with the support desk."""

    def names(self) -> Sequence[str]:
        """Return its name."""
        return (DESK.name,)

    def find(self, name: str) -> ToolServer | None:
        """Return it."""
        return DESK if name == DESK.name else None


@dataclass
class Office:
    """An assistant, and one server's services for it over a store."""

    stores: Stores
    assistant: Assistant
    assistants: AssistantService
    sources: ToolSources
    imports: ToolImport
    host: ToolServers

    def set(self, *tools: ToolSource) -> Assistant:
        """Set the assistant's tools."""
        return self.assistants.update(ADMIN, self.assistant.id, {"tools": tools})

    def stored(self) -> Assistant:
        """Return the assistant as another server reads it."""
        found = self.stores.assistants.get(self.assistant.id)
        assert found is not None
        return found

    def take(self, file: object = FILE, caller: Principal = ADMIN) -> ToolImportReport:
        """Import a file."""
        return self.imports.take(caller, self.assistant.id, json.dumps(file))

    def inspect(self, deadline: Deadline | None = None, seconds: float = 5.0) -> Sequence[InspectedSource]:
        """Look at the tools."""
        inspection = ToolInspection(self.stores.assistants, self.sources, self.host, seconds=seconds)
        return inspection.inspect(ADMIN, self.assistant.id, deadline or Deadline(5))


@pytest.fixture
def office(stores: Stores) -> Office:
    """Give an office with an assistant without tools."""
    assistant = make_assistant()
    stores.assistants.add(assistant)
    nothing, catalog = cast(Any, None), Catalog()
    sources = ToolSources(Sealer("secret", SEALING_PURPOSE), catalog)
    keys, webhooks = ApiKeys("secret"), WebhookSecrets("secret")
    assistants = AssistantService(
        stores.assistants, stores.users, nothing, keys, webhooks, sources, nothing, frozenset(), 0
    )
    imports = ToolImport(assistants, sources, catalog)
    return Office(stores, assistant, assistants, sources, imports, ToolServers())


def test_tools_and_routing_come_back_as_they_were_set(office: Office) -> None:
    office.assistants.update(ADMIN, office.assistant.id, {"tools": (TIME, SHARED, CLOCK), "routing": ROUTING})
    stored = office.stored()
    assert (stored.routing, stored.tools[1:]) == (ROUTING, (SHARED, CLOCK))
    assert replace(stored.tools[0], headers=()) == replace(TIME, headers=())
    assert office.sources.resolve(stored.tools[0]).headers == TIME.headers
    assert "Bearer" not in str(dataclasses.asdict(stored))


def test_what_is_sent_back_as_it_is_shown_changes_nothing_but_the_version(office: Office) -> None:
    before = office.set(TIME, SHARED)
    after = office.set(*(hidden(source) for source in before.tools))
    assert (after.tools, after.version) == (before.tools, before.version + 1)


def test_a_refused_change_changes_nothing(office: Office) -> None:
    before = office.set(TIME)
    with pytest.raises(Invalid):
        office.set(hidden(replace(TIME, url="https://thief.example.com")))
    assert office.stored() == before


def test_another_change_leaves_tools_and_routing(office: Office) -> None:
    office.assistants.update(ADMIN, office.assistant.id, {"tools": (TIME,), "routing": ROUTING})
    before = office.stored()
    after = office.assistants.update(ADMIN, office.assistant.id, {"name": "Other"})
    assert (after.tools, after.routing) == (before.tools, ROUTING)
    assert office.assistants.update(ADMIN, office.assistant.id, {"routing": None}).routing is None
    assert office.set().tools == ()


def test_assistants_of_before_load_without_tools() -> None:
    fields = ASSISTANTS.plain(make_assistant())
    del fields["tools"], fields["routing"]
    loaded = ASSISTANTS.item(fields)
    assert (loaded.tools, loaded.routing) == ((), None)


def test_a_file_is_imported_and_a_second_time_changes_nothing(office: Office) -> None:
    office.set(CLOCK)
    first = office.take()
    assert (first.added, first.replaced, first.unchanged) == (["time", "desk", "support_desk"], [], [])
    reasons = {remark.name: remark.reason.split(" ")[0] for remark in first.skipped}
    assert reasons == {"calculator": "It", "socket": "MCP"}
    stored = office.stored()
    assert [(one.name, one.kind) for one in stored.tools] == [
        ("current_time", SourceKind.BUILTIN),
        ("time", SourceKind.MCP),
        ("desk", SourceKind.MCP),
        ("support_desk", SourceKind.SHARED),
    ]
    assert office.sources.resolve(stored.tools[1]).headers == TIME.headers
    assert [one.timeout_seconds for one in stored.tools] == [30, 30, 60, 30]
    again = office.take()
    assert (again.added, again.replaced) == ([], [])
    assert again.unchanged == ["time", "desk", "support_desk"]
    assert office.stored() == stored


def test_what_a_file_does_not_say_stays(office: Office) -> None:
    other = office.set(TIME, replace(TIME, name="other"), CLOCK).tools[1:]
    assert office.take({"time": {"url": TIME.url, "headers": dict(TIME.headers)}}).unchanged == ["time"]
    report = office.take({"mcpServers": {"time": {"type": "http", "url": "https://time.example.com/mcp"}}})
    assert (report.added, report.replaced, report.unchanged, report.skipped) == ([], ["time"], [], [])
    moved = office.stored().tools[0]
    assert (moved.transport, moved.url, moved.headers) == (
        Transport.STREAMABLE_HTTP, "https://time.example.com/mcp", (),
    )  # fmt: skip
    assert (moved.allowed_tools, moved.timeout_seconds, moved.timeouts) == (("now",), 10.0, (("now", 60.0),))
    assert office.stored().tools[1:] == other


@pytest.mark.parametrize(
    "program",
    [
        {"command": "python", "args": ["other.py"]},
        {"command": "bash", "args": ["server.py"]},
        {"command": "python", "args": ["server.py", "--all"]},
    ],
)
def test_only_programs_that_the_operator_allows_are_taken(office: Office, program: dict[str, object]) -> None:
    report = office.take({"support_desk": program})
    assert office.stored().tools == ()
    (remark,) = report.skipped
    assert (remark.name, "MCP_SERVERS_FILE" in remark.reason) == ("support_desk", True)


def test_a_source_of_another_type_is_not_replaced(office: Office) -> None:
    office.set(CLOCK)
    report = office.take({"current_time": {"url": "https://clock.example.com/sse"}})
    assert report.skipped == [
        McpRemark(
            "current_time", "The assistant has a source of this name that is not of type mcp. Rename one of them."
        )
    ]
    assert office.stored().tools == (CLOCK,)


def test_a_file_that_cannot_be_taken_changes_nothing(office: Office) -> None:
    before = office.set(CLOCK)
    many = {f"s{number}": {"url": "https://a.example.com/sse"} for number in range(20)}
    with pytest.raises(Invalid, match="at most 20"):
        office.take(many)
    with pytest.raises(Invalid) as unreadable:
        office.imports.take(ADMIN, office.assistant.id, '{"a": ')
    assert unreadable.value.code == "mcp_file_unreadable"
    with pytest.raises(NotFound):
        office.take(caller=Principal(new_id(), Role.USER))
    assert office.stored() == before


def test_looking_at_tools_tells_what_each_source_offers(office: Office) -> None:
    office.host.offer(spec("now"), lambda arguments, deadline: "", "time")
    office.host.offer(spec("later", "when"), lambda arguments, deadline: "", "time")
    office.set(TIME, SHARED, CLOCK)
    time, desk, clock = office.inspect()
    assert (time.name, time.kind, time.reason) == ("time", SourceKind.MCP, None)
    assert [(tool.spec.name, tool.allowed) for tool in time.tools] == [("now", True), ("later", False)]
    assert time.tools[1].spec.parameters["required"] == ["when"]
    assert (desk.tools, desk.reason) == ((), "The server of tools cannot be reached.")
    assert [(tool.spec.name, tool.allowed) for tool in clock.tools] == [("current_time", True)]
    assert office.inspect() == [time, desk, clock]


def test_nothing_is_asked_for_an_assistant_without_tools_or_of_somebody_else(office: Office) -> None:
    assert office.inspect() == []
    office.set(TIME)
    inspection = ToolInspection(office.stores.assistants, office.sources, office.host)
    with pytest.raises(NotFound):
        inspection.inspect(Principal(new_id(), Role.USER), office.assistant.id, Deadline(5))
    assert office.host.listed == []


def test_headers_that_cannot_be_read_any_more_are_a_reason(office: Office) -> None:
    office.set(TIME)
    office.sources = ToolSources(Sealer("another secret", SEALING_PURPOSE), Catalog())
    (found,) = office.inspect()
    assert found.reason is not None and "Enter their values again" in found.reason
    assert office.host.listed == []


@dataclass
class Slow(ToolServers):
    """Servers that all have to be asked before one of them answers, and one that never does."""

    together: threading.Barrier | None = None
    cancel: Deadline | None = None

    def tools(self, server: ToolServer, deadline: Deadline) -> Sequence[ToolSpec]:
        """Wait, then return nothing."""
        if self.cancel is not None:
            self.cancel.cancel()
        if self.together is not None:
            self.together.wait(30)
        if server.name in ("hangs", "time"):
            deadline.sleep(60)
        return ()


def test_sources_are_asked_at_the_same_time_and_not_for_ever(office: Office) -> None:
    names = ("a", "b", "hangs", "c")
    office.set(*(replace(TIME, name=name) for name in names))
    office.host = Slow(together=threading.Barrier(len(names)))
    found = {one.name: one.reason for one in office.inspect(seconds=2.0)}
    reason = "The server did not answer within 2 s. Look whether it runs, then try again."
    assert found == {"a": None, "b": None, "hangs": reason, "c": None}


def test_nobody_is_waited_for_once_the_caller_has_gone(office: Office) -> None:
    office.set(TIME)
    deadline = Deadline(60)
    office.host = Slow(cancel=deadline)
    with pytest.raises(CallCancelled):
        office.inspect(deadline, seconds=60)
