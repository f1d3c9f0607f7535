"""Put Orquestra together: the only place that names concrete classes, beside `stores.py` and `queues.py`."""

from collections.abc import Sequence

from queues import Queues, open_queues
from repositories.document_files import LocalDocumentFiles
from repositories.redis.limits import RedisRateLimiter
from repositories.redis.locks import RedisLocks
from repositories.redis.sessions import RedisSessionRepository
from repositories.s3_document_files import S3DocumentFiles
from services.auth import AuthService
from services.chats import ChatService
from services.composing import Composer, Memory
from services.dead_letters import DeadLetterService
from services.doors import DoorService
from services.health import HealthService
from services.importing.assistants import AssistantImport
from services.locating import PassageLocator
from services.memory import MemoryService
from services.ports import Probe
from services.providers.jwt_tokens import JwtTokens
from services.providers.openai_responses import OpenAIResponsesModel
from services.registry import Services
from services.threads import ThreadService
from services.upkeep import Upkeep
from services.viewer import ConversationViewer
from settings import Settings
from stores import Stores, open_stores, repositories_of
from wiring.accounts import auth_policy, jwt_secret
from wiring.assistants import build_assistants
from wiring.conversing import Conversing, build_conversing
from wiring.hosting import build_hosting, build_thread_registry
from wiring.knowledge import Knowledge, build_files, build_knowledge
from wiring.providers import build_models
from wiring.work import start_work

__all__ = ["build_services", "jwt_secret"]


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
    assistants = build_assistants(settings, held, files, knowledge, conversing, threads, hosting, models, limiter)
    upkeep = start_work(settings, knowledge, hosting, conversing, threads, letters, queues)
    return Services(
        auth=AuthService(
            held.users, RedisSessionRepository(stores.redis), limiter, JwtTokens(secret), auth_policy(settings)
        ),
        assistants=assistants,
        documents=knowledge.documents,
        hosting=hosting.service,
        imports=AssistantImport(held.users, assistants, knowledge.documents, held.conversations, held.chats),
        conversations=conversing.answering,
        doors=DoorService(held.conversations, held.chats),
        callbacks=conversing.callbacks,
        chats=ChatService(held.assistants, held.conversations, held.chats, conversing.answering, conversing.news),
        viewer=ConversationViewer(held.assistants, held.conversations, held.chats, conversing.news, threads),
        threads=threads,
        memory=MemoryService(held.conversations, held.chats),
        dead_letters=letters,
        health=HealthService(_probes(settings, stores, files, queues), provider, models.by_name[provider].model),
        close=lambda: _close(upkeep, conversing, queues, knowledge, stores),
    )


def _probes(
    settings: Settings, stores: Stores, files: LocalDocumentFiles | S3DocumentFiles, queues: Queues
) -> dict[str, Probe]:
    """Return what has to answer before this server is ready."""
    probes: dict[str, Probe] = {
        "store": stores.database,
        "redis": stores.redis,
        "documents": files,
        "jobs": queues.probe,
    }
    if settings.redis_files_url:
        probes["redis_files"] = stores.files_redis
    return probes


def _close(
    upkeep: Sequence[Upkeep], conversing: Conversing, queues: Queues, knowledge: Knowledge, stores: Stores
) -> None:
    """End the work in the background, then what it uses."""
    for one in upkeep:
        one.close()
    conversing.answering.close()
    queues.close()
    conversing.leases.close()
    knowledge.leases.close()
    knowledge.index.close()
    stores.close()
