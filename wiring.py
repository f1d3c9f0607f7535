"""Put Orquestra together: the only place that names concrete classes."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx2

from models.errors import Unavailable
from repositories.document_files import LocalDocumentFiles
from repositories.redis.database import PREFIX
from repositories.redis.events import RedisEventBus
from repositories.redis.jobs import RedisJobs
from repositories.redis.limits import RedisRateLimiter
from repositories.redis.locks import RedisLocks
from repositories.redis.sessions import RedisSessionRepository
from repositories.s3_client import build_s3_client
from repositories.s3_document_files import S3DocumentFiles
from repositories.secret_file import load_or_create_secret
from services.api_keys import ApiKeys
from services.assistants import AssistantBelongings, AssistantService
from services.auth import AuthPolicy, AuthService
from services.chats import ChatService
from services.composing import Composer, Memory
from services.conversations import ConversationService
from services.documents import DocumentService
from services.embedding import EMBED_DOCUMENT, EmbeddingService, EmbeddingStores
from services.health import HealthService
from services.indexing import INDEX_DOCUMENT, IndexingService
from services.journal import Journal
from services.knowledge.fts_index import FtsIndex
from services.knowledge.hybrid_index import HybridIndex
from services.knowledge.parsing import DocumentParser
from services.knowledge.vector_index import VectorIndex
from services.leases import LeaseKeeper
from services.news import ConversationNews
from services.ports import (
    Embedder,
    LanguageModel,
    Probe,
)
from services.providers.core_application import CoreModel
from services.providers.jwt_tokens import JwtTokens
from services.providers.offline import OfflineModel
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.providers.openai_embeddings import OpenAIEmbedder
from services.registry import Services
from services.shelf import Library, Shelf
from services.upkeep import Upkeep
from services.viewer import ConversationViewer
from settings import Settings
from stores import Repositories, open_stores, repositories_of

logger = logging.getLogger("orquestra")

_SWEEP_SECONDS = 5.0
_EMBEDDING_SWEEP_SECONDS = 30.0
_RECOVERY_SECONDS = 3600.0
_WAITING_SHARE = 4
"""One thread in so many may wait for the outcome of an upload; the others go on answering."""


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


def build_jobs(settings: Settings, redis_url: str) -> RedisJobs:
    """Return the queue of this store's jobs: a worker on another store would not know their documents."""
    store = settings.mongodb_database if settings.mongodb_uri else str(settings.data_dir.resolve())
    return RedisJobs(redis_url, namespace=f"{PREFIX}jobs:{store}")


def build_files(settings: Settings) -> LocalDocumentFiles | S3DocumentFiles:
    """Return where documents' files lie.

    Raises:
        Unavailable: code `storage_refused`, there is no such bucket or the keys are wrong.
    """
    scheme, separator, place = settings.documents_url.partition("://")
    if not separator:
        return LocalDocumentFiles(Path(scheme))
    bucket, _, prefix = place.partition("/")
    client = build_s3_client(
        region=settings.aws_default_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key,
        endpoint_url=settings.aws_endpoint_url,
        connections=settings.threads,
    )
    files = S3DocumentFiles(client, bucket, prefix.strip("/"))
    try:
        files.ping()
    except Unavailable as fault:
        if fault.code == "storage_refused":  # no bucket of that name, or wrong keys: waiting will not mend it
            raise
        logger.warning("the document store does not answer yet", extra={"code": fault.code})
    return files


def build_embedder(settings: Settings) -> Embedder | None:
    """Return what makes vectors, None when no model is named; another address never gets the answers' key."""
    if not settings.embeddings_model:
        return None
    own_address = bool(settings.embeddings_base_url)
    key = settings.embeddings_api_key or ("" if own_address else settings.openai_api_key)
    address = settings.embeddings_base_url or settings.openai_base_url
    return OpenAIEmbedder(build_client(key, address, connections=settings.threads), settings.embeddings_model)


@dataclass(frozen=True)
class Knowledge:
    """Everything that makes documents answerable."""

    index: FtsIndex | HybridIndex
    documents: DocumentService
    indexing: IndexingService
    embedding: EmbeddingService | None
    shelf: Shelf
    leases: LeaseKeeper


def build_knowledge(
    settings: Settings,
    held: Repositories,
    files: LocalDocumentFiles | S3DocumentFiles,
    locks: RedisLocks,
    jobs: RedisJobs,
) -> Knowledge:
    """Wire documents, their indexing and the index."""
    folder = settings.data_dir / "index"
    words = FtsIndex(folder, held.documents, held.passages)
    index: FtsIndex | HybridIndex = words
    embedder, embedding = build_embedder(settings), None
    if embedder is not None:
        vectors = VectorIndex(folder / "vectors", held.documents, held.passages, held.vectors, embedder.model)
        index = HybridIndex(words, vectors, embedder)
        stores = EmbeddingStores(held.assistants, held.documents, held.passages, held.vectors)
        embedding = EmbeddingService(stores, embedder, index, locks, jobs)
    library = Library(held.assistants, held.documents, held.passages, held.vectors, files, index, locks)
    shelf, parser, leases = Shelf(library, settings.document_versions), DocumentParser(), LeaseKeeper()
    indexing = IndexingService(shelf, parser, jobs, leases, embedding)
    waiting = max(1, settings.threads // _WAITING_SHARE)
    documents = DocumentService(shelf, indexing, parser, settings.max_upload_mb * 2**20, most_waiting=waiting)
    return Knowledge(index, documents, indexing, embedding, shelf, leases)


def start_work(settings: Settings, knowledge: Knowledge, jobs: RedisJobs) -> list[Upkeep]:
    """Start this process's job threads, and what it looks after by itself."""
    upkeep = [
        Upkeep(knowledge.indexing.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(knowledge.shelf.recover, seconds=_RECOVERY_SECONDS),
    ]
    handlers = {INDEX_DOCUMENT: knowledge.indexing.index}
    if knowledge.embedding is not None:
        handlers[EMBED_DOCUMENT] = knowledge.embedding.embed_document
        upkeep.append(Upkeep(knowledge.embedding.sweep, seconds=_EMBEDDING_SWEEP_SECONDS))
    if settings.job_threads:
        jobs.start(handlers, settings.job_threads)
    return upkeep


def build_services(settings: Settings) -> Services:
    """Open the stores, wire every service and start the work in the background."""
    stores = open_stores(settings)
    held, redis_url = repositories_of(stores.database), stores.redis_url
    locks, limiter, jobs = RedisLocks(stores.redis), RedisRateLimiter(stores.redis), build_jobs(settings, redis_url)
    files = build_files(settings)
    knowledge = build_knowledge(settings, held, files, locks, jobs)
    models, provider = build_models(settings), settings.effective_language_model
    secret, sessions = jwt_secret(settings), RedisSessionRepository(stores.redis)
    news = ConversationNews(RedisEventBus(stores.redis), held.assistants, held.conversations)
    leases = LeaseKeeper()
    journal = Journal(held.assistants, held.conversations, held.chats, locks, news)
    composer = Composer(
        Memory(held.chats, held.documents, held.passages, knowledge.index), models, provider, settings.history_tokens
    )
    answering = ConversationService(journal, composer, leases, settings.answer_deadline_seconds)
    belongings = AssistantBelongings(
        held.conversations, held.chats, held.documents, held.passages, held.vectors, files, knowledge.index, news
    )
    probes: dict[str, Probe] = {"store": stores.database, "redis": stores.redis, "documents": files, "jobs": jobs}
    upkeep = start_work(settings, knowledge, jobs)

    def close() -> None:
        for one in upkeep:
            one.close()
        jobs.close()
        leases.close()
        knowledge.leases.close()
        knowledge.index.close()
        stores.close()

    return Services(
        auth=AuthService(held.users, sessions, limiter, JwtTokens(secret), auth_policy(settings)),
        assistants=AssistantService(
            held.assistants,
            held.users,
            belongings,
            ApiKeys(secret),
            limiter,
            frozenset(models),
            settings.messages_per_minute,
        ),
        documents=knowledge.documents,
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
