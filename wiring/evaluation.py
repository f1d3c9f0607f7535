"""What measures how well assistants answer."""

from dataclasses import dataclass

from services.evaluation.asking import Asker
from services.evaluation.datasets import DatasetService
from services.evaluation.from_chats import ChatQuestions
from services.evaluation.from_documents import DocumentQuestions
from services.evaluation.judging import Judge
from services.evaluation.making import DatasetMaker
from services.evaluation.report import ReportRenderer
from services.evaluation.running import Runner
from services.evaluation.runs import RunService
from services.evaluation.service import EvaluationService
from services.leases import LeaseKeeper
from services.ports import JobQueue
from services.providers.openai_names import CHAT
from services.viewer import ConversationViewer
from settings import Settings
from stores import Repositories
from wiring.conversing import Conversing
from wiring.providers import Models


@dataclass(frozen=True)
class Evaluation:
    """Everything that evaluates."""

    service: EvaluationService
    runner: Runner
    leases: LeaseKeeper

    def close(self) -> None:
        """Let go of the runs that are worked on here."""
        self.runner.close()


def build_evaluation(
    settings: Settings,
    held: Repositories,
    conversing: Conversing,
    viewer: ConversationViewer,
    models: Models,
    jobs: JobQueue,
) -> Evaluation:
    """Wire evaluation. What judges and writes questions has to follow instructions, as a chat model does."""
    writer = models.by_name.get(CHAT)
    judge, leases = Judge(writer), LeaseKeeper()
    asker = Asker(conversing.answering, viewer, held.conversations)
    runner = Runner(held.assistants, held.runs, asker, judge, leases)
    questions = DocumentQuestions(held.documents, held.passages, writer, settings.answer_deadline_seconds)
    maker = DatasetMaker(ChatQuestions(held.chats), questions)
    service = EvaluationService(
        DatasetService(held.assistants, held.datasets, maker),
        RunService(held.assistants, held.runs, runner, judge, jobs),
        ReportRenderer(held.assistants),
    )
    return Evaluation(service, runner, leases)
