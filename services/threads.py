"""The end of conversations that a provider keeps for us: forgotten by us at once, deleted there by a job."""

import logging
from collections.abc import Iterator

from models.chats import ChatFilter
from models.deadline import Deadline
from models.errors import DeadlineExceeded, OrquestraError, ProviderFailed, Unavailable
from models.paging import Page
from models.threads import Leftover, LeftoverKind
from models.users import Principal
from services.ownership import Ownership
from services.ports import AssistantRepository, ChatRepository, HostedMemory, JobQueue, ThreadRegistry

logger = logging.getLogger("orquestra.threads")

DELETE_LEFTOVERS = "delete_leftovers"
"""The job that deletes what a provider still keeps of an assistant's conversations; its argument is the assistant."""

_AT_A_TIME = 200
"""A job ends after so many and asks for the next one: other jobs wait for its thread."""
_DELETING_SECONDS = 60.0
_CLAIMED_SECONDS = _DELETING_SECONDS + 10.0
_MOST_FAILURES = 3
"""After so many in a row the provider counts as away."""
_CHATS_PER_PAGE = 1000
_SWEPT = 100


class ThreadService:
    """Forget conversations that a provider keeps, and see to it that they are deleted there.

    What is to be deleted is written down first, and struck out only when the provider has said that it is gone.

    Args:
        provider: the one that keeps conversations, as chats name it.
        hosted: deletes there; None while that provider is not configured: what is to be deleted waits.
    """

    def __init__(
        self,
        assistants: AssistantRepository,
        chats: ChatRepository,
        registry: ThreadRegistry,
        jobs: JobQueue,
        provider: str,
        hosted: HostedMemory | None,
    ) -> None:
        self._chats = chats
        self._registry = registry
        self._jobs = jobs
        self._provider = provider
        self._hosted = hosted
        self._ownership = Ownership(assistants)

    def flush(self, caller: Principal, assistant_id: str) -> int:
        """Let every conversation of an assistant begin a new thread with its next message; return how many had one.

        Raises:
            NotFound: there is no such assistant, or it is somebody else's.
            Unavailable: the registry cannot be reached.
        """
        count = self._registry.flush(self._ownership.assistant(caller, assistant_id).id)
        self._nudge(assistant_id)
        return count

    def forget(self, assistant_id: str, conversation_id: str | None = None) -> None:
        """Forget a conversation that is about to be erased, or all of an assistant's, its stored responses included.

        To be called while its chats are there still: they name the responses.

        Raises:
            Unavailable: not all is written down; repeat it.
        """
        for responses in self._responses(assistant_id, conversation_id):
            self._registry.leave(assistant_id, responses)
        if conversation_id is None:
            self._registry.flush(assistant_id, gone=True)
        else:
            self._registry.forget(assistant_id, conversation_id)
        self._nudge(assistant_id)

    def delete_leftovers(self, assistant_id: str) -> None:
        """Do the job `DELETE_LEFTOVERS`: delete what is due, some at a time.

        Raises:
            ProviderFailed, DeadlineExceeded: not everything could be deleted; what could not is due again.
        """
        if self._hosted is None:
            return
        kept: list[Leftover] = []
        failure: OrquestraError | None = None
        tried = in_a_row = 0
        while tried < _AT_A_TIME and in_a_row < _MOST_FAILURES:
            claimed = self._registry.claim(assistant_id, 1, _CLAIMED_SECONDS)
            if not claimed:
                break
            tried += 1
            try:
                self._hosted.delete(claimed[0], Deadline(_DELETING_SECONDS))
            except (ProviderFailed, DeadlineExceeded) as error:
                kept, failure, in_a_row = [*kept, *claimed], error, in_a_row + 1
            else:
                self._registry.deleted(assistant_id, claimed)
                in_a_row = 0
        if failure is not None:
            self._registry.put_back(assistant_id, kept)
            raise failure
        if tried == _AT_A_TIME:
            self._jobs.enqueue(DELETE_LEFTOVERS, assistant_id)

    def sweep(self) -> None:
        """Ask for the jobs of assistants whose leftovers have become due, or whose job was lost."""
        if self._hosted is None:
            return
        for assistant_id in self._registry.due(_SWEPT):
            self._nudge(assistant_id)

    def _responses(self, assistant_id: str, conversation_id: str | None) -> Iterator[list[Leftover]]:
        """Yield the stored responses of chats, page by page."""
        chats = ChatFilter(assistant_ids=(assistant_id,), conversation_id=conversation_id)
        page = Page(limit=_CHATS_PER_PAGE)
        while True:
            listing = self._chats.list(chats, page)
            yield [
                Leftover(LeftoverKind.RESPONSE, chat.response_id)
                for chat in listing.items
                if chat.response_id and chat.provider == self._provider
            ]
            if not listing.more:
                return
            page = Page(limit=_CHATS_PER_PAGE, after=listing.items[-1].id)

    def _nudge(self, assistant_id: str) -> None:
        if self._hosted is None:
            return
        try:
            self._jobs.enqueue(DELETE_LEFTOVERS, assistant_id)
        except Unavailable as error:
            logger.warning("a job waits for the sweeper", extra={"code": error.code, "assistant_id": assistant_id})
