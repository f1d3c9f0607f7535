"""The connection to MongoDB: its options, the indexes, and what its failures mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, IndexModel, MongoClient
from pymongo.collection import Collection
from pymongo.errors import DocumentTooLarge, PyMongoError

from models.errors import TooLarge, Unavailable

Documents = Collection[dict[str, Any]]
"""A collection as the repositories take it."""

SELECTION_MS = 3_000
"""How long an operation waits for a server that can take it."""

ANSWER_MS = 20_000
"""How long the server may take over an answer."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any time that is stored: what a query says to be about times, never None, as a partial index does."""


def _index(*fields: str, **options: Any) -> IndexModel:
    return IndexModel([(field, ASCENDING) for field in fields], **options)


INDEXES = {
    "users": (
        _index("email", unique=True),
        _index("founder", unique=True, partialFilterExpression={"founder": True}),
    ),
    "assistants": (_index("owner_id", "_id"), _index("keys.sha256", unique=True)),
    "conversations": (
        _index("assistant_id", "channel.message_service", "channel.id", unique=True),
        _index("channel.id"),
        _index("assistant_id", "last_message_at", "_id"),
        _index("last_message_at", "_id"),
    ),
    "chats": (
        _index("assistant_id", "dedupe_key", unique=True),
        _index("conversation_id", "_id"),
        _index("assistant_id", "_id"),
        _index("status", "lease_until"),
        # of all the chats few are unfinished, requests of such clients, merged or to be delivered
        _index("conversation_id", "status", "_id", partialFilterExpression={"status": "received"}),
        _index("assistant_id", "request_digest", "_id", partialFilterExpression={"request_digest": {"$gt": ""}}),
        _index("merged_into", "_id", partialFilterExpression={"merged_into": {"$gt": ""}}),
        _index("delivery.next_at", "_id", partialFilterExpression={"delivery.next_at": {"$gt": LONG_AGO}}),
    ),
    "documents": (
        _index("assistant_id", "type", "filename", unique=True),
        _index("assistant_id", "_id"),
        _index("assistant_id", "type", "_id", "build", "embeddings_model"),
        _index("status", "lease_until"),
        _index("type", "embeddings_model", "_id"),
    ),
    "passages": (_index("assistant_id", "document_id", "revision", "position"),),
    "vectors": (_index("assistant_id", "document_id", "model", "digest", unique=True),),
    "dead_letters": (_index("id", unique=True), _index("job", "argument", unique=True)),
    "evaluation_datasets": (_index("assistant_id", "_id"),),
    "evaluation_items": (_index("assistant_id", "_id"), _index("dataset_id", "_id")),
    "evaluation_runs": (
        _index("assistant_id", "_id"),
        _index("status", "lease_until"),
    ),
    "evaluation_results": (_index("assistant_id", "_id"), _index("run_id", "_id"), _index("run_id", "status")),
}
"""The indexes of each collection."""

_WITHOUT_BUILD = {"type": {"$in": ["rag", "prompt"]}, "embeddings_model": None}
"""Documents from before there were builds; an index finds them."""

_FIRST_BUILD = [
    {"$set": {"build": {"$cond": [{"$eq": ["$status", "ready"]}, "$revision", ""]}, "embeddings_model": ""}}
]
"""Their passages were stored under the revision and used while the document was `ready`."""


class MongoDatabase:
    """One database of a MongoDB deployment, through one client for the whole process.

    Nothing is sent before the first operation. Writes are acknowledged by a majority and in its journals.

    Args:
        uri: `mongodb://...` or `mongodb+srv://...`; the options set here win over its own.
        name: the database.
        options: more options for the client, for tests.

    Raises:
        Unavailable: the URI cannot be read or its name cannot be resolved.
    """

    def __init__(self, uri: str, name: str, **options: Any) -> None:
        with store_errors():
            self._client: MongoClient[dict[str, Any]] = MongoClient(
                uri,
                appname="orquestra",
                tz_aware=True,
                tzinfo=UTC,
                serverSelectionTimeoutMS=SELECTION_MS,
                connectTimeoutMS=SELECTION_MS,
                socketTimeoutMS=ANSWER_MS,
                w="majority",
                journal=True,
                **options,
            )
            self._database = self._client[name]

    def collection(self, name: str) -> Documents:
        """Return a collection for its repository."""
        return self._database[name]

    def ensure_indexes(self) -> None:
        """Create the indexes that are absent and bring older documents up to date.

        It is safe to call at every start, from several servers.

        Raises:
            Unavailable: MongoDB does not answer, or what is stored contradicts a unique index.
        """
        with store_errors():
            for name, indexes in INDEXES.items():
                self._database[name].create_indexes(list(indexes))
            self._database["documents"].update_many(_WITHOUT_BUILD, _FIRST_BUILD)

    def ping(self) -> str:
        """Return the server's name and version.

        Raises:
            Unavailable: it does not answer.
        """
        with store_errors():
            return f"mongodb {self._client.server_info()['version']}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise ours in place of the driver's errors: the one place where they are told apart."""
    try:
        yield
    except DocumentTooLarge as error:
        raise TooLarge("It is larger than the 16 MB that the store takes. Send it in smaller pieces.") from error
    except PyMongoError as error:
        raise Unavailable(
            "The database does not answer as it should. Check MONGODB_URI and that its servers run, then try again.",
            code="store_unavailable",
        ) from error
