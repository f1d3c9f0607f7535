"""Read documents: refuse at once what is visibly wrong, read the rest in child processes with limits.

Short text files are read on the spot: they cannot do harm, and a child takes a fifth of a second and more to start.
"""

import threading

from models.documents import ParsedText
from models.errors import UnsupportedFormat
from services.knowledge.charsets import decode
from services.knowledge.child_process import Limits, read_in_child
from services.knowledge.indexable_text import indexable
from services.knowledge.inspection import inspect

_HARMLESS = frozenset({"md", "txt"})
_SHORT = 64 * 2**10  # bytes: 30 ms of work
_BYTES_PER_SECOND = 2**19  # by which larger files get more time
_SUCCESSORS = {"doc": "docx", "dot": "docx", "odt": "docx", "rtf": "docx", "xls": "xlsx", "ods": "xlsx", "ppt": "pptx",
               "odp": "pptx", "pps": "pptx", "tsv": "csv", "jsonl": "json", "xhtml": "html"}  # fmt: skip


class DocumentParser:
    """Reads a document and cuts it, whatever it is.

    Args:
        seconds: by the clock, for a small file; every MiB adds two.
        memory: bytes of address space for one file.
        children: how many files this process has read at once; each may take a core.
    """

    extensions = frozenset({"pdf", "docx", "pptx", "xlsx", "csv", "json", "html", "htm", "md", "txt"})

    def __init__(self, *, seconds: float = 18, memory: int = 2 * 2**30, children: int = 2) -> None:
        self._seconds = seconds
        self._memory = memory
        self._children = threading.BoundedSemaphore(children)

    def inspect(self, filename: str, content: bytes) -> None:
        """Refuse what can be seen to be unreadable; see `Parser.inspect`."""
        inspect(self._extension(filename), content)

    def parse(self, filename: str, content: bytes) -> ParsedText:
        """Return the text of a file and its pieces; see `Parser.parse`."""
        extension = self._extension(filename)
        inspect(extension, content)
        if extension in _HARMLESS and len(content) <= _SHORT:
            return indexable(filename, decode(content), markdown=extension == "md")
        limits = Limits(self._seconds + len(content) / _BYTES_PER_SECOND, self._memory)
        with self._children:
            return read_in_child(extension, filename, content, limits)

    def _extension(self, filename: str) -> str:
        extension = filename.rpartition(".")[2].lower() if "." in filename else ""
        if extension in _SUCCESSORS:
            raise UnsupportedFormat(
                f"A .{extension} file is not read. Save it as .{_SUCCESSORS[extension]} and upload that."
            )
        if extension not in self.extensions:
            known = ", ".join(sorted(self.extensions))
            raise UnsupportedFormat(f"Files of this kind are not read. Upload one of: {known}.")
        return extension
