"""What `migrate-store` copies from and to, opened."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

from models.errors import Conflict
from queues import open_queues
from repositories.embedded_redis import EmbeddedRedis
from repositories.migration.keys import KeyMigration, KeyPlaces, StoreNames
from repositories.migration.migration import StoreMigration
from repositories.migration.source import EmbeddedSource, require_unused
from repositories.mongo.database import MongoDatabase
from repositories.redis.database import RedisDatabase, redis_errors
from settings import Settings
from stores import SQLITE_FILE, VALKEY_FOLDER, store_name


@contextmanager
def open_migration(settings: Settings) -> Iterator[StoreMigration]:
    """Open the embedded stores in DATA_DIR and those that the settings name.

    Raises:
        Conflict: the settings name no MongoDB, there is no embedded store, or one of the two sides is in use.
        Unavailable: a store does not answer.
    """
    if not settings.mongodb_uri:
        raise Conflict("MONGODB_URI is not set. Set it, and REDIS_URL for a fleet, as the servers will have them.")
    with ExitStack() as opened:
        source = opened.enter_context(closing(EmbeddedSource(settings.data_dir / SQLITE_FILE)))
        target = opened.enter_context(closing(MongoDatabase(settings.mongodb_uri, settings.mongodb_database)))
        target.ping()
        yield StoreMigration(source, target, _open_keys(settings, opened))


def _open_keys(settings: Settings, opened: ExitStack) -> KeyMigration | None:
    """Open the Redis of both sides; None where there is none but the new one.

    The embedded Valkey is the embedded store's if it has ever run; else that store was used with REDIS_URL's.
    """
    folder, old = settings.data_dir / VALKEY_FOLDER, None
    if folder.is_dir():
        require_unused(folder)
        source = _redis(opened.enter_context(EmbeddedRedis(folder)).url, opened)
        target = _redis(settings.redis_url, opened) if settings.redis_url else source
    elif settings.redis_url:
        source = target = _redis(settings.redis_url, opened)
        old = store_name(replace(settings, mongodb_uri=""))  # others may share it
    else:
        return None
    if source is not target and _place(source)[0] == _place(target)[0]:
        raise Conflict("REDIS_URL is the embedded Valkey itself. Leave REDIS_URL out to go on with it.")
    if settings.redis_url:
        _require_idle(settings)
    files = _redis(settings.redis_files_url, opened) if settings.redis_files_url else target
    if _place(files) == _place(target):
        files = target
    return KeyMigration(KeyPlaces(source, target, files), StoreNames(old, store_name(settings)))


def _redis(url: str, opened: ExitStack) -> RedisDatabase:
    return opened.enter_context(closing(RedisDatabase(url)))


def _place(database: RedisDatabase) -> tuple[str, int]:
    """Return which server this is, and which of its databases."""
    with redis_errors():
        run = str(database.client.info("server")["run_id"])
    return run, int(database.client.connection_pool.connection_kwargs.get("db", 0))


def _require_idle(settings: Settings) -> None:
    queues = open_queues(settings, settings.redis_url)
    try:
        alive = max(queue.alive() for queue in queues.kinds.values())
    finally:
        queues.close()
    if alive:
        raise Conflict(
            "A server or worker runs on these settings already, or did a moment ago. Stop it, wait 15 s, then run this "
            "again."
        )
