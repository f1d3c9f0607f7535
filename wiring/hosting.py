"""What a provider keeps for us: documents and conversations."""

from dataclasses import dataclass

from queues import Queues
from repositories.redis.appointments import RedisAppointments
from repositories.redis.hosted_files import RedisFileRegistry
from repositories.redis.limits import RedisRateLimiter
from repositories.redis.locks import RedisLocks
from repositories.redis.threads import RedisThreads
from services.hosting.documents import HostedDocuments
from services.hosting.library import HostedLibrary, HostingRule, HostingStores
from services.hosting.night import HostingNight
from services.hosting.nudges import HostingNudges
from services.hosting.service import HostingService
from services.hosting.sync import HostingSync
from services.hosting.uploads import HostedUploads
from services.ownership import Ownership
from services.providers.openai_names import RESPONSES
from settings import Settings
from stores import Repositories, Stores
from wiring.files import Files
from wiring.providers import build_hosted_files

_LINGER = 300.0
_MARGIN = 30.0
"""How many seconds longer than answers may last a provider keeps what is no longer current: clocks differ."""


@dataclass(frozen=True)
class Hosting:
    """Everything that keeps documents at a provider.

    Attributes:
        documents, sync, night: None when no provider that is configured holds any.
    """

    library: HostedLibrary
    service: HostingService
    documents: HostedDocuments | None = None
    sync: HostingSync | None = None
    night: HostingNight | None = None


def build_hosting(
    settings: Settings,
    held: Repositories,
    stores: Stores,
    files: Files,
    queues: Queues,
) -> Hosting:
    """Wire the documents that a provider holds."""
    registry = RedisFileRegistry(stores.files_redis)
    nudges = HostingNudges(queues.jobs, RedisAppointments(stores.redis))
    grace = settings.answer_deadline_seconds + _MARGIN
    rule = HostingRule((RESPONSES,), settings.effective_language_model, grace, _LINGER)
    library, ownership = HostedLibrary(registry, held.documents, nudges), Ownership(held.assistants)
    hosted = build_hosted_files(settings)
    if hosted is None:
        return Hosting(library, HostingService(ownership, None, rule, nudges))
    locks, limiter = RedisLocks(stores.redis), RedisRateLimiter(stores.redis)
    places = HostingStores(hosted, registry, held.assistants, held.documents, files, locks)
    uploads = HostedUploads(places, nudges)
    return Hosting(
        library,
        HostingService(ownership, places, rule, nudges),
        HostedDocuments(places, rule, uploads, nudges),
        HostingSync(places, rule, uploads, nudges),
        HostingNight(held.assistants, registry, rule, nudges, queues.jobs, limiter, queues.store),
    )


def build_thread_registry(settings: Settings, stores: Stores, queues: Queues) -> RedisThreads:
    """Return where it is known which conversation at a provider continues which of ours."""
    busy = settings.answer_deadline_seconds + _MARGIN
    return RedisThreads(stores.redis, queues.store, busy_seconds=busy)
