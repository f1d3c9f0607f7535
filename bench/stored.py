"""A corpus in the embedded store, as if its files had been uploaded to one assistant."""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.corpus import CorpusDocument
from models.assistants import Assistant
from models.clock import now
from models.documents import Document, DocumentStatus, DocumentType, Passage
from models.ids import new_id
from repositories.sqlite.assistants import SqliteAssistantRepository
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.documents import SqliteDocumentRepository
from repositories.sqlite.passages import SqlitePassageRepository

ASSISTANT = "0" * 24
"""The assistant of a store made by `load`."""

Repositories = tuple[SqliteDocumentRepository, SqlitePassageRepository, SqliteAssistantRepository]


@contextmanager
def opened_store(data: Path) -> Iterator[Repositories]:
    """Open the embedded store of a data directory, as a server does."""
    with closing(SqliteDatabase(data / "orquestra.sqlite")) as database:
        yield (
            SqliteDocumentRepository(database),
            SqlitePassageRepository(database),
            SqliteAssistantRepository(database),
        )


def load(data: Path, documents: Iterable[CorpusDocument]) -> None:
    """Make a store with one assistant that has these documents."""
    with opened_store(data) as stores:
        moment = now()
        stores[2].add(Assistant(ASSISTANT, "Bench", new_id(), (), moment, moment))
        for number, document in enumerate(documents):
            add(stores, ASSISTANT, f"{number:06}-{document.name}", document)
        stores[2].bump_index_version(ASSISTANT)


def add(stores: Repositories, assistant_id: str, filename: str, document: CorpusDocument) -> None:
    """Store a document and its passages; the assistant's index version is left to the caller."""
    held, passages, _ = stores
    document_id, build, moment = new_id(), new_id(), now()
    passages.add(
        [
            Passage(
                id=new_id(),
                assistant_id=assistant_id,
                document_id=document_id,
                revision=build,
                filename=filename,
                position=position,
                start=piece.start,
                end=piece.end,
                text=text,
                headings=piece.headings,
                language=document.language,
                header=piece.header,
                page=piece.page,
                analyser=piece.analyser,
                terms=piece.terms,
            )
            for position, (piece, text) in enumerate(document.passages)
        ]
    )
    held.add(
        Document(
            id=document_id,
            assistant_id=assistant_id,
            type=DocumentType.RAG,
            filename=filename,
            filepath=f"{assistant_id}/knowledge/{filename}",
            revision=build,
            size=1,
            sha256="0" * 64,
            status=DocumentStatus.READY,
            created_at=moment,
            updated_at=moment,
            language=document.language,
            progress=1.0,
            passages=len(document.passages),
            build=build,
        )
    )
