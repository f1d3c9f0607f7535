"""News between servers: JSON over Redis' publish and subscribe."""

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from redis.client import PubSub
from redis.exceptions import RedisError

from repositories.redis.database import PREFIX, RedisDatabase, redis_errors

_LOG = logging.getLogger(__name__)
_CONFIRMED_WITHIN = 2.0


class RedisEventBus:
    """Implement `EventBus`."""

    def __init__(self, database: RedisDatabase) -> None:
        self._database = database

    def publish(self, topic: str, event: Mapping[str, Any]) -> None:
        """Tell the listeners. Failing to is logged, never raised: news are not the truth."""
        if self._database.is_missed:
            return
        try:
            self._database.client.publish(_channel(topic), json.dumps(event, ensure_ascii=False))
        except (RedisError, TypeError, ValueError) as error:
            if isinstance(error, RedisError):
                self._database.miss()
            _LOG.warning("An event on %s was not published: %s", topic, type(error).__name__)

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
