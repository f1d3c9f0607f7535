"""What lies at the provider beside what should: read in an order in which work that goes on meanwhile does no harm.

What the provider lists is read first, then the registry, then the documents. Whatever is uploaded was registered
before, so what the registry does not know by then was forgotten, not just begun.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.clock import now
from models.deadline import Deadline
from models.documents import Document
from models.errors import NotFound
from models.hosting import FoundFile, HostedFile, HostedShelf
from services.hosting.library import HostingRule, HostingStores
from services.hosting.names import build_of
from services.hosting.uploads import PROCESSED, REFUSED


@dataclass(frozen=True)
class Findings:
    """One look at an assistant's documents.

    Attributes:
        wanted: whether the assistant's documents are to be at the provider.
        shelf: what is registered.
        before: what was, when the look began.
        builds: document id -> the build that is to be there; empty for an assistant that wants none there.
        attached: the provider's id -> file of the vector store.
        uploads: the provider's id -> build of the account's files that have a name of this assistant's; empty if
            nobody has looked.
        store_gone: the registered vector store is not there.
    """

    wanted: bool
    shelf: HostedShelf
    before: HostedShelf
    builds: Mapping[str, str]
    attached: Mapping[str, FoundFile]
    uploads: Mapping[str, str]
    store_gone: bool = False

    @property
    def kept(self) -> dict[str, HostedFile]:
        """Return document id -> the registered file of its current text."""
        return {file.document_id: file for file in self.shelf.files if self.is_current(file)}

    def is_current(self, file: HostedFile) -> bool:
        """Tell whether answers that begin now may use a file."""
        return file.retired_at is None and self.builds.get(file.document_id) == file.build

    def is_processed(self, file: HostedFile) -> bool:
        """Tell whether the provider finds a file."""
        found = self.attached.get(file.file_id)
        return found is not None and found.status == PROCESSED

    def is_in_work(self, file: HostedFile) -> bool:
        """Tell whether the provider is processing a file."""
        return file.file_id in self.attached and not self.is_processed(file) and not self.is_refused(file)

    def is_refused(self, file: HostedFile) -> bool:
        """Tell whether the provider could not process a file."""
        found = self.attached.get(file.file_id)
        return found is not None and found.status in REFUSED

    @property
    def missing(self) -> list[str]:
        """Return the ids of documents whose current text an answer cannot find there."""
        kept = self.kept
        return [
            document
            for document in self.builds
            if document not in kept or not (kept[document].searchable and self.is_processed(kept[document]))
        ]

    @property
    def strangers(self) -> list[str]:
        """Return the ids of files that are there, have something of this assistant's and are not registered.

        An upload whose outcome is unknown may be one of a file that is registered: that one is left.
        """
        registered = {file.file_id for file in self.shelf.files}
        awaited = {file.build for file in self.shelf.files if not file.file_id}
        named = [file_id for file_id, build in self.uploads.items() if build not in awaited]
        return [file_id for file_id in dict.fromkeys((*self.attached, *named)) if file_id not in registered]


def look(
    stores: HostingStores, rule: HostingRule, assistant_id: str, deadline: Deadline, *, everywhere: bool
) -> Findings:
    """Look at what is there and what should be.

    Args:
        everywhere: in all files of the account as well.

    Raises:
        ProviderFailed, DeadlineExceeded: as `HostedFiles`.
        Unavailable: a store cannot be reached.
    """
    before, gone = stores.registry.shelf(assistant_id), False
    attached: dict[str, FoundFile] = {}
    if before.store_id:
        try:
            attached = {file.file_id: file for file in stores.provider.attached(before.store_id, deadline)}
        except NotFound:
            gone = True
    uploads = dict[str, str]()
    if everywhere:
        for file in stores.provider.list_files(deadline):
            build = build_of(file.filename, assistant_id)
            if build is not None:
                uploads[file.file_id] = build
    shelf = stores.registry.shelf(assistant_id)
    wanted, builds = rule.wants(stores.assistants.get(assistant_id)), dict[str, str]()
    if wanted:
        builds = {name: build.revision for name, build in stores.documents.builds(assistant_id).items()}
    return Findings(wanted, shelf, before, builds, attached, uploads, gone)


def may_become_current(document: Document | None, file: HostedFile) -> bool:
    """Tell whether a text that is not a document's current one may be that soon: an attempt at it goes on."""
    if document is None or file.build < document.build:
        return False
    works = document.lease_owner is not None and document.lease_until is not None and document.lease_until > now()
    return works or file.build == document.build
