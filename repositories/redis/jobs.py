"""The job queue: dramatiq's threads and messages over our Redis."""

import logging
import time
from collections.abc import Callable, Mapping

from dramatiq import Actor, Message, Worker
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.errors import OrquestraError
from models.jobs import DeadLetter
from repositories.redis.database import PREFIX, RedisDatabase, redis_errors
from repositories.redis.job_broker import JobBroker
from repositories.redis.job_retries import JobFailed, JobRetries, RetryPolicy, UnknownJob

_LOG = logging.getLogger(__name__)
_TIMEOUT = 2.0
_LOOK_EVERY_MS = 250
_QUEUE = "default"
_ACTOR = "job"
_RETRIES = RetryPolicy()


class RedisJobs:
    """Implement `JobQueue` and `Probe`, and run jobs in threads of this process once it is started.

    Several may live in one process: nothing of dramatiq's global state is used.

    Args:
        url: of Redis or Valkey, as redis-py reads it.
        namespace: what every key begins with; queues with different ones know nothing of each other.
        heartbeat_seconds: the jobs of a process that is silent for so long are given to others.
        close_within: how many seconds `close` waits for the jobs that run.
        retries: when a job that fails is done again.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = f"{PREFIX}jobs",
        heartbeat_seconds: float = 15.0,
        close_within: float = 10.0,
        retries: RetryPolicy = _RETRIES,
    ) -> None:
        self._database = RedisDatabase(url)
        self._client = Redis.from_url(
            url,
            decode_responses=False,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._broker = JobBroker(self._database.client, self._client, namespace, heartbeat_seconds)
        self._heartbeat_seconds = heartbeat_seconds
        self._close_within = close_within
        self._retries = retries
        self._handlers: Mapping[str, Callable[[str], None]] = {}
        self._worker: Worker | None = None

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Ask for a job of this name on this argument, not before `delay` seconds have passed.

        Raises:
            Unavailable: Redis does not answer.
        """
        message: Message[None] = Message(_QUEUE, _ACTOR, (job, argument), {}, {})
        with redis_errors():
            self._broker.enqueue(message, delay=round(delay * 1000))

    def start(
        self, handlers: Mapping[str, Callable[[str], None]], threads: int, bury: Callable[[DeadLetter], None]
    ) -> None:
        """Run jobs in so many threads from now on, whether or not Redis answers yet.

        Args:
            handlers: name of a job -> what does it. Whatever it raises is logged, and the job is done again later.
            bury: stores a job that has failed too often; while it raises, the job is kept in the queue.
        """
        self._handlers = handlers
        self._broker.add_middleware(JobRetries(self._retries, self._broker.note, bury))
        Actor(self._run, broker=self._broker, actor_name=_ACTOR, queue_name=_QUEUE, priority=0, options={})
        self._worker = Worker(self._broker, worker_timeout=_LOOK_EVERY_MS, worker_threads=threads)
        self._worker.queue_prefetch = threads  # a job that no thread here can begin is for another process
        self._worker.start()

    def waiting(self) -> int:
        """Return how many jobs wait for a worker, without those whose time has not come.

        Raises:
            Unavailable: Redis does not answer.
        """
        with redis_errors():
            return int(self._database.client.llen(self._broker.key(_QUEUE)))

    def alive(self) -> int:
        """Return how many processes, of any machine, run jobs.

        Raises:
            Unavailable: Redis does not answer.
        """
        since = (time.time() - self._heartbeat_seconds) * 1000
        with redis_errors():
            return int(self._database.client.zcount(self._broker.heartbeats, since, "+inf"))

    def ping(self) -> str:
        """Return how many processes run jobs, and how many jobs wait for them.

        Raises:
            Unavailable: Redis does not answer.
        """
        workers = self.alive()
        return f"{workers} {'process works' if workers == 1 else 'processes work'} on jobs, {self.waiting()} wait"

    def close(self) -> None:
        """Take no new job, wait a while for those that run, hand back the others."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._broker.draining.set()
            worker.stop(timeout=round(self._close_within * 1000))
        self._client.close()
        self._database.close()

    def _run(self, job: str, argument: str) -> None:
        """Do a job; of what is no error of ours dramatiq logs the traceback."""
        handler = self._handlers.get(job)
        if handler is None:
            _LOG.warning("The job %s waits, it is unknown here. Is another version running beside this one?", job)
            raise UnknownJob
        try:
            handler(argument)
        except OrquestraError as error:
            _LOG.warning("The job %s failed: %s", job, type(error).__name__, extra={"code": error.code})
            raise JobFailed((error.code, error.detail)) from error
