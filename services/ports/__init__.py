"""The Protocols that the services need from the outside world. Read this first.

`repositories/` implements the stores, `services/providers/` the models, `services/knowledge/` parsing and retrieval;
`wiring/` chooses. Every store raises `Unavailable` when its server cannot be reached, and nothing of its driver's.
Every port with several implementations has one file in tests/contract/ that all of them pass.
"""

from services.ports.knowledge import HostedKnowledge, KnowledgeIndex, Locator, Parser
from services.ports.providers import (
    Embedder,
    EmbeddingsEndpoint,
    HostedFiles,
    HostedMemory,
    LanguageModel,
    WebhookSender,
)
from services.ports.shared import (
    Appointments,
    Destinations,
    EventBus,
    FileRegistry,
    JobQueue,
    Locks,
    Places,
    Probe,
    RateLimiter,
    RequestNotes,
    SessionRepository,
    Subscription,
    ThreadRegistry,
)
from services.ports.stores import (
    AssistantRepository,
    ChatRepository,
    ConversationRepository,
    DatasetRepository,
    DeadLetterRepository,
    DocumentFiles,
    DocumentRepository,
    PassageRepository,
    RunRepository,
    UserRepository,
    VectorRepository,
)
from services.ports.tools import ToolHost, ToolServerCatalog
from services.ports.voice import AudioDecoder, SpeechSynthesizer, Transcriber

__all__ = [
    "Appointments",
    "AssistantRepository",
    "AudioDecoder",
    "ChatRepository",
    "ConversationRepository",
    "DatasetRepository",
    "DeadLetterRepository",
    "Destinations",
    "DocumentFiles",
    "DocumentRepository",
    "Embedder",
    "EmbeddingsEndpoint",
    "EventBus",
    "FileRegistry",
    "HostedFiles",
    "HostedKnowledge",
    "HostedMemory",
    "JobQueue",
    "KnowledgeIndex",
    "LanguageModel",
    "Locator",
    "Locks",
    "Parser",
    "PassageRepository",
    "Places",
    "Probe",
    "RateLimiter",
    "RequestNotes",
    "RunRepository",
    "SessionRepository",
    "SpeechSynthesizer",
    "Subscription",
    "ThreadRegistry",
    "ToolHost",
    "ToolServerCatalog",
    "Transcriber",
    "UserRepository",
    "VectorRepository",
    "WebhookSender",
]
