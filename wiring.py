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
from services.hosting import HostedLibrary, HostingRule, HostingStores
from services.hosting_documents import HostedDocuments
from services.hosting_night import CHECK_ASSISTANTS, HostingNight
from services.hosting_nudges import CHECK_ASSISTANT, SYNC_ASSISTANT, HostingNudges
from services.hosting_service import HostingService
from services.hosting_sync import HostingSync
from services.hosting_uploads import HostedUploads
from services.importing_assistants import AssistantImport
from services.indexing import INDEX_DOCUMENT, IndexingService
from services.journal import Journal
from services.knowledge.fts_index import FtsIndex
from services.knowledge.hybrid_index import HybridIndex
from services.knowledge.parsing import DocumentParser
from services.knowledge.vector_index import VectorIndex
from services.leases import LeaseKeeper
from services.locating import PassageLocator
from services.memory import MemoryService
from services.news import ConversationNews
from services.nudges import ANSWER_CHAT, SEND_CALLBACK, Nudges
from services.ownership import Ownership
from services.ports import Embedder, HostedMemory, JobQueue, LanguageModel, Locator, Probe, ThreadRegistry
from services.providers.core_application import CoreModel
from services.providers.jwt_tokens import JwtTokens
from services.providers.offline import OfflineModel
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.providers.openai_embeddings import OpenAIEmbedder
from services.providers.openai_erasing import OpenAIEraser
from services.providers.openai_files import OpenAIFiles
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from services.providers.webhooks import StandardWebhookSender
from services.registry import Services
from services.shelf import Library, Shelf
from services.threads import DELETE_LEFTOVERS, ThreadService
from services.upkeep import Upkeep
from services.viewer import ConversationViewer
from services.webhook_secrets import WebhookSecrets
from settings import Settings
from stores import Repositories, Stores, open_stores, repositories_of

logger = logging.getLogger("orquestra")

_SWEEP_SECONDS = 5.0
_EMBEDDING_SWEEP_SECONDS = 30.0
_RECOVERY_SECONDS = 3600.0
_LEFTOVERS_SWEEP_SECONDS = 15.0
_NIGHT_SECONDS = 600.0
_HOSTING_CONNECTIONS = 8
_HOSTING_MARGIN = 30.0
"""How much longer than answers may last a provider keeps a text that is no longer current: clocks differ."""
_WAITING_SHARE = 4
"""One thread in so many may wait for the outcome of an upload; the others go on answering."""


@dataclass(frozen=True)
class Models:
    """The providers that are configured, by name, and what one of them keeps for us."""

    by_name: dict[str, LanguageModel]
    hosted: HostedMemory | None


def build_models(settings: Settings, threads: ThreadRegistry, locator: Locator) -> Models:
    """Return the providers that are configured; the offline one always is."""
    models: dict[str, LanguageModel] = {OfflineModel.provider: OfflineModel()}
    hosted: HostedMemory | None = None
    if settings.openai_api_key or settings.openai_base_url:
        client = build_client(settings.openai_api_key, settings.openai_base_url, connections=settings.threads)
        models[OpenAIChatModel.provider] = OpenAIChatModel(client, settings.openai_model)
        models[OpenAIResponsesModel.provider] = OpenAIResponsesModel(
            client, settings.openai_model, OpenAIThreads(client, threads), locator
        )
        hosted = OpenAIEraser(client)
    if settings.core_api_base_url:
        limits = httpx2.Limits(max_connections=settings.threads, max_keepalive_connections=settings.threads)
        models[CoreModel.provider] = CoreModel(httpx2.Client(limits=limits), settings.core_api_base_url)
    return Models(models, hosted)


def build_thread_registry(settings: Settings, stores: Stores, queues: Queues) -> RedisThreads:
    """Return where it is known which conversation at a provider continues which of ours."""
    busy = settings.answer_deadline_seconds + _HOSTING_MARGIN
    return RedisThreads(stores.redis, queues.store, busy_seconds=busy)


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
class Hosting:
    """Everything that keeps documents at a provider.

    Attributes:
        documents, sync, night: None when no provider that is configured holds any.
    """

    library: HostedLibrary
    service: HostingService
    documents: HostedDocuments | None = None
    sync: HostingSync | None = None
    night: HostingNight | None = None


def build_hosting(
    settings: Settings,
    held: Repositories,
    stores: Stores,
    files: LocalDocumentFiles | S3DocumentFiles,
    queues: Queues,
) -> Hosting:
    """Wire the documents that a provider holds."""
    registry, nudges = RedisFileRegistry(stores.files_redis), HostingNudges(queues.jobs)
    grace = settings.answer_deadline_seconds + _HOSTING_MARGIN
    rule = HostingRule((OpenAIResponsesModel.provider,), settings.effective_language_model, grace)
    library, ownership = HostedLibrary(registry, held.documents, nudges), Ownership(held.assistants)
    if not (settings.openai_api_key or settings.openai_base_url):
        return Hosting(library, HostingService(ownership, None, rule, nudges))
    client = build_client(settings.openai_api_key, settings.openai_base_url, connections=_HOSTING_CONNECTIONS)
    locks, limiter = RedisLocks(stores.redis), RedisRateLimiter(stores.redis)
    places = HostingStores(OpenAIFiles(client), registry, held.assistants, held.documents, files, locks)
    uploads = HostedUploads(places, nudges)
    return Hosting(
        library,
        HostingService(ownership, places, rule, nudges),
        HostedDocuments(places, rule, uploads, nudges),
        HostingSync(places, rule, uploads, nudges),
        HostingNight(held.assistants, registry, rule, nudges, queues.jobs, limiter, queues.store),
    )


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
    hosting: HostedDocuments | None,
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
    indexing = IndexingService(shelf, parser, jobs, leases, embedding, hosting)
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


def start_work(  # noqa: PLR0913  each part has work of its own
    settings: Settings,
    knowledge: Knowledge,
    hosting: Hosting,
    conversing: Conversing,
    threads: ThreadService,
    letters: DeadLetterService,
    queues: Queues,
) -> list[Upkeep]:
    """Start this process's job threads, and what it looks after by itself."""
    answering, callbacks = conversing.answering, conversing.callbacks
    upkeep = [
        Upkeep(answering.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(callbacks.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(knowledge.indexing.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(knowledge.shelf.recover, seconds=_RECOVERY_SECONDS),
        Upkeep(threads.sweep, seconds=_LEFTOVERS_SWEEP_SECONDS),
    ]
    handlers = {
        INDEX_DOCUMENT: knowledge.indexing.index,
        ANSWER_CHAT: answering.resume,
        SEND_CALLBACK: callbacks.send,
        RESEND_CALLBACK: callbacks.resend,
        DELETE_LEFTOVERS: threads.delete_leftovers,
    }
    if knowledge.embedding is not None:
        handlers[EMBED_DOCUMENT] = knowledge.embedding.embed_document
        upkeep.append(Upkeep(knowledge.embedding.sweep, seconds=_EMBEDDING_SWEEP_SECONDS))
    if hosting.sync is not None and hosting.night is not None:
        handlers[SYNC_ASSISTANT] = hosting.sync.sync
        handlers[CHECK_ASSISTANT] = hosting.sync.check
        handlers[CHECK_ASSISTANTS] = hosting.night.ask_for_all
        upkeep.append(Upkeep(hosting.night.begin, seconds=_NIGHT_SECONDS))
    queues.start(handlers, settings, letters.bury)
    return upkeep


def build_services(settings: Settings) -> Services:
    """Open the stores, wire every service and start the work in the background."""
    stores = open_stores(settings)
    held, queues = repositories_of(stores.database), open_queues(settings, stores.redis_url)
    limiter, secret = RedisRateLimiter(stores.redis), jwt_secret(settings)
    files = build_files(settings)
    hosting = build_hosting(settings, held, stores, files, queues)
    knowledge = build_knowledge(settings, held, files, RedisLocks(stores.redis), queues.jobs, hosting.documents)
    locator = PassageLocator(held.documents, held.passages)
    registry = build_thread_registry(settings, stores, queues)
    models, provider = build_models(settings, registry, locator), settings.effective_language_model
    threads = ThreadService(
        held.assistants, held.chats, registry, queues.jobs, OpenAIResponsesModel.provider, models.hosted
    )
    memory = Memory(held.chats, held.documents, held.passages, knowledge.index, hosting.library)
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
        threads,
        hosting.service,
    )
    probes: dict[str, Probe] = {
        "store": stores.database,
        "redis": stores.redis,
        "documents": files,
        "jobs": queues.probe,
    }
    if settings.redis_files_url:
        probes["redis_files"] = stores.files_redis
    assistants = AssistantService(
        held.assistants,
        held.users,
        belongings,
        ApiKeys(secret),
        WebhookSecrets(secret),
        limiter,
        frozenset(models.by_name),
        settings.messages_per_minute,
    )
    upkeep = start_work(settings, knowledge, hosting, conversing, threads, letters, queues)

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
        assistants=assistants,
        documents=knowledge.documents,
        hosting=hosting.service,
        imports=AssistantImport(held.users, assistants, knowledge.documents, held.conversations, held.chats),
        conversations=answering,
        callbacks=conversing.callbacks,
        chats=ChatService(held.assistants, held.conversations, held.chats, answering, news),
        viewer=ConversationViewer(held.assistants, held.conversations, held.chats, news, threads),
        threads=threads,
        memory=MemoryService(held.conversations, held.chats),
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
