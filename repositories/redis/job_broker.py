"""dramatiq's Redis broker, changed where latency, at-least-once delivery or a Redis that goes away need it.

From dramatiq come the threads that work, the format of messages and the script that fetches, acknowledges, hands back
and, when a worker's heartbeat stops, delivers again (`dramatiq/brokers/redis/dispatch.lua` tells the keys). What is
different, and what dramatiq 2.2.1 does instead:

- A publication wakes an idle consumer. It sleeps between polls.
- A message for later waits in a sorted set, by Redis's own clock. It is fetched into the memory of a worker, and comes
  late when that worker dies.
- A consumer outlives every error of Redis, logs it once, and then takes back what was fetched but never arrived. It
  logs a critical error every three seconds, may die of a timeout, and what was under way to a worker that lives on is
  never seen again.
- A consumer hands back what it has fetched when it is closed, and fetches nothing more while it is drained. Both are
  left to the end of the heartbeat.
- A message that has failed waits for its next try in the sorted set, moved there by one script. It is enqueued anew and
  then acknowledged, so that whoever dies between the two leaves it twice.
- Whoever only enqueues has no heartbeat, so that the heartbeats are the workers.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from dramatiq import Consumer, DecodeError, Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from redis import Redis
from redis.exceptions import RedisError

_LOG = logging.getLogger(__name__)
_MAINTENANCE_CHANCE = 200_000
"""Of a million commands that look for dead workers: at four a second, one every second or so."""

_ENQUEUE = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if tonumber(ARGV[3]) > 0 then
    local time = redis.call('TIME')
    redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[1])
else
    redis.call('RPUSH', KEYS[2], ARGV[1])
    redis.call('PUBLISH', ARGV[4], '')
end
"""
"""KEYS: messages, queue, delayed. ARGV: message id, message, milliseconds to wait, bell.

Sent twice, because the connection broke before the answer came, it delivers twice.
"""

_MOVE_DUE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)
for _, id in ipairs(due) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('RPUSH', KEYS[2], id)
end
if #due > 0 then
    redis.call('PUBLISH', ARGV[1], '')
end
"""
"""KEYS: delayed, queue. ARGV: bell."""

_NOTE = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
"""
"""KEYS: messages. ARGV: message id, message."""

_PUT_BACK = """
if redis.call('SREM', KEYS[1], ARGV[1]) == 1 then
    local time = redis.call('TIME')
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
    redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3], ARGV[1])
end
"""
"""KEYS: acknowledgements, messages, delayed. ARGV: message id, message, milliseconds to wait.

What this process has not fetched, or no longer, belongs to another by now: nothing is done.
"""


class JobBroker(RedisBroker):
    """Keep messages in Redis for workers of any process.

    Args:
        producer: the client that enqueues; it may retry.
        worker: the client that workers use, with bytes for answers; it must not retry, because a fetch that is sent
            twice fetches twice.
        namespace: what every key and channel begins with.
        heartbeat_seconds: a worker that is silent for so long is dead.
    """

    def __init__(self, producer: Redis, worker: Redis, namespace: str, heartbeat_seconds: float) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=worker,
            middleware=[],
            namespace=namespace,
            heartbeat_timeout=round(heartbeat_seconds * 1000),
            maintenance_chance=_MAINTENANCE_CHANCE,
        )
        self.draining = threading.Event()
        self._add = producer.register_script(_ENQUEUE)
        self._move_due = worker.register_script(_MOVE_DUE)
        self._note = worker.register_script(_NOTE)
        self._put_back = worker.register_script(_PUT_BACK)

    @property
    def bell(self) -> str:
        """Return the channel that wakes idle consumers."""
        return f"{self.namespace}:bell"

    @property
    def heartbeats(self) -> str:
        """Return the key of the sorted set of workers, by when they were last heard of."""
        return f"{self.namespace}:__heartbeats__"

    def key(self, queue_name: str) -> str:
        """Return the key of the list of messages that wait for a worker."""
        return f"{self.namespace}:{queue_name}"

    def acknowledgements(self, queue_name: str) -> str:
        """Return the key of the set of messages that this process has fetched and not yet acknowledged."""
        return f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue, without the second one that dramatiq has for messages for later."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Put a message in its queue, at once or when `delay` milliseconds have passed.

        Raises:
            RedisError: Redis does not answer.
        """
        identity = str(uuid4())
        message = message.copy(options={"redis_message_id": identity})
        queue = self.key(message.queue_name)
        self.emit_before("enqueue", message, delay)
        self._add(
            keys=[f"{queue}.msgs", queue, f"{queue}.delayed"],
            args=[identity, message.encode(), delay or 0, self.bell],
        )
        self.emit_after("enqueue", message, delay)
        return message

    def move_due(self, queue_name: str) -> None:
        """Put the messages whose time has come into their queue."""
        queue = self.key(queue_name)
        self._move_due(keys=[f"{queue}.delayed", queue], args=[self.bell])

    def note(self, message: MessageProxy) -> None:
        """Store a message's options as they are now; when Redis does not answer, go on without."""
        with contextlib.suppress(RedisError):
            self._note(keys=[f"{self.key(message.queue_name)}.msgs"], args=[_identity(message), message.encode()])

    def put_back(self, message: MessageProxy) -> None:
        """Move a fetched message to those for later, by its option `pause`, in milliseconds.

        Raises:
            RedisError: Redis does not answer.
        """
        queue = self.key(message.queue_name)
        self._put_back(
            keys=[self.acknowledgements(message.queue_name), f"{queue}.msgs", f"{queue}.delayed"],
            args=[_identity(message), message.encode(), message.options["pause"]],
        )

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 250) -> "JobConsumer":
        """Return what fetches up to `prefetch` messages at once and is heard of every `timeout` milliseconds."""
        return JobConsumer(self, queue_name, prefetch, timeout / 1000)


class JobConsumer(Consumer):
    """Fetch messages in one thread; they are acknowledged from others. No error of Redis leaves it."""

    def __init__(self, broker: JobBroker, queue_name: str, prefetch: int, pause: float) -> None:
        self._broker = broker
        self._queue = queue_name
        self._prefetch = prefetch
        self._pause = pause
        self._fetched: deque[MessageProxy] = deque()
        self._held: set[str] = set()
        self._room = threading.Condition()
        self._bell = broker.client.pubsub(ignore_subscribe_messages=True)
        self._in_touch = False
        self._missed = False
        self._moved = 0.0

    def __next__(self) -> MessageProxy | None:
        """Return a message as soon as there is one, or None after a pause."""
        try:
            if not self._in_touch:
                self._get_in_touch()
            if not self._fetched:
                self._fetch()
            return self._fetched.popleft() if self._fetched else None
        except RedisError as error:
            self._miss(error)
            time.sleep(self._pause)
            return None

    def ack(self, message: MessageProxy) -> None:
        """Note that a message has been dealt with."""
        self._settle(self._broker.do_ack, [message])

    def nack(self, message: MessageProxy) -> None:
        """Put a message that has failed back for later; one without a pause is none of ours: dramatiq buries it."""
        if "pause" in message.options:
            self._settle(lambda *_: self._broker.put_back(message), [message])
        else:
            self._settle(self._broker.do_nack, [message])

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Hand messages back for others."""
        self._settle(self._broker.do_requeue, list(messages))

    def close(self) -> None:
        """Hand back what was fetched, and sign off unless a job still runs: others get it when the heartbeat lapses."""
        self.requeue(self._fetched)
        self._fetched.clear()
        try:
            if not self._broker.client.exists(self._broker.acknowledgements(self._queue)):
                self._broker.client.zrem(self._broker.heartbeats, self._broker.broker_id)
        except RedisError as error:
            self._miss(error)
        self._bell.close()

    def _get_in_touch(self) -> None:
        """Listen to the bell, and take back what this process has fetched but does not have."""
        self._in_touch = True  # first: an acknowledgement that fails meanwhile calls for another turn
        self._bell.reset()
        self._bell.subscribe(self._broker.bell)
        taken: Any = self._broker.client.smembers(self._broker.acknowledgements(self._queue))
        with self._room:
            lost = {identity.decode() for identity in taken} - self._held
        if lost:
            self._broker.do_requeue(self._queue, *lost)
        if self._missed:
            self._missed = False
            _LOG.info("Redis answers again; jobs go on.")

    def _fetch(self) -> None:
        """Fetch as many messages as there is room for; without any, wait a moment for the bell."""
        room = self._wait_for_room()
        if room and time.monotonic() >= self._moved + self._pause:
            self._broker.move_due(self._queue)
            self._moved = time.monotonic()
        found = self._broker.do_fetch(self._queue, room)  # with no room it still is the heartbeat
        messages = [message for data in found if (message := _decode(data)) is not None]
        with self._room:
            self._held.update(_identity(message) for message in messages)
        self._fetched.extend(messages)
        if room and not messages and self._bell.get_message(timeout=self._pause):
            while self._bell.get_message():
                pass  # one look into the queue answers every ring so far

    def _wait_for_room(self) -> int:
        with self._room:
            if self._broker.draining.is_set() or len(self._held) >= self._prefetch:
                self._room.wait(self._pause)
            return 0 if self._broker.draining.is_set() else max(0, self._prefetch - len(self._held))

    def _settle(self, command: Callable[..., object], messages: list[MessageProxy]) -> None:
        """Send what becomes of messages; where that fails they are no longer held, so that they come again."""
        if not messages:
            return
        identities = [_identity(message) for message in messages]
        failure: RedisError | None = None
        try:
            command(self._queue, *identities)
        except RedisError as error:
            failure = error
        with self._room:
            self._held.difference_update(identities)
            self._room.notify()
        if failure is not None:
            self._miss(failure)

    def _miss(self, error: RedisError) -> None:
        self._in_touch = False
        if not self._missed:
            self._missed = True
            _LOG.warning("Redis does not answer, jobs wait: %s", type(error).__name__)


def _identity(message: MessageProxy) -> str:
    identity: str = message.options["redis_message_id"]
    return identity


def _decode(data: bytes | None) -> MessageProxy | None:
    if data is None:  # delivered twice, and dealt with
        return None
    try:
        return MessageProxy(Message.decode(data))
    except DecodeError:
        _LOG.warning("A job was skipped, its message cannot be read.")
        return None
