"""What is asked for about an assistant's documents at a provider: what differs there, and that all of them go."""

import time
from dataclasses import replace

from models.deadline import Deadline
from models.hosting import SyncReport
from models.users import Principal
from services.hosting.findings import Findings, look
from services.hosting.library import HostingRule, HostingStores
from services.hosting.nudges import HostingNudges
from services.ownership import Ownership

_SURVEY_SECONDS = 30.0
_WAIT_SECONDS = 120.0
_PAUSES = (0.2, 3.0)


class HostingService:
    """See to what a provider holds when an assistant changes or goes, or somebody asks.

    Args:
        stores: None when no provider that is configured holds documents.
    """

    def __init__(
        self, ownership: Ownership, stores: HostingStores | None, rule: HostingRule, nudges: HostingNudges
    ) -> None:
        self._ownership = ownership
        self._stores = stores
        self._rule = rule
        self._nudges = nudges

    def changed(self, assistant_id: str) -> None:
        """Have an assistant synchronized whose provider has changed."""
        if self._stores is not None:
            self._nudges.ask(assistant_id)

    def forget(self, assistant_id: str) -> None:
        """Have everything of an assistant that is being deleted taken away.

        Called before the assistant goes it writes down that there is something to do; called again afterwards, it has
        it done.

        Raises:
            Unavailable: the registry cannot be reached.
        """
        if self._stores is None:
            return
        registry, assistant = self._stores.registry, self._stores.assistants.get(assistant_id)
        shelf = registry.shelf(assistant_id)
        if shelf.files or shelf.store_id or shelf.deleted or self._rule.wants(assistant):
            registry.mark_deleted(assistant_id)
            self._nudges.ask(assistant_id, full=True)

    def survey(self, caller: Principal, assistant_id: str, deadline: Deadline, *, wait: bool = False) -> SyncReport:
        """Return the differences found, and ask for a synchronization that leaves nothing unseen.

        Args:
            deadline: its end ends the waiting, too; its cancel all of it.
            wait: until nothing differs any more, two minutes at most; then what differs still is returned, and what
                was found before. Files that only wait for the end of answers that may use them are no difference that
                it waits for.

        Raises:
            NotFound: there is no such assistant, or it is somebody else's.
            ProviderFailed, DeadlineExceeded: the provider does not answer.
            CallCancelled: the deadline was cancelled.
            Unavailable: a store cannot be reached.
        """
        self._ownership.assistant(caller, assistant_id)
        if self._stores is None:
            return SyncReport(hosted=False)
        found = left = self._look(self._stores, assistant_id)
        self._nudges.ask(assistant_id, full=True)
        if not wait:
            return self._report(self._stores, found)
        until, pause = time.monotonic() + min(_WAIT_SECONDS, deadline.remaining() - _PAUSES[1]), _PAUSES[0]
        while not _is_settled(left) and time.monotonic() < until:
            deadline.sleep(pause)
            pause = min(pause * 1.5, _PAUSES[1])
            left = self._look(self._stores, assistant_id)
        return replace(self._report(self._stores, left), found=self._report(self._stores, found))

    def _look(self, stores: HostingStores, assistant_id: str) -> Findings:
        return look(stores, self._rule, assistant_id, Deadline(_SURVEY_SECONDS), everywhere=True)

    def _report(self, stores: HostingStores, found: Findings) -> SyncReport:
        missing = [stores.documents.get(document_id) for document_id in found.missing]
        return SyncReport(
            hosted=found.wanted,
            missing=tuple(document.filename for document in missing if document is not None),
            outdated=tuple(file.filename for file in found.shelf.files if not (file.removed or found.is_current(file))),
            unregistered=tuple(found.strangers),
            in_order=len(found.builds) - len(missing),
        )


def _is_settled(found: Findings) -> bool:
    outdated = [file for file in found.shelf.files if not found.is_current(file)]
    return not found.missing and not found.strangers and all(file.retired_at is not None for file in outdated)
