"""News between servers: JSON over Redis' publish and subscribe."""

import contextlib
import json
import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from redis.client import PubSub
from redis.exceptions import RedisError

from repositories.redis.database import PREFIX, RedisDatabase, redis_errors

_LOG = logging.getLogger(__name__)
_CONFIRMED_WITHIN = 2.0
_GATHER_SECONDS = 0.02
_MOST_TOGETHER = 256
_LAST_SECONDS = 2.0


class RedisEventBus:
    """Implement `EventBus`; a thread sends what has gathered, so that nobody's answer waits for it."""

    def __init__(self, database: RedisDatabase) -> None:
        self._database = database
        self._waiting: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._sender: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def publish(self, topic: str, event: Mapping[str, Any]) -> None:
        """Tell the listeners, in order. Failing to is logged, never raised: news are not the truth."""
        if self._database.is_missed:
            return
        try:
            self._waiting.put((_channel(topic), json.dumps(event, ensure_ascii=False)))
        except (TypeError, ValueError) as error:
            _LOG.warning("An event on %s was not published: %s", topic, type(error).__name__)
            return
        if self._sender is None or not self._sender.is_alive():
            self._begin()

    def close(self) -> None:
        """Send what still waits, and end the thread; what is published later is dropped."""
        with self._lock:
            self._closed = True
        if self._sender is not None:
            self._waiting.put(None)
            self._sender.join(_LAST_SECONDS)

    def _begin(self) -> None:
        """Begin to send, unless another thread has seen to it; begin anew if the driver has broken the sender."""
        with self._lock:
            if not self._closed and (self._sender is None or not self._sender.is_alive()):
                self._sender = threading.Thread(target=self._send, name="events", daemon=True)
                self._sender.start()

    def _send(self) -> None:
        """Send events together, the first at once and those behind it when a moment has passed."""
        while (event := self._waiting.get()) is not None:
            events = [event]
            with contextlib.suppress(queue.Empty):
                while len(events) < _MOST_TOGETHER and (event := self._waiting.get_nowait()) is not None:
                    events.append(event)
            try:
                with self._database.client.pipeline(transaction=False) as together:
                    for channel, text in events:
                        together.publish(channel, text)
                    together.execute()
            except RedisError as error:
                self._database.miss()
                _LOG.warning("%d events were not published: %s", len(events), type(error).__name__)
            if event is None:
                return
            time.sleep(_GATHER_SECONDS)

    @contextlib.contextmanager
    def subscribe(self, topic: str) -> Iterator["RedisSubscription"]:
        """Listen to a topic; when it is entered, the server has confirmed that events arrive from now on.

        Raises:
            Unavailable: the server cannot be reached.
        """
        with contextlib.closing(self._database.client.pubsub()) as pubsub:  # type: ignore[no-untyped-call]
            with redis_errors():
                pubsub.subscribe(_channel(topic))
                if pubsub.get_message(timeout=_CONFIRMED_WITHIN) is None:
                    raise RedisError("the subscription was not confirmed")
            yield RedisSubscription(pubsub)


class RedisSubscription:
    """Implement `Subscription`; it subscribes again by itself after the connection broke."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    def next(self, timeout: float) -> Mapping[str, Any] | None:
        """Return the next event, or None when the timeout (seconds) passes without one.

        Raises:
            Unavailable: the server cannot be reached any more.
        """
        end = time.monotonic() + timeout
        while True:
            with redis_errors():
                message = self._pubsub.get_message(timeout=max(0.0, end - time.monotonic()))
            if message is not None and message["type"] == "message":
                event: Mapping[str, Any] = json.loads(message["data"])
                return event
            if time.monotonic() >= end:
                return None


def _channel(topic: str) -> str:
    return f"{PREFIX}events:{topic}"
