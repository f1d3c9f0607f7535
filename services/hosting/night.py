"""Once a night every assistant's documents are compared with what the provider holds."""

import logging
from datetime import datetime

from models.paging import Page
from services.hosting.library import HostingRule
from services.hosting.nudges import HostingNudges
from services.ports import AssistantRepository, FileRegistry, JobQueue, RateLimiter

logger = logging.getLogger("orquestra.hosting")

CHECK_ASSISTANTS = "check_assistants"
"""The job that asks for the check of each assistant; its argument is the night's date."""

_HOUR = 3
_PAGE = 200
_APART_SECONDS = 0.5
_NIGHT_SECONDS = 12 * 3600


class HostingNight:
    """Ask for the nightly checks, between three and four o'clock of the server's time.

    Args:
        limiter: lets one of the servers begin.
        store: names what the servers share that do the same work.
    """

    def __init__(  # noqa: PLR0913  the composition root is the only caller
        self,
        assistants: AssistantRepository,
        registry: FileRegistry,
        rule: HostingRule,
        nudges: HostingNudges,
        jobs: JobQueue,
        limiter: RateLimiter,
        store: str,
    ) -> None:
        self._assistants = assistants
        self._registry = registry
        self._rule = rule
        self._nudges = nudges
        self._jobs = jobs
        self._limiter = limiter
        self._store = store

    def begin(self, at: datetime | None = None) -> None:
        """Begin the night's work if it is time and no other server has.

        Args:
            at: the server's time.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        at = at or datetime.now().astimezone()
        night = at.date().isoformat()
        if at.hour == _HOUR and self._limiter.hit("hosting-night", f"{self._store}:{night}", 1, _NIGHT_SECONDS) is None:
            self._jobs.enqueue(CHECK_ASSISTANTS, night)  # if this fails, the nightly check waits for the next night

    def ask_for_all(self, night: str) -> None:
        """Do the job `check_assistants`: ask for all that have documents at the provider, or are to have.

        A shelf of an assistant that this store does not know may be another store's: it is left, unless the assistant
        was deleted here.
        """
        asked = 0
        left, page = set(self._registry.assistants()), Page(limit=_PAGE)
        while True:
            listing = self._assistants.list(None, page)
            for assistant in listing.items:
                if assistant.id in left or self._rule.wants(assistant):
                    self._nudges.ask(assistant.id, asked * _APART_SECONDS, full=True)
                    asked += 1
                left.discard(assistant.id)
            if not listing.more:
                break
            page = Page(limit=_PAGE, after=listing.items[-1].id)
        for assistant_id in sorted(left):
            if self._registry.shelf(assistant_id).deleted:
                self._nudges.ask(assistant_id, asked * _APART_SECONDS, full=True)
                asked += 1
        logger.info("the nightly checks of hosted documents begin", extra={"night": night, "count": asked})
