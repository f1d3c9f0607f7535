"""Documents that a provider holds for us: what is where, which assistants want it, and what an answer may use of it."""

import hashlib
import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass

from models.assistants import Assistant
from models.errors import Unavailable
from models.hosting import HostedSearch, HostedShelf, HostedView
from services.hosting.nudges import HostingNudges
from services.patience import Patience
from services.ports import (
    AssistantRepository,
    DocumentFiles,
    DocumentRepository,
    FileRegistry,
    HostedFiles,
    Locks,
)

logger = logging.getLogger("orquestra.hosting")

_MOST_WITHOUT = 100
"""A search that would have to leave out more files than this is left to our own index."""
_NUDGE_SECONDS = (60.0, 300.0)


@dataclass(frozen=True)
class HostingStores:
    """Where documents are, at the provider and here.

    Attributes:
        provider: holds copies of their texts.
        registry: what is there of ours.
        texts: the texts themselves, each under its build.
    """

    provider: HostedFiles
    registry: FileRegistry
    assistants: AssistantRepository
    documents: DocumentRepository
    texts: DocumentFiles
    locks: Locks


@dataclass(frozen=True)
class HostingRule:
    """Which assistants' documents are to be at the provider, and for how long after their use.

    Attributes:
        providers: names of the providers of answers that search in documents themselves.
        default_provider: of assistants that name none.
        grace: seconds that a retired file stays: longer than any answer lasts.
        linger: seconds that it is registered after that, and so kept out of searches: a deletion may take effect late.
    """

    providers: Collection[str]
    default_provider: str
    grace: float
    linger: float = 0.0

    def wants(self, assistant: Assistant | None) -> bool:
        """Tell whether an assistant's documents are to be there."""
        return assistant is not None and (assistant.provider or self.default_provider) in self.providers


class HostedLibrary:
    """Implement `HostedKnowledge`: the registry says what the provider holds, the documents say what is current.

    Where the two differ it asks for a synchronization, at most once a minute for an assistant.
    """

    def __init__(self, registry: FileRegistry, documents: DocumentRepository, nudges: HostingNudges) -> None:
        self._registry = registry
        self._documents = documents
        self._nudges = nudges
        self._patience = Patience(*_NUDGE_SECONDS)
        self._lock = threading.Lock()

    def view(self, assistant_id: str) -> HostedView:
        """Return what an answer may use that begins now.

        The registry is read first: what is registered later, the provider does not find for this answer.
        """
        try:
            shelf, known = self._registry.shelf(assistant_id), True
        except Unavailable:
            logger.warning("our own index answers: the registry of hosted files does not")
            shelf, known = HostedShelf(), False
        builds = {document: build.revision for document, build in self._documents.builds(assistant_id).items()}
        context = hashlib.sha256("\n".join(builds.values()).encode()).hexdigest()[:16] if builds else ""
        search = search_in(shelf, builds)
        if search is None and builds and known:
            self._nudge(assistant_id)
        return HostedView(context, search)

    def missed(self, assistant_id: str) -> None:
        """Have it looked at what the provider holds: the vector store is gone, or something in it."""
        logger.warning("the provider could not search; our own index answers", extra={"assistant_id": assistant_id})
        self._nudge(assistant_id)

    def _nudge(self, assistant_id: str) -> None:
        with self._lock:
            if not self._patience.is_due(assistant_id):
                return
            self._patience.tried(assistant_id)
        self._nudges.ask(assistant_id)


def search_in(shelf: HostedShelf, builds: dict[str, str]) -> HostedSearch | None:
    """Return where to search; None unless every current text is searchable there.

    Args:
        builds: document id -> the build that answers use.
    """
    held = {(file.document_id, file.build) for file in shelf.files if file.searchable and file.retired_at is None}
    without = tuple(
        file.number for file in shelf.files if file.retired_at is not None or builds.get(file.document_id) != file.build
    )
    if not shelf.store_id or not builds or not held.issuperset(builds.items()) or len(without) > _MOST_WITHOUT:
        return None
    return HostedSearch(shelf.store_id, shelf.last, without)
