"""Importing tools: the MCP servers of a file that another program keeps become sources of an assistant's tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from models.errors import Invalid
from models.tools import SourceKind, ToolServer, ToolSource, Transport
from models.users import Principal
from services.assistants import AssistantService
from services.ports import ToolServerCatalog
from services.tools.mcp_json import McpEntry, McpRemark, read_mcp_json
from services.tools.source_rules import MOST_SOURCES
from services.tools.sources import ToolSources, hidden

_NOT_ALLOWED = (
    "It is a program (stdio). The operator of this server must allow it in MCP_SERVERS_FILE, under the same name, with "
    "the same command and args."
)
_TAKEN = "The assistant has a source of this name that is not of type {}. Rename one of them."


@dataclass
class ToolImportReport:
    """What became of the servers of a file, by name.

    Attributes:
        skipped: those that were not taken, with the reasons.
    """

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: list[McpRemark] = field(default_factory=list)


class ToolImport:
    """Import the servers of files as `services/tools/mcp_json.py` reads them."""

    def __init__(self, assistants: AssistantService, sources: ToolSources, catalog: ToolServerCatalog) -> None:
        self._assistants = assistants
        self._sources = sources
        self._catalog = catalog

    def take(self, caller: Principal, assistant_id: str, text: str) -> ToolImportReport:
        """Take the servers of a file's text into an assistant.

        Its other sources stay, and of those that the file names, what the file does not say. A second time changes
        nothing.

        Raises:
            NotFound: there is no such assistant, or it is somebody else's.
            Invalid: code `mcp_file_unreadable`, the text is no such file; or there would be too many sources.
        """
        stored = {source.name: source for source in self._assistants.get(caller, assistant_id).tools}
        file = read_mcp_json(text)
        if file.faults and not file.faults[0].name:
            raise Invalid(f"The file cannot be read. {file.faults[0].reason}", code="mcp_file_unreadable")
        report = ToolImportReport(skipped=[*file.skipped, *file.faults])
        wanted = {name: hidden(source) for name, source in stored.items()}
        taken = []
        for entry in file.entries:
            try:
                wanted[entry.server.name] = self._source(entry, stored)
                taken.append(entry.server.name)
            except ValueError as error:
                report.skipped.append(McpRemark(entry.server.name, str(error)))
        if len(wanted) > MOST_SOURCES:
            raise Invalid(f"An assistant has at most {MOST_SOURCES} sources of tools; it would have {len(wanted)}.")
        after = {source.name: source for source in self._sources.sealed(tuple(wanted.values()), tuple(stored.values()))}
        if after != stored:
            self._assistants.update(caller, assistant_id, {"tools": tuple(wanted.values())})
        for name in taken:
            fate = report.added if name not in stored else report.replaced
            (report.unchanged if stored.get(name) == after[name] else fate).append(name)
        return report

    def _source(self, entry: McpEntry, stored: Mapping[str, ToolSource]) -> ToolSource:
        """Return what an entry becomes, its headers in clear.

        Raises:
            ValueError: it cannot be taken; why, for the file's owner.
        """
        server = entry.server
        program = server.transport is Transport.STDIO
        if program and not self._allows(server):
            raise ValueError(_NOT_ALLOWED)
        kind = SourceKind.SHARED if program else SourceKind.MCP
        source = stored.get(server.name, ToolSource(server.name, kind))
        if source.kind is not kind:
            raise ValueError(_TAKEN.format(kind))
        if not program:
            source = replace(source, transport=server.transport, url=server.url, headers=server.headers)
        return source if entry.timeout_seconds is None else replace(source, timeout_seconds=entry.timeout_seconds)

    def _allows(self, server: ToolServer) -> bool:
        """Tell whether the operator allows this very program under this name."""
        known = self._catalog.find(server.name)
        return known is not None and (known.transport, known.command, known.args) == (
            server.transport, server.command, server.args,
        )  # fmt: skip
