"""Open the stores that the settings name: servers where URLs are given, embedded ones where not."""

from dataclasses import dataclass

from repositories.embedded_redis import EmbeddedRedis
from repositories.migration.mark import require_no_mark
from repositories.mongo.assistants import MongoAssistantRepository
from repositories.mongo.chats import MongoChatRepository
from repositories.mongo.conversations import MongoConversationRepository
from repositories.mongo.database import MongoDatabase
from repositories.mongo.dead_letters import MongoDeadLetterRepository
from repositories.mongo.documents import MongoDocumentRepository
from repositories.mongo.evaluations import MongoDatasetRepository, MongoRunRepository
from repositories.mongo.passages import MongoPassageRepository
from repositories.mongo.users import MongoUserRepository
from repositories.mongo.vectors import MongoVectorRepository
from repositories.redis.database import RedisDatabase
from repositories.sqlite.assistants import SqliteAssistantRepository
from repositories.sqlite.chats import SqliteChatRepository
from repositories.sqlite.conversations import SqliteConversationRepository
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.dead_letters import SqliteDeadLetterRepository
from repositories.sqlite.documents import SqliteDocumentRepository
from repositories.sqlite.evaluations import SqliteDatasetRepository, SqliteRunRepository
from repositories.sqlite.passages import SqlitePassageRepository
from repositories.sqlite.users import SqliteUserRepository
from repositories.sqlite.vectors import SqliteVectorRepository
from services.ports import (
    AssistantRepository,
    ChatRepository,
    ConversationRepository,
    DatasetRepository,
    DeadLetterRepository,
    DocumentRepository,
    PassageRepository,
    RunRepository,
    UserRepository,
    VectorRepository,
)
from settings import Settings

SQLITE_FILE, VALKEY_FOLDER = "orquestra.sqlite", "valkey"
"""The embedded stores in DATA_DIR."""


@dataclass(frozen=True)
class Stores:
    """The stores of one server, opened.

    Attributes:
        files_redis: holds the registry of files at the provider.
    """

    database: SqliteDatabase | MongoDatabase
    redis: RedisDatabase
    redis_url: str
    files_redis: RedisDatabase
    embedded_redis: EmbeddedRedis | None

    def close(self) -> None:
        """Close them; the embedded Valkey ends with the last process that uses it."""
        self.files_redis.close()
        self.redis.close()
        self.database.close()
        if self.embedded_redis is not None:
            self.embedded_redis.close()


def open_stores(settings: Settings) -> Stores:
    """Open the stores that the settings name: servers where URLs are given, embedded ones where not."""
    database: SqliteDatabase | MongoDatabase
    if settings.mongodb_uri:
        database = MongoDatabase(settings.mongodb_uri, settings.mongodb_database)
        try:
            require_no_mark(database)
            database.ensure_indexes()
        except BaseException:
            database.close()
            raise
    else:
        database = SqliteDatabase(settings.data_dir / SQLITE_FILE)
    embedded = None if settings.redis_url else EmbeddedRedis(settings.data_dir / VALKEY_FOLDER)
    url = settings.redis_url if embedded is None else embedded.url
    files_redis = RedisDatabase(settings.redis_files_url or url)
    return Stores(database, RedisDatabase(url), url, files_redis, embedded)


def store_name(settings: Settings) -> str:
    """Return what the store is called in Redis, which others may share."""
    return settings.mongodb_database if settings.mongodb_uri else str(settings.data_dir.resolve())


@dataclass(frozen=True)
class Repositories:
    """One kind of store, a repository a collection."""

    users: UserRepository
    assistants: AssistantRepository
    conversations: ConversationRepository
    chats: ChatRepository
    documents: DocumentRepository
    passages: PassageRepository
    vectors: VectorRepository
    dead_letters: DeadLetterRepository
    datasets: DatasetRepository
    runs: RunRepository


def repositories_of(database: SqliteDatabase | MongoDatabase) -> Repositories:
    """Return the repositories of a store."""
    if isinstance(database, SqliteDatabase):
        return Repositories(
            SqliteUserRepository(database),
            SqliteAssistantRepository(database),
            SqliteConversationRepository(database),
            SqliteChatRepository(database),
            SqliteDocumentRepository(database),
            SqlitePassageRepository(database),
            SqliteVectorRepository(database),
            SqliteDeadLetterRepository(database),
            SqliteDatasetRepository(database),
            SqliteRunRepository(database),
        )
    return Repositories(
        MongoUserRepository(database.collection("users")),
        MongoAssistantRepository(database.collection("assistants")),
        MongoConversationRepository(database.collection("conversations")),
        MongoChatRepository(database.collection("chats")),
        MongoDocumentRepository(database.collection("documents")),
        MongoPassageRepository(database.collection("passages")),
        MongoVectorRepository(database.collection("vectors")),
        MongoDeadLetterRepository(database.collection("dead_letters")),
        MongoDatasetRepository(database.collection("evaluation_datasets"), database.collection("evaluation_items")),
        MongoRunRepository(database.collection("evaluation_runs"), database.collection("evaluation_results")),
    )
