"""An evaluation over a store and the engine, with scripted models: several over one store are several processes."""

from collections.abc import Sequence
from typing import Any

from models.evaluations import DatasetItem, Metric, Result, Run
from models.paging import Page
from models.users import OPERATOR
from repositories.redis.threads import RedisThreads
from services.evaluation.asking import Asker
from services.evaluation.judging import Judge
from services.evaluation.running import Runner
from services.evaluation.runs import RunOrder, RunService
from services.leases import LeaseKeeper
from services.news import ConversationNews
from services.providers.scripted import ScriptedModel
from services.threads import ThreadService
from services.viewer import ConversationViewer
from tests.contract.engine import Engine
from tests.contract.house import House
from tests.contract.stores import Stores

CONTAINS = RunOrder([Metric.CONTAINS], parallel=1)


class Evaluating:
    """One process that evaluates.

    Args:
        runs: what stands before the stored runs.
        conversations: what stands before the stored conversations, where leftovers are looked for.
    """

    def __init__(
        self,
        engine: Engine,
        registry: RedisThreads,
        judge: ScriptedModel | None = None,
        *,
        lease_seconds: float = 15.0,
        runs: Any = None,
        conversations: Any = None,
    ) -> None:
        stores: Stores = engine.stores
        self.engine, self.stores, self.leases = engine, stores, LeaseKeeper(lease_seconds)
        House.opened.append(self.leases)
        threads = ThreadService(stores.assistants, stores.chats, registry, engine.jobs, "openai", None)
        news = ConversationNews(engine.news, stores.assistants, stores.conversations)
        viewer = ConversationViewer(stores.assistants, stores.conversations, stores.chats, news, threads)
        asker = Asker(engine.service, viewer, conversations or stores.conversations)
        judging, runs = Judge(judge), runs or stores.runs
        self.runner = Runner(stores.assistants, runs, asker, judging, self.leases)
        self.runs = RunService(stores.assistants, runs, self.runner, judging, engine.jobs)

    def begin(self, items: Sequence[DatasetItem], order: RunOrder = CONTAINS) -> Run:
        """Begin a run of the engine's assistant."""
        return self.runs.begin(OPERATOR, self.engine.assistant.id, "d.jsonl", items, order)

    def run(self, items: Sequence[DatasetItem], order: RunOrder = CONTAINS) -> tuple[Run, list[Result]]:
        """Begin a run, work on it, and return it with its results."""
        run = self.begin(items, order)
        assert self.runs.work_here(run.id, lambda *_: None)
        return self.ended(run)

    def ended(self, run: Run) -> tuple[Run, list[Result]]:
        """Return a run as it is stored, with its results."""
        stored = self.runs.get(OPERATOR, run.id)
        return stored, self.runner.results(run.id)

    def left(self) -> int:
        """Return how many chats and conversations of the assistant are stored."""
        conversations = self.stores.conversations.list([self.engine.assistant.id], Page())
        return len(self.engine.chats()) + conversations.total


def questions(*texts: str) -> list[DatasetItem]:
    """Return items whose question is in a good answer: `echo` answers them well."""
    return [DatasetItem(text, text, contains=(text,)) for text in texts]
