"""One run of the job that makes the provider hold exactly what it should of an assistant."""

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta

from models.clock import now
from models.deadline import Deadline
from models.documents import Document
from models.errors import NotFound, OrquestraError, ProviderFailed
from models.hosting import HostedFile, HostedShelf
from services.hosting.findings import Findings, look, may_become_current
from services.hosting.library import HostingRule, HostingStores
from services.hosting.uploads import TEXT_MISSING, UNSUPPORTED, HostedUploads

logger = logging.getLogger("orquestra.hosting")

_MOST_FAILURES = 3


class SyncRun:
    """One run of the job.

    Attributes:
        progress: how many things it has done.
        complete: everything was looked at.
    """

    def __init__(
        self, stores: HostingStores, rule: HostingRule, uploads: HostedUploads, assistant_id: str, *, full: bool
    ) -> None:
        self._stores = stores
        self._provider = stores.provider
        self._registry = stores.registry
        self._rule = rule
        self._uploads = uploads
        self._assistant_id = assistant_id
        self._exists = stores.assistants.get(assistant_id) is not None
        self._full = full or not self._exists
        self._grace, self._linger = (rule.grace, rule.linger) if self._exists else (0.0, 0.0)
        self.progress = 0
        self.complete = False

    def run(self, deadline: Deadline) -> float | None:
        """Do what is to be done now; return after how many seconds there is more, None if there is not."""
        found = look(self._stores, self._rule, self._assistant_id, deadline, everywhere=self._full)
        if found.store_gone:
            logger.warning("a vector store is gone and is made anew", extra={"assistant_id": self._assistant_id})
            self._registry.set_store(self._assistant_id, "")
        self._drop_strangers(found, deadline)
        if self._full and found.shelf.store_id and not found.store_gone:
            self._uploads.drop_stores(self._assistant_id, deadline, keep=found.shelf.store_id)
        self._correct(found)
        self._retire(found)
        self._remove(deadline)
        if found.builds:
            self._bring(found, deadline)
        elif not found.wanted and (self._full or found.before != HostedShelf()):
            self._clear(deadline)
        self.complete = True
        left = [file for file in self._registry.shelf(self._assistant_id).files if file.retired_at is not None]
        return min((self._wait(file, self._linger if file.removed else 0.0) for file in left), default=None)

    def _drop_strangers(self, found: Findings, deadline: Deadline) -> None:
        """Take out what is not registered, before a number is given that one of these may have."""
        for file_id in found.strangers:
            if file_id in found.attached and found.before.store_id:
                self._provider.detach(found.before.store_id, file_id, deadline)
            if file_id in found.uploads or found.attached[file_id].number:  # else somebody else put it there
                self._provider.delete_file(file_id, deadline)
            self.progress += 1

    def _correct(self, found: Findings) -> None:
        """Note what the provider finds by now, or not any more; what was noted during the look is right."""
        noted = {file.number for file in found.before.files if file.searchable}
        for file in found.shelf.files:
            processed = found.is_processed(file)
            if file.retired_at is not None or processed == file.searchable or not (processed or file.number in noted):
                continue
            self._registry.change(self._assistant_id, file.number, {"searchable": processed})
            self.progress += 1

    def _retire(self, found: Findings) -> None:
        """Retire what no answer is to begin to use."""
        for file in found.shelf.files:
            if file.retired_at is not None:
                continue
            if found.is_current(file):
                if not (self._full and found.is_refused(file)):
                    continue
            elif found.wanted and may_become_current(self._stores.documents.get(file.document_id), file):
                continue
            self._registry.change(self._assistant_id, file.number, {"retired_at": now()})
            self.progress += 1

    def _remove(self, deadline: Deadline) -> None:
        """Remove what was retired long enough ago, and forget what was removed long enough ago."""
        shelf = self._registry.shelf(self._assistant_id)
        for file in shelf.files:
            if file.retired_at is None or self._wait(file) > 0:
                continue
            if not file.removed:
                self._take_away(file, shelf.store_id, deadline)
            if not self._wait(file, self._linger):
                self._registry.unregister(self._assistant_id, file.number)
                self.progress += 1

    def _take_away(self, file: HostedFile, store_id: str, deadline: Deadline) -> None:
        uploads = [file.file_id] if file.file_id else self._lost_uploads(file, deadline)
        for file_id in uploads:
            if store_id:
                self._provider.detach(store_id, file_id, deadline)
            self._provider.delete_file(file_id, deadline)
        self._registry.change(self._assistant_id, file.number, {"removed": True})
        self.progress += 1

    def _wait(self, file: HostedFile, more: float = 0.0) -> float:
        """Return the seconds until an answer that uses a retired file has certainly ended, and some more."""
        ended = (file.retired_at or now()) + timedelta(seconds=self._grace + more)
        return max(0.0, (ended - now()).total_seconds())

    def _lost_uploads(self, file: HostedFile, deadline: Deadline) -> Sequence[str]:
        """Return the uploads of a file of which nobody knows whether it was uploaded, but for one begun anew."""
        shelf = self._registry.shelf(self._assistant_id)
        if any(other.build == file.build and other.retired_at is None for other in shelf.files):
            return ()
        return self._uploads.found(self._assistant_id, file.build, deadline)

    def _bring(self, found: Findings, deadline: Deadline) -> None:
        """Bring what is missing, then wait until all of it is processed.

        Raises:
            ProviderFailed, NotFound: the first failure, after the other texts were brought, unless there are several.
        """
        brought = [file for file in found.kept.values() if found.is_in_work(file)]
        failures: list[OrquestraError] = []
        for document in self._to_bring(found):
            try:
                brought.append(self._brought(document, deadline))
                self.progress += 1
            except (ProviderFailed, NotFound) as error:
                logger.warning("not brought to the provider", extra={"code": error.code, "document_id": document.id})
                if error.code == TEXT_MISSING:  # another try would not find it either
                    continue
                failures.append(error)
                if len(failures) == _MOST_FAILURES or error.code == UNSUPPORTED:
                    break
        for file in brought:
            self._uploads.settle(self._assistant_id, file, deadline)
            self.progress += 1
        if failures:
            raise failures[0]

    def _to_bring(self, found: Findings) -> Iterator[Document]:
        """Yield the documents whose text is not in the vector store.

        What the provider could not process stays there as it is, until a full check has retired it.
        """
        kept = found.kept
        for document_id, build in found.builds.items():
            held = kept.get(document_id)
            if held is not None and held.file_id in found.attached and not (self._full and found.is_refused(held)):
                continue
            document = self._stores.documents.get(document_id)
            if document is not None and document.build == build:  # else it was changed just now
                yield document

    def _brought(self, document: Document, deadline: Deadline) -> HostedFile:
        """Bring a text; an upload that is gone from there is made anew, as another file."""
        try:
            return self._uploads.bring(document, document.build, deadline)
        except NotFound as error:
            if error.code == TEXT_MISSING:
                raise
            file = self._registry.register(self._assistant_id, document.id, document.filename, document.build)
            self._registry.change(self._assistant_id, file.number, {"retired_at": now()})
            return self._uploads.bring(document, document.build, deadline)

    def _clear(self, deadline: Deadline) -> None:
        """Delete the vector store and forget the shelf, once nothing is registered of an assistant that wants none."""
        shelf = self._registry.shelf(self._assistant_id)
        if shelf.files:
            return
        if shelf.store_id:
            self._provider.delete_store(shelf.store_id, deadline)
        self._uploads.drop_stores(self._assistant_id, deadline)
        self._registry.forget(self._assistant_id)
        self.progress += 1
