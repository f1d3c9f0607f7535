"""The queues of jobs: one for each kind, so that slow jobs never hold quick ones up."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.jobs import DeadLetter
from repositories.redis.database import PREFIX
from repositories.redis.jobs import RedisJobs
from services.callbacks import RESEND_CALLBACK
from services.embedding import EMBED_DOCUMENT
from services.evaluation.runs import RUN_EVALUATION
from services.hosting.night import CHECK_ASSISTANTS
from services.hosting.nudges import CHECK_ASSISTANT, SYNC_ASSISTANT
from services.indexing import INDEX_DOCUMENT
from services.jobs import JobProbe, JobRouter
from services.nudges import ANSWER_CHAT, SEND_CALLBACK
from services.threads import DELETE_LEFTOVERS
from settings import Settings
from stores import store_name

KINDS = {
    INDEX_DOCUMENT: "documents",
    EMBED_DOCUMENT: "embeddings",
    ANSWER_CHAT: "answers",
    SEND_CALLBACK: "callbacks",
    RESEND_CALLBACK: "callbacks",
    SYNC_ASSISTANT: "hosting",
    CHECK_ASSISTANT: "hosting",
    CHECK_ASSISTANTS: "hosting",
    DELETE_LEFTOVERS: "hosting",
    RUN_EVALUATION: "evaluations",
}
"""Name of a job -> the queue that it waits in."""

_EMBEDDING_THREADS = 2
"""Embedding is waiting for an endpoint: a changed model's thousand documents may not hold uploads up."""

_HOSTING_THREADS = 2
_EVALUATION_THREADS = 1
"""A run asks several questions at a time itself."""


@dataclass(frozen=True)
class Queues:
    """The queues of one store.

    Attributes:
        jobs: takes a job of any kind.
        probe: tells how all of them are doing.
        store: names the store that the jobs are about.
    """

    kinds: Mapping[str, RedisJobs]
    jobs: JobRouter
    probe: JobProbe
    store: str

    def start(
        self, handlers: Mapping[str, Callable[[str], None]], settings: Settings, bury: Callable[[DeadLetter], None]
    ) -> None:
        """Run jobs in threads of this process, unless the settings leave them to others."""
        if not settings.job_threads:
            return
        threads = {
            "documents": settings.job_threads,
            "embeddings": _EMBEDDING_THREADS,
            "hosting": _HOSTING_THREADS,
            "evaluations": _EVALUATION_THREADS,
        }
        for kind, queue in self.kinds.items():
            jobs = {job: do for job, do in handlers.items() if KINDS[job] == kind}
            queue.start(jobs, threads.get(kind, settings.callback_threads), bury)

    def backlog_of(self, job: str) -> Callable[[], int]:
        """Return what tells how many jobs wait in the queue of this one."""
        return self.kinds[KINDS[job]].waiting

    def close(self) -> None:
        """Take no new job, wait a while for those that run, hand back the others: all queues at the same time."""
        closing = [threading.Thread(target=queue.close, name="closing jobs") for queue in self.kinds.values()]
        for one in closing:
            one.start()
        for one in closing:
            one.join()


def open_queues(settings: Settings, redis_url: str) -> Queues:
    """Return the queues of this store's jobs: a worker on another store would not know what they are about."""
    store = store_name(settings)
    kinds = {
        kind: RedisJobs(redis_url, namespace=f"{PREFIX}jobs:{store}:{kind}") for kind in dict.fromkeys(KINDS.values())
    }
    return Queues(kinds, JobRouter({job: kinds[kind] for job, kind in KINDS.items()}), JobProbe(kinds), store)
