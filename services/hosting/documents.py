"""What indexing and deleting do about a provider's copies: the new text is there before answers switch to it."""

import logging
from collections.abc import Callable

from models.clock import now
from models.deadline import Deadline
from models.documents import Document, DocumentType
from models.errors import DeadlineExceeded, OrquestraError, ProviderFailed, Unavailable
from models.hosting import HostedFile
from services.breaker import Breaker
from services.hosting.library import HostingRule, HostingStores
from services.hosting.nudges import HostingNudges
from services.hosting.uploads import HostedUploads

logger = logging.getLogger("orquestra.hosting")

_BOUND_SECONDS = 30.0
_PAUSE_SECONDS = 30.0  # after a failure of the provider; doubled at each further one
_LONGEST_PAUSE_SECONDS = 600.0
_SOON = 1.0


class HostedDocuments:
    """Take the steps of a document's replacement that concern the provider.

    None of them fails: what they cannot do now, the synchronization does later, and our own passages answer until then.
    """

    def __init__(self, stores: HostingStores, rule: HostingRule, uploads: HostedUploads, nudges: HostingNudges) -> None:
        self._stores = stores
        self._rule = rule
        self._uploads = uploads
        self._nudges = nudges
        self._breaker = Breaker(_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)

    def host(self, document: Document, build: str, on_progress: Callable[[float], None]) -> None:
        """Bring the text of a build to the provider and wait, half a minute at most, until it is found there.

        Args:
            on_progress: gets the share that is done, 0 to 1; what it raises passes through.
        """
        if document.type is not DocumentType.RAG or not self._is_wanted(document):
            return
        if not self._breaker.allows():
            self._nudges.ask(document.assistant_id, _PAUSE_SECONDS)
            return
        deadline = Deadline(_BOUND_SECONDS)
        try:
            file = self._uploads.bring(document, build, deadline)
            on_progress(0.5)
            self._uploads.settle(document.assistant_id, file, deadline)
            self._breaker.succeeded()
        except OrquestraError as error:
            if isinstance(error, ProviderFailed | DeadlineExceeded):
                self._breaker.failed()
            logger.warning(
                "a document is not at the provider yet; our own passages answer",
                extra={"code": error.code, "document_id": document.id},
            )
            self._nudges.ask(document.assistant_id, _PAUSE_SECONDS)
        on_progress(1.0)

    def switched(self, document: Document, build: str) -> None:
        """Retire the texts before this build, which answers use from now on."""
        self._retire(document, lambda file: file.build < build)

    def dropped(self, document: Document, build: str) -> None:
        """Retire the text of a build that answers will not use."""
        self._retire(document, lambda file: file.build == build)

    def leaving(self, document: Document) -> None:
        """See to it that a document which is about to be deleted goes from the provider, whatever happens then."""
        self._retire(document, lambda file: False)

    def removed(self, document: Document) -> None:
        """Retire every text of a document that was deleted."""
        self._retire(document, lambda file: True)

    def _retire(self, document: Document, is_old: Callable[[HostedFile], bool]) -> None:
        """Retire some of a document's files now, and have them removed when no answer can be using them any more."""
        if document.type is not DocumentType.RAG:
            return
        assistant_id, registry = document.assistant_id, self._stores.registry
        try:
            files = [file for file in registry.shelf(assistant_id).files if file.document_id == document.id]
            for file in files:
                if file.retired_at is None and is_old(file):
                    registry.change(assistant_id, file.number, {"retired_at": now()})
        except Unavailable:
            logger.warning("old texts stay at the provider for now", extra={"document_id": document.id})
            files = []
        if files or self._is_wanted(document):
            self._nudges.ask(assistant_id, self._rule.grace + _SOON)

    def _is_wanted(self, document: Document) -> bool:
        return self._rule.wants(self._stores.assistants.get(document.assistant_id))
