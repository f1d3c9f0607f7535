"""A process that hangs in the middle of writing an assistant's vectors, to be killed.

Run as `python -m tests.contract.vector_victim DIRECTORY ASSISTANT_ID DIMENSIONS DOCUMENT_ID BUILD`; the document is in
the files already.
"""

import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from services.knowledge.vector_index import VectorIndex
from tests.contract.semantic import Foreseen
from tests.unit.memory_knowledge import MemoryVectors

_LAST = "f" * 24


class _Hanging(MemoryVectors):
    """Vectors that never come for the last document."""

    def of_document(self, assistant_id: str, document_id: str, model: str) -> Mapping[str, bytes]:
        """Return a document's vectors, or hang."""
        if document_id == _LAST:
            sys.stdout.write("hanging\n")
            sys.stdout.flush()
            threading.Event().wait()
        return super().of_document(assistant_id, document_id, model)


def main() -> None:
    """Keep the document that is there, write another one, and hang in a third."""
    directory, assistant_id, dimensions, document_id, build = sys.argv[1:]
    foreseen = Foreseen(Path(directory), assistant_id, int(dimensions))
    foreseen.vectors = vectors = _Hanging()
    foreseen.index = VectorIndex(Path(directory), foreseen.documents, foreseen.passages, vectors, Foreseen.model)
    foreseen.put(document_id, build, 0)
    foreseen.put("e" * 24, "written by the victim", 3000)
    foreseen.put(_LAST, "never there", 1)
    foreseen.refresh()


if __name__ == "__main__":
    main()
