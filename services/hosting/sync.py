"""The job that makes the provider hold exactly what it should of an assistant, whatever went wrong before."""

import logging

from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from services.hosting.library import HostingRule, HostingStores
from services.hosting.nudges import CHECK_ASSISTANT, SYNC_ASSISTANT, HostingNudges
from services.hosting.run import SyncRun
from services.hosting.uploads import UNSUPPORTED, HostedUploads

logger = logging.getLogger("orquestra.hosting")

_RUN_SECONDS = 120.0
_LOCK_SECONDS = _RUN_SECONDS + 30.0  # a worker that was killed holds others up no longer
_BUSY_SECONDS = 2.0
_GO_ON_SECONDS = 1.0
_REST_SECONDS = 10.0
"""At least so long it waits for more files to be removed at once."""


class HostingSync:
    """Compare documents, registry and provider, and mend what differs.

    A run does what it can within two minutes and asks for the next one if something is left.
    """

    def __init__(self, stores: HostingStores, rule: HostingRule, uploads: HostedUploads, nudges: HostingNudges) -> None:
        self._stores = stores
        self._rule = rule
        self._uploads = uploads
        self._nudges = nudges
        self._unsupported = False

    def sync(self, argument: str) -> None:
        """Do the job `sync_assistant`, unless another one is to do it.

        Raises:
            ProviderFailed, DeadlineExceeded, Unavailable: what is left to do is done by the next try.
        """
        self._do(SYNC_ASSISTANT, argument)

    def check(self, argument: str) -> None:
        """Do the job `check_assistant`: nothing of the assistant stays anywhere in the account that should not."""
        self._do(CHECK_ASSISTANT, argument)

    def _do(self, job: str, argument: str) -> None:
        assistant_id = self._nudges.begin(job, argument)
        if assistant_id is not None:
            self._do_alone(assistant_id, full=job == CHECK_ASSISTANT)

    def _do_alone(self, assistant_id: str, *, full: bool) -> None:
        with self._stores.locks.hold(f"hosting:{assistant_id}", _LOCK_SECONDS, wait=0.0) as held:
            if not held:
                self._nudges.ask(assistant_id, _BUSY_SECONDS, full=full)
                return
            run = SyncRun(self._stores, self._rule, self._uploads, assistant_id, full=full)
            try:
                wait = run.run(Deadline(_RUN_SECONDS))
                again = None if wait is None else max(wait, _REST_SECONDS)
            except DeadlineExceeded:
                if not run.progress:
                    raise
                again = _GO_ON_SECONDS
            except ProviderFailed as error:
                if error.code != UNSUPPORTED:
                    raise
                if not self._unsupported:
                    self._unsupported = True
                    logger.error("the provider holds no documents; our own passages answer", extra={"code": error.code})
                return
        if again is not None:
            self._nudges.ask(assistant_id, again, full=full and not run.complete)
