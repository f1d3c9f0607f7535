"""The connection to Redis or Valkey, and the one place where its errors become ours."""

import contextlib
import time
from collections.abc import Iterator

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from models.errors import Unavailable

PREFIX = "orquestra:"
"""What every key begins with, so that the database can be shared."""

_TIMEOUT = 2.0
_HEALTH_CHECK_EVERY = 30
_MISSED_SECONDS = 2.0
_RETRIES = 4
"""With the backoff below they last 0.75 s: long enough for the embedded server to come back after a crash."""


class RedisDatabase:
    """One client with its pool of connections, for all repositories; safe for threads.

    Only lost connections are retried, not timeouts: a server that hangs costs 2 s and not 10. Therefore whatever is
    sent must bear being sent twice.

    Args:
        url: `redis://`, `rediss://` or `unix://`, with password and database number as redis-py reads them.
    """

    def __init__(self, url: str) -> None:
        self.client = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            health_check_interval=_HEALTH_CHECK_EVERY,
            retry=Retry(ExponentialBackoff(cap=0.4, base=0.025), _RETRIES, supported_errors=(RedisConnectionError,)),
        )
        self._missed_until = 0.0

    @property
    def is_missed(self) -> bool:
        """Tell whether it failed to answer a moment ago: what can be done without does not wait for it then."""
        return time.monotonic() < self._missed_until

    def miss(self) -> None:
        """Note that it did not answer."""
        self._missed_until = time.monotonic() + _MISSED_SECONDS

    def ping(self) -> str:
        """Return the name and version of the server that answers, such as `valkey 9.1.2`.

        Raises:
            Unavailable: it does not answer.
        """
        with redis_errors():
            server = self.client.info("server")
        if "valkey_version" in server:
            return f"valkey {server['valkey_version']}"
        return f"redis {server['redis_version']}"

    def close(self) -> None:
        """Close every connection."""
        self.client.close()


@contextlib.contextmanager
def redis_errors() -> Iterator[None]:
    """Turn every error of the driver into `Unavailable`, code `redis_unavailable`."""
    try:
        yield
    except RedisError as error:
        raise redis_unavailable() from error


def redis_unavailable() -> Unavailable:
    """Return the error for a server that does not answer."""
    return Unavailable(
        "Redis does not answer. Try again in a moment; if it lasts, check REDIS_URL and the server's log.",
        code="redis_unavailable",
    )
