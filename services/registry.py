"""Everything that a request may use, as one frozen dataclass."""

from collections.abc import Callable
from dataclasses import dataclass

from services.assistants import AssistantService
from services.auth import AuthService
from services.callbacks import CallbackService
from services.chats import ChatService
from services.client_embeddings import ClientEmbeddings
from services.conversations import ConversationService
from services.dead_letters import DeadLetterService
from services.documents import DocumentService
from services.doors import DoorService
from services.evaluation.service import EvaluationService
from services.health import HealthService
from services.hosting.service import HostingService
from services.importing.assistants import AssistantImport
from services.importing.tools import ToolImport
from services.memory import MemoryService
from services.repetitions import Repetitions
from services.responses import ResponseService
from services.threads import ThreadService
from services.tools.inspection import ToolInspection
from services.viewer import ConversationViewer
from services.voice.counted import SpeechCalls
from services.voice.replies import SpokenReplies
from services.voice.service import VoiceService
from services.voice.slots import FairSlots


@dataclass(frozen=True)
class Services:
    """The use cases that routes call; `main.py` builds it, `routes/access.py` gives it out.

    Attributes:
        close: releases stores, threads and child processes.
    """

    auth: AuthService
    assistants: AssistantService
    documents: DocumentService
    hosting: HostingService
    imports: AssistantImport
    conversations: ConversationService
    doors: DoorService
    repetitions: Repetitions
    responses: ResponseService
    embeddings: ClientEmbeddings
    callbacks: CallbackService
    chats: ChatService
    viewer: ConversationViewer
    threads: ThreadService
    memory: MemoryService
    tool_inspection: ToolInspection
    tool_imports: ToolImport
    evaluations: EvaluationService
    dead_letters: DeadLetterService
    voice: VoiceService
    replies: SpokenReplies
    slots: FairSlots
    speech_calls: SpeechCalls
    health: HealthService
    close: Callable[[], None]
