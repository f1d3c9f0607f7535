"""Put Orquestra together: the only place that names concrete classes."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx2

from models.clock import now
from models.errors import Unavailable
from queues import Queues, open_queues
from repositories.document_files import LocalDocumentFiles
from repositories.redis.destinations import RedisDestinations
from repositories.redis.events import RedisEventBus
from repositories.redis.hosted_files import RedisFileRegistry
from repositories.redis.limits import RedisRateLimiter
from repositories.redis.locks import RedisLocks
from repositories.redis.sessions import RedisSessionRepository
from repositories.redis.threads import RedisThreads
from repositories.s3_client import build_s3_client
from repositories.s3_document_files import S3DocumentFiles
from repositories.secret_file import load_or_create_secret
from routes.webhooks import event_body
from services.api_keys import ApiKeys
from services.assistants import AssistantBelongings, AssistantService
from services.attempts import Attempts
from services.auth import AuthPolicy, AuthService
from services.callbacks import RESEND_CALLBACK, CallbackService, Courier
from services.chats import ChatService
from services.composing import Composer, Memory
from services.conversations import ConversationService
from services.dead_letters import DeadLetterService
from services.documents import DocumentService
from services.embedding import EMBED_DOCUMENT, EmbeddingService, EmbeddingStores
from services.health import HealthService
from services.hosting import HostedLibrary
from services.indexing import INDEX_DOCUMENT, IndexingService
from services.journal import Journal
from services.knowledge.fts_index import FtsIndex
from services.knowledge.hybrid_index import HybridIndex
from services.knowledge.parsing import DocumentParser
from services.knowledge.vector_index import VectorIndex
from services.leases import LeaseKeeper
from services.locating import PassageLocator
from services.news import ConversationNews
from services.nudges import ANSWER_CHAT, SEND_CALLBACK, Nudges
from services.ports import Embedder, HostedMemory, JobQueue, LanguageModel, Locator, Probe, ThreadRegistry
from services.providers.core_application import CoreModel
from services.providers.jwt_tokens import JwtTokens
from services.providers.offline import OfflineModel
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.providers.openai_embeddings import OpenAIEmbedder
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from services.providers.webhooks import StandardWebhookSender
from services.registry import Services
from services.shelf import Library, Shelf
from services.upkeep import Upkeep
from services.viewer import ConversationViewer
from services.webhook_secrets import WebhookSecrets
from settings import Settings
from stores import Repositories, Stores, open_stores, repositories_of

logger = logging.getLogger("orquestra")

_SWEEP_SECONDS = 5.0
_EMBEDDING_SWEEP_SECONDS = 30.0
_RECOVERY_SECONDS = 3600.0
_WAITING_SHARE = 4
"""One thread in so many may wait for the outcome of an upload; the others go on answering."""


@dataclass(frozen=True)
class Models:
    """The providers that are configured, by name, and what they keep for us."""

    by_name: dict[str, LanguageModel]
    hosted: tuple[HostedMemory, ...]


def build_models(settings: Settings, threads: ThreadRegistry, locator: Locator) -> Models:
    """Return the providers that are configured; the offline one always is."""
    models: dict[str, LanguageModel] = {OfflineModel.provider: OfflineModel()}
    hosted: tuple[HostedMemory, ...] = ()
    if settings.openai_api_key or settings.openai_base_url:
        client = build_client(settings.openai_api_key, settings.openai_base_url, connections=settings.threads)
        models[OpenAIChatModel.provider] = OpenAIChatModel(client, settings.openai_model)
        conversations = OpenAIThreads(client, threads)
        models[OpenAIResponsesModel.provider] = OpenAIResponsesModel(
            client, settings.openai_model, conversations, locator
        )
        hosted = (conversations,)
    if settings.core_api_base_url:
        limits = httpx2.Limits(max_connections=settings.threads, max_keepalive_connections=settings.threads)
        models[CoreModel.provider] = CoreModel(httpx2.Client(limits=limits), settings.core_api_base_url)
    return Models(models, hosted)


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
    jobs: JobQueue,
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


@dataclass(frozen=True)
class Conversing:
    """Everything that answers messages and sends the answers."""

    answering: ConversationService
    callbacks: CallbackService
    news: ConversationNews
    leases: LeaseKeeper


def build_conversing(
    settings: Settings,
    held: Repositories,
    stores: Stores,
    composer: Composer,
    letters: DeadLetterService,
    jobs: JobQueue,
) -> Conversing:
    """Wire answers and callbacks."""
    news = ConversationNews(RedisEventBus(stores.redis), held.assistants, held.conversations)
    journal = Journal(held.assistants, held.conversations, held.chats, RedisLocks(stores.redis), news)
    leases, nudges = LeaseKeeper(), Nudges(jobs)
    attempts = Attempts(journal, composer, leases, nudges)
    answering = ConversationService(journal, attempts, leases, nudges, settings.answer_deadline_seconds)
    secrets = WebhookSecrets(jwt_secret(settings))
    courier = Courier(
        StandardWebhookSender(settings.callback_networks),
        RedisDestinations(stores.redis),
        lambda assistant: secrets.signing(assistant, now()),
        event_body,
    )
    callbacks = CallbackService(held.chats, held.assistants, nudges, courier, letters.bury)
    return Conversing(answering, callbacks, news, leases)


def start_work(
    settings: Settings, knowledge: Knowledge, conversing: Conversing, letters: DeadLetterService, queues: Queues
) -> list[Upkeep]:
    """Start this process's job threads, and what it looks after by itself."""
    answering, callbacks = conversing.answering, conversing.callbacks
    upkeep = [
        Upkeep(answering.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(callbacks.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(knowledge.indexing.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(knowledge.shelf.recover, seconds=_RECOVERY_SECONDS),
    ]
    handlers = {
        INDEX_DOCUMENT: knowledge.indexing.index,
        ANSWER_CHAT: answering.resume,
        SEND_CALLBACK: callbacks.send,
        RESEND_CALLBACK: callbacks.resend,
    }
    if knowledge.embedding is not None:
        handlers[EMBED_DOCUMENT] = knowledge.embedding.embed_document
        upkeep.append(Upkeep(knowledge.embedding.sweep, seconds=_EMBEDDING_SWEEP_SECONDS))
    queues.start(handlers, settings, letters.bury)
    return upkeep


def build_services(settings: Settings) -> Services:
    """Open the stores, wire every service and start the work in the background."""
    stores = open_stores(settings)
    held, queues = repositories_of(stores.database), open_queues(settings, stores.redis_url)
    limiter, secret = RedisRateLimiter(stores.redis), jwt_secret(settings)
    files = build_files(settings)
    knowledge = build_knowledge(settings, held, files, RedisLocks(stores.redis), queues.jobs)
    locator = PassageLocator(held.documents, held.passages)
    hosted = HostedLibrary(RedisFileRegistry(stores.files_redis), held.documents)
    models, provider = build_models(settings, RedisThreads(stores.redis), locator), settings.effective_language_model
    memory = Memory(held.chats, held.documents, held.passages, knowledge.index, hosted)
    composer = Composer(memory, models.by_name, provider, settings.history_tokens)
    letters = DeadLetterService(held.dead_letters, queues.jobs)
    conversing = build_conversing(settings, held, stores, composer, letters, queues.jobs)
    answering, news = conversing.answering, conversing.news
    belongings = AssistantBelongings(
        held.conversations,
        held.chats,
        held.documents,
        held.passages,
        held.vectors,
        files,
        knowledge.index,
        news,
        models.hosted,
    )
    probes: dict[str, Probe] = {
        "store": stores.database,
        "redis": stores.redis,
        "documents": files,
        "jobs": queues.probe,
    }
    if settings.redis_files_url:
        probes["redis_files"] = stores.files_redis
    upkeep = start_work(settings, knowledge, conversing, letters, queues)

    def close() -> None:
        for one in upkeep:
            one.close()
        answering.close()
        queues.close()
        conversing.leases.close()
        knowledge.leases.close()
        knowledge.index.close()
        stores.close()

    return Services(
        auth=AuthService(
            held.users, RedisSessionRepository(stores.redis), limiter, JwtTokens(secret), auth_policy(settings)
        ),
        assistants=AssistantService(
            held.assistants,
            held.users,
            belongings,
            ApiKeys(secret),
            WebhookSecrets(secret),
            limiter,
            frozenset(models.by_name),
            settings.messages_per_minute,
        ),
        documents=knowledge.documents,
        conversations=answering,
        callbacks=conversing.callbacks,
        chats=ChatService(held.assistants, held.conversations, held.chats, answering, news),
        viewer=ConversationViewer(held.assistants, held.conversations, held.chats, news, models.hosted),
        dead_letters=letters,
        health=HealthService(probes, provider, models.by_name[provider].model),
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
