"""What a process does by itself: the jobs it runs, and what it looks after again and again."""

from queues import Queues
from services.callbacks import RESEND_CALLBACK
from services.dead_letters import DeadLetterService
from services.embedding import EMBED_DOCUMENT
from services.evaluation.runs import RUN_EVALUATION
from services.hosting.night import CHECK_ASSISTANTS
from services.hosting.nudges import CHECK_ASSISTANT, SYNC_ASSISTANT
from services.indexing import INDEX_DOCUMENT
from services.nudges import ANSWER_CHAT, SEND_CALLBACK
from services.threads import DELETE_LEFTOVERS, ThreadService
from services.upkeep import Upkeep
from settings import Settings
from wiring.conversing import Conversing
from wiring.evaluation import Evaluation
from wiring.hosting import Hosting
from wiring.knowledge import Knowledge

_SWEEP_SECONDS = 5.0
_EMBEDDING_SWEEP_SECONDS = 30.0
_RECOVERY_SECONDS = 3600.0
_LEFTOVERS_SWEEP_SECONDS = 15.0
_NIGHT_SECONDS = 600.0


def start_work(  # noqa: PLR0913  each part has work of its own
    settings: Settings,
    knowledge: Knowledge,
    hosting: Hosting,
    conversing: Conversing,
    evaluation: Evaluation,
    threads: ThreadService,
    letters: DeadLetterService,
    queues: Queues,
) -> list[Upkeep]:
    """Start this process's job threads, and what it looks after by itself."""
    answering, callbacks, runs = conversing.answering, conversing.callbacks, evaluation.service.runs
    upkeep = [
        Upkeep(answering.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(callbacks.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(knowledge.indexing.sweep, seconds=_SWEEP_SECONDS),
        Upkeep(knowledge.shelf.recover, seconds=_RECOVERY_SECONDS),
        Upkeep(threads.sweep, seconds=_LEFTOVERS_SWEEP_SECONDS),
        Upkeep(runs.sweep, seconds=_SWEEP_SECONDS),
    ]
    handlers = {
        INDEX_DOCUMENT: knowledge.indexing.index,
        ANSWER_CHAT: answering.resume,
        SEND_CALLBACK: callbacks.send,
        RESEND_CALLBACK: callbacks.resend,
        DELETE_LEFTOVERS: threads.delete_leftovers,
        RUN_EVALUATION: runs.work,
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
