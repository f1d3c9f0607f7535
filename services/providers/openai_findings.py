"""What the provider's file search has found for an answer, and what of it the answer cites."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FoundText:
    """A text that a file search brought.

    Attributes:
        document_id: our document, as the file's attributes say; "" where they do not.
    """

    file_id: str
    document_id: str
    text: str


@dataclass
class Findings:
    """The text that fitted best of each file, and which files are cited, in the order of that; by the files' ids."""

    found: dict[str, FoundText] = field(default_factory=dict)
    cited: dict[str, None] = field(default_factory=dict)

    def copy(self) -> "Findings":
        """Return another one that goes on from here."""
        return Findings(dict(self.found), dict(self.cited))

    def add(self, search: Mapping[str, Any]) -> None:
        """Take in the results of a `file_search_call`, which come best first."""
        for result in search.get("results") or ():
            attributes = result.get("attributes") or {}
            found = FoundText(str(result["file_id"]), str(attributes.get("document", "")), str(result["text"]))
            self.found.setdefault(found.file_id, found)

    def cite(self, annotation: Mapping[str, Any]) -> None:
        """Take in an annotation of the answer's text."""
        if annotation["type"] == "file_citation":
            self.cited[str(annotation["file_id"])] = None

    def used(self) -> Iterator[FoundText]:
        """Yield what was found of each cited file."""
        for file_id in self.cited:
            if file_id in self.found:
                yield self.found[file_id]
