"""Put Orquestra together: the only place that names concrete classes, beside `stores.py` and `queues.py`."""

from collections.abc import Sequence

from queues import Queues, open_queues
from repositories.redis.limits import RedisRateLimiter
from repositories.redis.locks import RedisLocks
from repositories.redis.request_notes import RedisRequestNotes
from repositories.redis.sessions import RedisSessionRepository
from services.auth import AuthService
from services.chats import ChatService
from services.client_embeddings import ClientEmbeddings
from services.composing import Composer, Memory
from services.dead_letters import DeadLetterService
from services.doors import DoorService
from services.health import HealthService
from services.importing.assistants import AssistantImport
from services.importing.tools import ToolImport
from services.indexing import INDEX_DOCUMENT
from services.locating import PassageLocator
from services.memory import MemoryService
from services.ports import Probe
from services.providers.jwt_tokens import JwtTokens
from services.providers.openai_names import RESPONSES
from services.registry import Services
from services.repetitions import Repetitions
from services.responses import ResponseService
from services.sealing import Sealer
from services.threads import ThreadService
from services.tools.inspection import ToolInspection
from services.tools.listing import Toolboxes
from services.tools.sources import SEALING_PURPOSE, ToolSources
from services.upkeep import Upkeep
from services.viewer import ConversationViewer
from settings import Settings
from stores import Stores, open_stores, repositories_of
from wiring.accounts import auth_policy, jwt_secret
from wiring.assistants import build_assistants
from wiring.conversing import Conversing, build_conversing
from wiring.evaluation import Evaluation, build_evaluation
from wiring.files import Files, build_files
from wiring.hosting import build_hosting, build_thread_registry
from wiring.knowledge import Knowledge, build_knowledge
from wiring.providers import build_embeddings_endpoint, build_models
from wiring.tools import Tools, build_tools
from wiring.voice import Speech, build_speech
from wiring.work import start_work

__all__ = ["build_services", "jwt_secret"]


def build_services(settings: Settings) -> Services:
    """Open the stores, wire every service and start the work in the background."""
    stores = open_stores(settings)
    held, queues = repositories_of(stores.database), open_queues(settings, stores.redis_url)
    limiter, secret = RedisRateLimiter(stores.redis), jwt_secret(settings)
    files = build_files(settings)
    hosting, tools = build_hosting(settings, held, stores, files, queues), build_tools(settings)
    locks, backlog = RedisLocks(stores.redis), queues.backlog_of(INDEX_DOCUMENT)
    knowledge = build_knowledge(settings, held, files, locks, queues.jobs, backlog, hosting.documents)
    locator = PassageLocator(held.documents, held.passages)
    registry = build_thread_registry(settings, stores, queues)
    models, provider = build_models(settings, registry, locator), settings.effective_language_model
    threads = ThreadService(held.assistants, held.chats, registry, queues.jobs, RESPONSES, models.hosted)
    memory = Memory(held.chats, held.documents, held.passages, knowledge.index, hosting.library)
    sources = ToolSources(Sealer(secret, SEALING_PURPOSE), tools.catalog)
    toolboxes = Toolboxes(tools.host, sources.resolve, knowledge.index)
    composer = Composer(memory, models.by_name, provider, settings.history_tokens, toolboxes)
    repetitions = Repetitions(held.chats, RedisRequestNotes(stores.redis))
    doors = DoorService(held.conversations, held.chats, repetitions)
    letters = DeadLetterService(held.dead_letters, queues.jobs)
    conversing = build_conversing(settings, held, stores, composer, letters, queues)
    assistants = build_assistants(
        settings, held, files, knowledge, conversing, threads, hosting, models, sources, limiter
    )
    viewer = ConversationViewer(held.assistants, held.conversations, held.chats, conversing.news, threads)
    evaluation = build_evaluation(settings, held, conversing, viewer, models, queues.jobs)
    speech = build_speech(settings, held, conversing.arrivals, assistants.count)
    upkeep = start_work(settings, knowledge, hosting, conversing, evaluation, threads, letters, queues)
    return Services(
        auth=AuthService(
            held.users, RedisSessionRepository(stores.redis), limiter, JwtTokens(secret), auth_policy(settings)
        ),
        assistants=assistants,
        documents=knowledge.documents,
        hosting=hosting.service,
        imports=AssistantImport(held.users, assistants, knowledge.documents, held.conversations, held.chats),
        conversations=conversing.answering,
        doors=doors,
        repetitions=repetitions,
        responses=ResponseService(doors, held.conversations, held.chats, settings.history_tokens),
        embeddings=ClientEmbeddings(build_embeddings_endpoint(settings)),
        callbacks=conversing.callbacks,
        chats=ChatService(held.assistants, held.conversations, held.chats, conversing.answering, conversing.news),
        viewer=viewer,
        threads=threads,
        memory=MemoryService(held.conversations, held.chats),
        tool_inspection=ToolInspection(held.assistants, sources, tools.host),
        evaluations=evaluation.service,
        tool_imports=ToolImport(assistants, sources, tools.catalog),
        dead_letters=letters,
        voice=speech.service,
        replies=speech.replies,
        slots=speech.slots,
        speech_calls=speech.calls,
        health=HealthService(_probes(settings, stores, files, queues), provider, models.by_name[provider].model),
        close=lambda: _close(upkeep, conversing, evaluation, queues, knowledge, tools, speech, stores),
    )


def _probes(settings: Settings, stores: Stores, files: Files, queues: Queues) -> dict[str, Probe]:
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


def _close(  # noqa: PLR0913  each part has something to end
    upkeep: Sequence[Upkeep],
    conversing: Conversing,
    evaluation: Evaluation,
    queues: Queues,
    knowledge: Knowledge,
    tools: Tools,
    speech: Speech,
    stores: Stores,
) -> None:
    """End the work in the background, then what it uses."""
    for one in upkeep:
        one.close()
    evaluation.close()
    conversing.answering.close()
    queues.close()
    tools.close()
    speech.close()
    conversing.leases.close()
    conversing.events.close()
    evaluation.leases.close()
    knowledge.leases.close()
    knowledge.index.close()
    stores.close()
