"""The MCP servers that the operator allows: a file in the form that other programs keep, and the samples."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from models.tools import ToolServer
from services.tools.mcp_json import read_mcp_json

logger = logging.getLogger("orquestra.tools")

_Mark = tuple[int, int, int] | None


class CatalogFaults(Exception):
    """List everything that is wrong with the file."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


class FileToolServerCatalog:
    """Implement `ToolServerCatalog`; the file is read again when it has changed.

    Args:
        path: the file; None for the samples alone.
        samples: servers that are always there, unless the file has one of the same name.

    Raises:
        CatalogFaults: the file cannot be read, or an entry cannot be used.
    """

    def __init__(self, path: Path | None, samples: Sequence[ToolServer] = ()) -> None:
        self._path = path
        self._samples = {one.name: replace(one, trusted=True) for one in samples}
        self._lock = threading.Lock()
        self._mark = _mark_of(path)
        self._listed = _read(path) if path else {}

    def names(self) -> Sequence[str]:
        """Return the servers' names, in order."""
        return sorted(self._servers())

    def find(self, name: str) -> ToolServer | None:
        """Return the server of this name."""
        return self._servers().get(name)

    def _servers(self) -> Mapping[str, ToolServer]:
        with self._lock:
            if self._path is not None and (mark := _mark_of(self._path)) != self._mark:
                self._mark = mark
                self._read_again(self._path)
            return {**self._samples, **self._listed}

    def _read_again(self, path: Path) -> None:
        try:
            self._listed = _read(path)
        except CatalogFaults as error:
            logger.error("MCP_SERVERS_FILE is wrong, the former servers stay", extra={"faults": error.faults})
        else:
            logger.info("MCP_SERVERS_FILE was read again", extra={"servers": sorted(self._listed)})


def _mark_of(path: Path | None) -> _Mark:
    """Return what changes when a file is written or replaced."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> dict[str, ToolServer]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogFaults(["is not in UTF-8"]) from error
    except OSError as error:
        raise CatalogFaults([f"cannot be read: {error.strerror}"]) from error
    found = read_mcp_json(text)
    if found.faults:
        raise CatalogFaults([str(fault) for fault in found.faults])
    return {entry.server.name: replace(entry.server, trusted=True) for entry in found.entries}
