"""Where an assistant's tools come from: what its manager says of that is checked, kept, and made a connection of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from models.errors import Invalid, ProviderFailed
from models.tools import SourceKind, ToolServer, ToolSource, Transport
from services.ports import ToolServerCatalog
from services.sealing import Sealer
from services.tools.builtin import BUILTIN_TOOLS

UNCHANGED = "********"
"""What a header's value is shown as; sent back, it stands for the value that is kept."""

SEALING_PURPOSE = "orquestra tool headers"


def hidden(source: ToolSource) -> ToolSource:
    """Return a stored source with `UNCHANGED` for the value of each header."""
    return replace(source, headers=tuple((name, UNCHANGED) for name, _ in source.headers))


class ToolSources:
    """Keep the sources of assistants' tools, and tell where they lead.

    Args:
        sealer: of the values of headers.
        catalog: the servers that the operator of this server allows by name.
    """

    def __init__(self, sealer: Sealer, catalog: ToolServerCatalog) -> None:
        self._sealer = sealer
        self._catalog = catalog

    def sealed(self, sources: Sequence[ToolSource], stored: Sequence[ToolSource]) -> tuple[ToolSource, ...]:
        """Return sources as they are kept.

        Args:
            sources: with the values of their headers in clear; `UNCHANGED` stands for the stored value as long as
                name and URL are the stored ones.
            stored: what the assistant has now; what is among it already is not checked again.

        Raises:
            Invalid: a name that is not known here, or a header whose value has to be entered.
        """
        known = {(source.kind, source.name): source for source in stored}
        errors: dict[str, list[str]] = {}
        kept = []
        for number, source in enumerate(sources):
            before = known.get((source.kind, source.name))
            if before is None and (fault := self._fault_of_name(source)):
                errors[f"tools.{number}.name"] = [fault]
            headers, faults = self._headers(source, before)
            errors |= {f"tools.{number}.headers.{name}": [fault] for name, fault in faults.items()}
            kept.append(replace(source, headers=headers))
        if errors:
            raise Invalid("Some tools are wrong; `errors` names them.", errors=errors)
        return tuple(kept)

    def resolve(self, source: ToolSource) -> ToolServer:
        """Return the server to connect to for a source of the kind `mcp` or `shared`.

        Raises:
            ProviderFailed: code `tool_server_unknown`, the operator's list has it no more; `tool_headers_unreadable`,
                the server's secret is another one than when the headers were entered.
        """
        match source:
            case ToolSource(kind=SourceKind.MCP, transport=Transport() as transport):
                return ToolServer(source.name, transport, source.url, self._opened(source))
            case ToolSource(kind=SourceKind.SHARED) if server := self._catalog.find(source.name):
                return server
        raise ProviderFailed(
            f"The operator of this server allows no tools' server {source.name!r} (any more). Choose another one.",
            code="tool_server_unknown",
        )

    def _fault_of_name(self, source: ToolSource) -> str | None:
        """Return what is wrong with the name of a source that stands for something of this server."""
        match source.kind:
            case SourceKind.SHARED:
                names = self._catalog.names()
            case SourceKind.BUILTIN:
                names = tuple(BUILTIN_TOOLS)
            case SourceKind.MCP:
                return None
        return None if source.name in names else f"Must be one of: {', '.join(sorted(names))}."

    def _headers(
        self, source: ToolSource, before: ToolSource | None
    ) -> tuple[tuple[tuple[str, str], ...], Mapping[str, str]]:
        """Return a source's headers sealed, and what is wrong with others.

        A value that is the stored one stays as it is sealed there, so that what is sent twice changes nothing.
        """
        stored: dict[str, str] = {}
        if before is not None and before.url == source.url:
            stored = {name.lower(): sealed for name, sealed in before.headers}
        kept, faults = [], {}
        for name, value in source.headers:
            sealed = stored.get(name.lower())
            if value == UNCHANGED and sealed is None:
                faults[name] = "Enter the header's value: it is kept only for the name and URL it was entered for."
            elif sealed is not None and value in (UNCHANGED, self._sealer.open(sealed)):
                kept.append((name, sealed))
            else:
                kept.append((name, self._sealer.seal(value)))
        return tuple(kept), faults

    def _opened(self, source: ToolSource) -> tuple[tuple[str, str], ...]:
        opened = []
        for name, sealed in source.headers:
            value = self._sealer.open(sealed)
            if value is None:
                raise ProviderFailed(
                    f"The headers of {source.name!r} cannot be read since JWT_SECRET_KEY has changed. Enter their "
                    "values again.",
                    code="tool_headers_unreadable",
                )
            opened.append((name, value))
        return tuple(opened)
