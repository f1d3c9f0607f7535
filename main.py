"""Put Orquestra together: the only place that names concrete classes.

`create_app()` is what a WSGI server calls; `python main.py` serves by itself.
"""

import atexit
import logging
import os
import sys
from dataclasses import dataclass
from datetime import timedelta

import httpx2
from dotenv import load_dotenv
from flask import Flask
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from logs import configure_logging
from models.errors import OrquestraError
from repositories.document_files import LocalDocumentFiles
from repositories.embedded_redis import EmbeddedRedis
from repositories.mongo.assistants import MongoAssistantRepository
from repositories.mongo.chats import MongoChatRepository
from repositories.mongo.conversations import MongoConversationRepository
from repositories.mongo.database import MongoDatabase
from repositories.mongo.documents import MongoDocumentRepository
from repositories.mongo.passages import MongoPassageRepository
from repositories.mongo.users import MongoUserRepository
from repositories.redis.database import RedisDatabase
from repositories.redis.events import RedisEventBus
from repositories.redis.limits import RedisRateLimiter
from repositories.redis.locks import RedisLocks
from repositories.redis.sessions import RedisSessionRepository
from repositories.secret_file import load_or_create_secret
from repositories.sqlite.assistants import SqliteAssistantRepository
from repositories.sqlite.chats import SqliteChatRepository
from repositories.sqlite.conversations import SqliteConversationRepository
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.documents import SqliteDocumentRepository
from repositories.sqlite.passages import SqlitePassageRepository
from repositories.sqlite.users import SqliteUserRepository
from routes import assistants, auth, chats, conversations, documents, ops, pages
from routes.access import METRICS_KEY, SERVICES_KEY, register_tokens
from routes.errors import register_errors
from routes.metrics import Metrics
from routes.openapi import openapi_config, register_openapi
from routes.parsing import ReferenceConverter
from routes.requests import register_requests
from services.api_keys import ApiKeys
from services.assistants import AssistantBelongings, AssistantService
from services.auth import AuthPolicy, AuthService
from services.chats import ChatService
from services.composing import Composer, Memory
from services.conversations import ConversationService
from services.documents import DocumentService, Library
from services.health import HealthService
from services.journal import Journal
from services.knowledge.fts_index import FtsIndex
from services.knowledge.parsing import TextParser
from services.leases import LeaseKeeper
from services.news import ConversationNews
from services.ports import (
    AssistantRepository,
    ChatRepository,
    ConversationRepository,
    DocumentRepository,
    LanguageModel,
    PassageRepository,
    Probe,
    UserRepository,
)
from services.providers.core_application import CoreModel
from services.providers.jwt_tokens import ISSUER, LEEWAY_SECONDS, JwtTokens
from services.providers.offline import OfflineModel
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.registry import Services
from services.upkeep import Upkeep
from services.viewer import ConversationViewer
from serving import Server
from settings import Settings, SettingsError

VERSION = "0.1.0"
_EXPOSED_HEADERS = ["Idempotent-Replayed", "Link", "Location", "Retry-After", "X-Request-ID", "X-Total-Count"]
logger = logging.getLogger("orquestra")


@dataclass(frozen=True)
class Stores:
    """The stores of one server, opened."""

    database: SqliteDatabase | MongoDatabase
    redis: RedisDatabase
    embedded_redis: EmbeddedRedis | None

    def close(self) -> None:
        """Close them; the embedded Valkey ends with the last process that uses it."""
        self.redis.close()
        self.database.close()
        if self.embedded_redis is not None:
            self.embedded_redis.close()


def open_stores(settings: Settings) -> Stores:
    """Open the stores that the settings name: servers where URLs are given, embedded ones where not."""
    database: SqliteDatabase | MongoDatabase
    if settings.mongodb_uri:
        database = MongoDatabase(settings.mongodb_uri, settings.mongodb_database)
        database.ensure_indexes()
    else:
        database = SqliteDatabase(settings.data_dir / "orquestra.sqlite")
    if settings.redis_url:
        return Stores(database, RedisDatabase(settings.redis_url), None)
    embedded = EmbeddedRedis(settings.data_dir / "valkey")
    return Stores(database, RedisDatabase(embedded.url), embedded)


@dataclass(frozen=True)
class Repositories:
    """One kind of store, a repository a collection."""

    users: UserRepository
    assistants: AssistantRepository
    conversations: ConversationRepository
    chats: ChatRepository
    documents: DocumentRepository
    passages: PassageRepository


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
        )
    return Repositories(
        MongoUserRepository(database.collection("users")),
        MongoAssistantRepository(database.collection("assistants")),
        MongoConversationRepository(database.collection("conversations")),
        MongoChatRepository(database.collection("chats")),
        MongoDocumentRepository(database.collection("documents")),
        MongoPassageRepository(database.collection("passages")),
    )


def build_models(settings: Settings) -> dict[str, LanguageModel]:
    """Return the providers that are configured, by name; the offline one always is."""
    models: dict[str, LanguageModel] = {OfflineModel.provider: OfflineModel()}
    if settings.openai_api_key or settings.openai_base_url:
        client = build_client(settings.openai_api_key, settings.openai_base_url, connections=settings.threads)
        models[OpenAIChatModel.provider] = OpenAIChatModel(client, settings.openai_model)
    if settings.core_api_base_url:
        limits = httpx2.Limits(max_connections=settings.threads, max_keepalive_connections=settings.threads)
        models[CoreModel.provider] = CoreModel(httpx2.Client(limits=limits), settings.core_api_base_url)
    return models


def build_services(settings: Settings) -> Services:
    """Open the stores and wire every service."""
    stores = open_stores(settings)
    held = repositories_of(stores.database)
    locks, limiter = RedisLocks(stores.redis), RedisRateLimiter(stores.redis)
    files = LocalDocumentFiles(settings.documents_url)
    index = FtsIndex(settings.data_dir / "index", held.documents, held.passages)
    models, provider = build_models(settings), settings.effective_language_model
    secret = jwt_secret(settings)
    news = ConversationNews(RedisEventBus(stores.redis), held.assistants, held.conversations)
    leases = LeaseKeeper(held.chats)
    memory = Memory(held.chats, held.documents, held.passages, index)
    answering = ConversationService(
        Journal(held.assistants, held.conversations, held.chats, locks, news),
        Composer(memory, models, provider, settings.history_tokens),
        leases,
        settings.answer_deadline_seconds,
    )
    library = Library(held.documents, held.passages, files, index, locks)
    documents_service = DocumentService(held.assistants, library, TextParser(), settings.max_upload_mb * 2**20)
    upkeep = Upkeep(documents_service.recover, seconds=60)
    probes: dict[str, Probe] = {"store": stores.database, "redis": stores.redis}

    def close() -> None:
        upkeep.close()
        leases.close()
        index.close()
        stores.close()

    return Services(
        auth=AuthService(
            held.users, RedisSessionRepository(stores.redis), limiter, JwtTokens(secret), auth_policy(settings)
        ),
        assistants=AssistantService(
            held.assistants,
            held.users,
            AssistantBelongings(held.conversations, held.chats, held.documents, held.passages, files, index, news),
            ApiKeys(secret),
            limiter,
            frozenset(models),
            settings.messages_per_minute,
        ),
        documents=documents_service,
        conversations=answering,
        chats=ChatService(held.assistants, held.conversations, held.chats, answering, news),
        viewer=ConversationViewer(held.assistants, held.conversations, held.chats, news),
        health=HealthService(probes, provider, models[provider].model),
        close=close,
    )


def auth_policy(settings: Settings) -> AuthPolicy:
    """Return what the settings decide about logins."""
    return AuthPolicy(
        registration_open=settings.registration == "open",
        access_lifetime=timedelta(minutes=settings.access_token_minutes),
        refresh_lifetime=timedelta(days=settings.refresh_token_days),
        logins_per_minute=settings.logins_per_minute,
    )


def jwt_secret(settings: Settings) -> str:
    """Return the secret of the settings, or the one that this machine generated for itself."""
    return settings.jwt_secret_key or load_or_create_secret(settings.data_dir)


def create_app(settings: Settings | None = None, services: Services | None = None) -> Flask:
    """Create the app; without arguments, as a WSGI server calls it, from the environment and `.env`."""
    if settings is None:
        settings = load_settings()
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters["reference"] = ReferenceConverter
    app.json.ensure_ascii = False  # type: ignore[attr-defined]  # the default provider has it
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config.update(
        openapi_config(VERSION),
        JWT_SECRET_KEY=jwt_secret(settings),
        JWT_TOKEN_LOCATION=["headers"],
        JWT_DECODE_ISSUER=ISSUER,
        JWT_DECODE_LEEWAY=LEEWAY_SECONDS,
        METRICS_TOKEN=settings.metrics_token,
    )
    if services is None:
        services = build_services(settings)
        atexit.register(services.close)
    app.extensions[SERVICES_KEY] = services
    app.extensions[METRICS_KEY] = metrics = Metrics()
    if settings.proxy_hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxy_hops)  # type: ignore[method-assign]
    if settings.cors_origins:
        CORS(app, origins=list(settings.cors_origins), expose_headers=_EXPOSED_HEADERS, max_age=3600)
    register_requests(app, metrics, settings.max_upload_mb * 2**20)
    register_tokens(app)
    api = register_openapi(app)
    for module in (auth, assistants, chats, conversations, documents, ops):
        api.register_blueprint(module.blueprint)
    app.register_blueprint(pages.blueprint)
    register_errors(app)
    return app


def load_settings() -> Settings:
    """Read `.env` and the environment, and make the log what they say.

    Raises:
        SettingsError: with every fault at once.
    """
    load_dotenv(".env")
    settings = Settings.from_env(os.environ)
    configure_logging(settings.log_level, settings.secrets())
    return settings


def serve() -> int:
    """Serve until a signal; return the exit code."""
    try:
        settings = load_settings()
        app = create_app(settings)
        server = Server(app, settings)
    except (SettingsError, OrquestraError, OSError, ValueError) as fault:
        sys.stderr.write(f"Orquestra cannot start. {fault}\n")
        return 2
    services: Services = app.extensions[SERVICES_KEY]
    if services.health.provider == OfflineModel.provider:
        logger.warning("offline mode: answers are extracts from documents; set OPENAI_API_KEY or OPENAI_BASE_URL")
    sys.stderr.write(f"Orquestra {VERSION} serves {server.url} (documentation: {server.url}/docs)\n")
    server.run(services.health.drain)
    services.close()
    return 0


if __name__ == "__main__":
    sys.exit(serve())
