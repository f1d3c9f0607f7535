"""Documents that a provider holds for us: what is there, what should be there, and how the one becomes the other."""

import hashlib
import logging

from models.errors import Unavailable
from models.hosting import HostedSearch, HostedShelf, HostedView
from services.ports import DocumentRepository, FileRegistry

logger = logging.getLogger("orquestra.hosting")

_MOST_WITHOUT = 100
"""A search that would have to leave out more files than this is left to our own index."""


class HostedLibrary:
    """Implement `HostedKnowledge`: the registry says what the provider holds, the documents say what is current."""

    def __init__(self, registry: FileRegistry, documents: DocumentRepository) -> None:
        self._registry = registry
        self._documents = documents

    def view(self, assistant_id: str) -> HostedView:
        """Return what an answer may use that begins now.

        The registry is read first: what is registered later, the provider does not find for this answer.
        """
        try:
            shelf = self._registry.shelf(assistant_id)
        except Unavailable:
            logger.warning("our own index answers: the registry of hosted files does not")
            shelf = HostedShelf()
        builds = {document: build.revision for document, build in self._documents.builds(assistant_id).items()}
        context = hashlib.sha256("\n".join(builds.values()).encode()).hexdigest()[:16] if builds else ""
        return HostedView(context, _search(shelf, builds))


def _search(shelf: HostedShelf, builds: dict[str, str]) -> HostedSearch | None:
    """Return where to search; None unless every current text is searchable there."""
    held = {(file.document_id, file.build) for file in shelf.files if file.searchable}
    without = tuple(file.number for file in shelf.files if builds.get(file.document_id) != file.build)
    if not shelf.store_id or not builds or not held.issuperset(builds.items()) or len(without) > _MOST_WITHOUT:
        return None
    return HostedSearch(shelf.store_id, shelf.last, without)
