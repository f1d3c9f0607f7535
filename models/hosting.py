"""Documents that a provider holds for us, to search in them itself."""

from dataclasses import dataclass
from datetime import datetime

SEARCH_REFUSED = "search_refused"
"""The error's code of a provider that cannot search where it was told to: the vector store is gone."""


@dataclass(frozen=True)
class HostedFile:
    """One text of a document, as a provider holds it.

    It is registered before it is uploaded, so that whatever lies at the provider can be found again.

    Attributes:
        number: the order of registration within the assistant, from 1. The provider's copy carries it, so that a
            search can be kept to the files that were registered when it began.
        build: which text of the document it is; documents name the build that answers use.
        file_id: the provider's own id; "" until the upload was seen to succeed.
        searchable: the provider has processed it, and finds it from then on.
        retired_at: since when no answer begins to use it; answers that began earlier may, for as long as they last.
        removed: it was deleted at the provider, whose searches may find it a while longer.
            What is retired stays so: the same text, should it be needed again, becomes a new file.
    """

    number: int
    document_id: str
    filename: str
    build: str
    file_id: str = ""
    searchable: bool = False
    retired_at: datetime | None = None
    removed: bool = False


@dataclass(frozen=True)
class HostedShelf:
    """What a provider holds of an assistant, as registered.

    Attributes:
        store_id: the provider's id of the assistant's vector store; "" while there is none.
        last: the highest number ever given.
        files: in the order of their numbers.
        deleted: the assistant is deleted, and nothing of it is to stay.
    """

    store_id: str = ""
    last: int = 0
    files: tuple[HostedFile, ...] = ()
    deleted: bool = False


@dataclass(frozen=True)
class HostedSearch:
    """Where a provider is to search by itself, so that it finds each document's current text and no other.

    Attributes:
        last: files with higher numbers are not to be found: they were registered later.
        without: numbers of files that are there and not current.
    """

    store_id: str
    last: int
    without: tuple[int, ...] = ()


@dataclass(frozen=True)
class HostedView:
    """What an answer that begins now may use of a provider's copies.

    Attributes:
        context: names the documents' texts that answers use now; a conversation at the provider that holds what was
            found in others is not continued.
        search: None while the provider does not hold all of them: then our own passages answer.
    """

    context: str
    search: HostedSearch | None = None


@dataclass(frozen=True)
class FoundFile:
    """A file that a provider lists.

    Attributes:
        file_id: the provider's own id.
        filename: its name there.
        number: what its attributes say; 0 where they say nothing.
        status: in a vector store, `in_progress`, `completed`, `cancelled` or `failed`; elsewhere "".
    """

    file_id: str
    filename: str = ""
    number: int = 0
    status: str = ""


@dataclass(frozen=True)
class SyncReport:
    """What differed between our documents and what the provider holds.

    Attributes:
        hosted: whether the assistant's provider is to hold its documents at all.
        missing: filenames of documents whose current text is not there, or not searchable yet.
        outdated: filenames of files that are there, or registered, and not current.
        unregistered: the provider's ids of files of this assistant that the registry does not know.
        in_order: how many documents are there as they should be.
        found: what differed before it was mended; None where nobody waited for that.
    """

    hosted: bool
    missing: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    unregistered: tuple[str, ...] = ()
    in_order: int = 0
    found: "SyncReport | None" = None
