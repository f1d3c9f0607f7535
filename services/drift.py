"""Drift: how the files in the folder differ from what was uploaded."""

from datetime import datetime, timedelta
from functools import lru_cache

from models.documents import Document, Drift, ListedDocument, PublishedFile
from models.errors import Conflict
from models.paging import Listing
from services.ports import DocumentFiles

_SLACK = timedelta(seconds=2)
_REMEMBERED = 1000


class DriftCheck:
    """Compare records with files; only a file that was touched after its upload is read for that."""

    def __init__(self, files: DocumentFiles) -> None:
        self._files = files
        self._digest = lru_cache(_REMEMBERED)(self._read_digest)

    def listed(self, found: Listing[Document]) -> Listing[ListedDocument]:
        """Return the same documents, each with its drift."""
        files = {one: self._files.published(one) for one in {item.assistant_id for item in found.items}}
        items = [
            ListedDocument(**vars(item), drift=self._drift(item, files[item.assistant_id].get(item.filepath)))
            for item in found.items
        ]
        return Listing(items, found.total, found.more)

    def require_unchanged(self, document: Document) -> None:
        """Refuse to go on as if nothing had happened when the file in the folder is another one.

        Raises:
            Conflict: it was changed by hand.
        """
        digest = self._files.digest(document.filepath)
        if digest is not None and digest != document.sha256:
            raise Conflict(
                "The file in the folder is not the one that was uploaded. Upload it to take it in, or restore the "
                "current version to put the uploaded one back.",
                code="file_changed",
            )

    def _drift(self, document: Document, file: PublishedFile | None) -> Drift | None:
        if file is None:
            return Drift.MISSING
        if file.size != document.size:
            return Drift.CHANGED
        if document.versions and file.modified_at <= document.versions[0].created_at + _SLACK:
            return None
        return None if self._digest(document.filepath, file.modified_at) == document.sha256 else Drift.CHANGED

    def _read_digest(self, filepath: str, _modified_at: datetime) -> str | None:
        return self._files.digest(filepath)
