"""Bringing one text to the provider, in steps of which each can be taken again after a crash.

The vector store is made, the file is registered, uploaded, its id noted, attached and, once the provider has processed
it, noted as searchable. What is noted says which step is next; what was done and not noted is found by its name.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from models.deadline import Deadline
from models.documents import Document
from models.errors import Conflict, NotFound, ProviderFailed, Unavailable
from models.hosting import HostedFile
from services.hosting.library import HostingStores
from services.hosting.names import build_of, store_name, upload_name
from services.hosting.nudges import HostingNudges

logger = logging.getLogger("orquestra.hosting")

PROCESSED = "completed"
REFUSED = frozenset({"failed", "cancelled"})

UNSUPPORTED = "hosting_unsupported"
"""The error's code of an endpoint that holds no documents."""

TEXT_MISSING = "text_missing"
"""The error's code of a document that has to be indexed again."""

_STORE_SECONDS = 40.0
_LOCK_SECONDS = _STORE_SECONDS + 20.0
_LOCK_WAIT = 20.0
_UPLOADS = 3
_LAG_SECONDS = 60.0
_MOST_STORES = 20
_PAUSES = (0.25, 5.0)


class HostedUploads:
    """Bring texts to the provider."""

    def __init__(self, stores: HostingStores, nudges: HostingNudges) -> None:
        self._provider = stores.provider
        self._registry = stores.registry
        self._texts = stores.texts
        self._locks = stores.locks
        self._nudges = nudges

    def open_store(self, assistant_id: str, deadline: Deadline) -> str:
        """Return the assistant's vector store, made now if the registry names none.

        One of its name that the registry does not know holds nobody knows what: it goes first.

        Raises:
            ProviderFailed, DeadlineExceeded: as `HostedFiles`.
            Unavailable: others take too long, or Redis cannot be reached.
        """
        store_id = self._registry.shelf(assistant_id).store_id
        if store_id:
            return store_id
        deadline = Deadline(min(_STORE_SECONDS, deadline.remaining()))
        with self._locks.hold(f"hosting-store:{assistant_id}", _LOCK_SECONDS, _LOCK_WAIT) as held:
            if not held:
                raise Unavailable("The provider's vector store cannot be made at the moment.", code="hosting_busy")
            shelf = self._registry.shelf(assistant_id)
            if shelf.store_id:
                return shelf.store_id
            if self.drop_stores(assistant_id, deadline):
                self._nudges.ask(assistant_id, full=True)  # what was in it is somewhere in the account
            for file in shelf.files:
                if file.searchable:
                    self._registry.change(assistant_id, file.number, {"searchable": False})
            store_id = self._provider.create_store(store_name(assistant_id), deadline)
            self._registry.set_store(assistant_id, store_id)
            return store_id

    def drop_stores(self, assistant_id: str, deadline: Deadline, keep: str = "") -> bool:
        """Delete the vector stores of the assistant's name but for one; tell whether there were any."""
        dropped: set[str] = set()
        for _ in range(_MOST_STORES):
            found = self._provider.find_store(store_name(assistant_id), deadline)
            if found is None or found == keep or found in dropped:  # a list may lag behind
                break
            self._provider.delete_store(found, deadline)
            dropped.add(found)
        return bool(dropped)

    def bring(self, document: Document, build: str, deadline: Deadline) -> HostedFile:
        """Register, upload and attach a text of a document, as far as that has not been done, and return its file.

        Raises:
            ProviderFailed, DeadlineExceeded: as `HostedFiles`; what was done stays registered.
            NotFound: the vector store or the file is gone from the provider, or the text from here.
            Conflict: it was retired meanwhile.
            Unavailable: the registry cannot be reached.
        """
        assistant_id = document.assistant_id
        store_id = self.open_store(assistant_id, deadline)
        begun = any(file.build == build for file in self._registry.shelf(assistant_id).files)
        file = self._registry.register(assistant_id, document.id, document.filename, build)
        if not file.file_id:
            file = replace(file, file_id=self._uploaded(document, file, deadline, begun=begun))
        self._provider.attach(store_id, file, deadline)
        return file

    def settle(self, assistant_id: str, file: HostedFile, deadline: Deadline) -> bool:
        """Wait until the provider has processed an attached file, and note that; False if it does not take it.

        Raises:
            ProviderFailed, DeadlineExceeded: as `HostedFiles`.
            NotFound: it is not attached any more.
        """
        pause, store_id = _PAUSES[0], self._registry.shelf(assistant_id).store_id
        while True:
            found = self._provider.status(store_id, file.file_id, deadline)
            if found is None:
                raise NotFound("The file is not in the provider's vector store any more. Synchronize the assistant.")
            if found.status == PROCESSED:
                return self._registry.change(assistant_id, file.number, {"searchable": True})
            if found.status in REFUSED:
                logger.error("the provider cannot process a document", extra={"document_id": file.document_id})
                return False
            deadline.sleep(pause)
            pause = min(pause * 1.5, _PAUSES[1])

    def found(self, assistant_id: str, build: str, deadline: Deadline) -> Sequence[str]:
        """Return the files of the account that hold this text and are not registered."""
        named = [
            one.file_id for one in self._provider.list_files(deadline) if build_of(one.filename, assistant_id) == build
        ]
        registered = {file.file_id for file in self._registry.shelf(assistant_id).files}
        return [file_id for file_id in named if file_id not in registered]

    def _uploaded(self, document: Document, file: HostedFile, deadline: Deadline, *, begun: bool) -> str:
        """Return the id of the file's upload, after noting it; of several uploads one stays.

        Args:
            begun: whether an upload may have been sent already.
        """
        file_id = self._upload(document, file, deadline, begun=begun)
        noted = self._registry.note_upload(document.assistant_id, file.number, file_id)
        if noted != file_id:  # another one was noted first, or the file was removed
            self._provider.delete_file(file_id, deadline)
        if not noted:
            raise Conflict("The text was replaced while it was brought to the provider.", code="text_replaced")
        return noted

    def _upload(self, document: Document, file: HostedFile, deadline: Deadline, *, begun: bool) -> str:
        """Upload a text; where the outcome of an upload is unknown, look for it before the next."""
        content = self._content(document, file.build)
        for left in reversed(range(_UPLOADS)):
            found = self.found(document.assistant_id, file.build, deadline) if begun else ()
            if found:
                return found[0]
            try:
                name = upload_name(document.filename, document.assistant_id, file.build)
                return self._provider.upload(name, content, deadline)
            except ProviderFailed as error:
                if error.code == UNSUPPORTED:
                    raise
                if not begun:  # lists may lag behind: in the end nothing is to be there twice
                    self._nudges.ask(document.assistant_id, _LAG_SECONDS, full=True)
                begun = True
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _content(self, document: Document, build: str) -> bytes:
        stream = self._texts.open(document.filepath, build)
        if stream is None:
            raise NotFound("The document's text is gone. Index the document again.", code=TEXT_MISSING)
        with stream:
            return stream.read()
