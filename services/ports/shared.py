"""What the servers of a fleet share besides the store, in Redis: what is lost there costs time, never an answer."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from models.hosting import HostedFile, HostedShelf
from models.threads import Leftover, Thread


class SessionRepository(Protocol):
    """Logins: a session is what a login starts; its refresh token changes at each use."""

    def start(self, session: str, refresh_id: str, seconds: int) -> None:
        """Begin a session whose only valid refresh token is this one, for so long."""

    def rotate(self, session: str, used_id: str, next_id: str, seconds: int) -> bool:
        """Exchange the refresh token; a token that is not the current one ends the session and gives False."""

    def is_active(self, session: str) -> bool:
        """Tell whether the session goes on."""

    def end(self, session: str) -> None:
        """End the session: its access and refresh tokens are void at once."""


class RateLimiter(Protocol):
    """Sliding windows, shared by all servers."""

    def hit(self, scope: str, key: str, limit: int, seconds: int = 60) -> float | None:
        """Count one use of `key` in `scope`; None within `limit` per so many seconds, else the seconds to wait."""


class ThreadRegistry(Protocol):
    """Which conversation at a provider continues one of ours, and what is to be deleted there.

    Threads that are lost cost new ones there, no answer; leftovers that are lost stay there.
    """

    def take(self, assistant_id: str, conversation_id: str, attempt: str) -> Thread:
        """Return the thread as it was left, an empty one if there is none; from now on it is not settled.

        Of several attempts the last one that took it may keep it.
        """

    def keep(self, assistant_id: str, conversation_id: str, attempt: str, thread: Thread) -> bool:
        """Write the thread if this attempt took it last and it was not forgotten since; tell whether it was written.

        A conversation at the provider that it takes the place of is left to be deleted.
        """

    def forget(self, assistant_id: str, conversation_id: str) -> None:
        """Drop the thread of a conversation that is gone, and leave what the provider has of it to be deleted.

        For as long as an answer may last nothing is kept for that conversation any more.
        """

    def flush(self, assistant_id: str, *, gone: bool = False) -> int:
        """Drop all threads of an assistant as `forget` does, and return how many there were.

        Args:
            gone: whether the assistant is; else its conversations begin new ones.
        """

    def leave(self, assistant_id: str, leftovers: Iterable[Leftover], *, in_use: bool = False) -> None:
        """Note what is to be deleted at the provider; what may be in use not before it cannot be any more."""

    def claim(self, assistant_id: str, limit: int, seconds: float) -> Sequence[Leftover]:
        """Return leftovers that are due, the first due first; for so many seconds nobody else is given them."""

    def deleted(self, assistant_id: str, leftovers: Collection[Leftover]) -> None:
        """Note that the provider keeps these no more."""

    def put_back(self, assistant_id: str, leftovers: Collection[Leftover]) -> None:
        """Note that these could not be deleted: they are due again at once, behind the others."""

    def due(self, limit: int) -> Sequence[str]:
        """Return assistants that have leftovers which are due; for a while they are not named again."""


class FileRegistry(Protocol):
    """What a provider holds of each assistant's documents. What is lost here is found again by its name there."""

    def shelf(self, assistant_id: str) -> HostedShelf:
        """Return all of an assistant's, read at one moment."""

    def register(self, assistant_id: str, document_id: str, filename: str, build: str) -> HostedFile:
        """Return the file of this build of the document, with the next number if it is new or was retired.

        Of several callers at once all get the same one.
        """

    def note_upload(self, assistant_id: str, number: int, file_id: str) -> str:
        """Note the provider's id of a file unless it has one; return the one it has, "" if it is not registered."""

    def change(self, assistant_id: str, number: int, changes: Mapping[str, object]) -> bool:
        """Set these fields (names of `HostedFile`) of a file that is registered; tell whether it is."""

    def unregister(self, assistant_id: str, number: int) -> None:
        """Forget a file. Its number is not given again."""

    def set_store(self, assistant_id: str, store_id: str) -> None:
        """Note the assistant's vector store; "" when it has none any more."""

    def mark_deleted(self, assistant_id: str) -> None:
        """Note that the assistant is deleted, so that whoever finds its shelf knows that it is to be cleared."""

    def assistants(self) -> Collection[str]:
        """Return the ids of the assistants that have a shelf."""

    def forget(self, assistant_id: str) -> bool:
        """Forget an assistant of which no file is registered; tell whether that was so."""


class RequestNotes(Protocol):
    """How requests of API clients ended for these. What is lost here makes a repetition out of a new request."""

    def keep(self, digest: str, note: str) -> None:
        """Note how the request with this digest ended, in place of an earlier note.

        Raises:
            Unavailable: at once where the server was missed a moment ago.
        """

    def find(self, digest: str) -> str | None:
        """Return the note on this digest.

        Raises:
            Unavailable: as `keep`.
        """


class Locks(Protocol):
    """Locks across processes. They give order; the truth of what happens once is in the store."""

    def hold(self, name: str, seconds: float, wait: float) -> AbstractContextManager[bool]:
        """Hold a named lock that ends by itself after `seconds`, waiting up to `wait` for it.

        The value tells whether it is held: False when the wait was too long or the server cannot be reached.
        """


class Places(Protocol):
    """Places in line that are kept for a while, by ids that sort in their order. What is lost here costs order only."""

    def keep(self, line: str, place: str, until: datetime) -> bool:
        """Keep a place until then; False if the server cannot be reached."""

    def prolong(self, line: str, place: str, at: datetime, until: datetime) -> None:
        """Keep a place until then, if it is kept at this time."""

    def kept(self, line: str, at: datetime) -> Collection[str]:
        """Return the places that are kept at that time; none if the server cannot be reached."""

    def leave(self, line: str, place: str) -> None:
        """Keep a place no longer; where the server cannot be reached it ends by itself."""


class Appointments(Protocol):
    """At most one waiting job for a purpose. What is lost here costs a job too many."""

    def make(self, purpose: str, token: str, delay: float) -> bool:
        """Appoint a job, due in so many seconds; False if another one is appointed for no later time.

        Otherwise the token's job takes the place of a later one.
        """

    def keep(self, purpose: str, token: str) -> bool:
        """Begin a job, which ends its appointment; False if another one is appointed in its place."""


class EventBus(Protocol):
    """News between servers, for whoever listens now; nothing is kept."""

    def publish(self, topic: str, event: Mapping[str, Any]) -> None:
        """Tell the listeners. Failing to is logged, never raised: news are not the truth."""

    def subscribe(self, topic: str) -> AbstractContextManager["Subscription"]:
        """Listen to a topic.

        Raises:
            Unavailable: the server cannot be reached.
        """


class Subscription(Protocol):
    """An open ear on the event bus."""

    def next(self, timeout: float) -> Mapping[str, Any] | None:
        """Return the next event, or None when the timeout (seconds) passes without one."""


class JobQueue(Protocol):
    """Work for later, at least once, by any worker. The truth is in the store: a job is a nudge."""

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Ask for a job of this name on this argument, not before `delay` seconds have passed.

        Raises:
            Unavailable: the queue cannot be reached. Whoever asked leaves it to a sweeper.
        """


class Destinations(Protocol):
    """Which receivers of callbacks are in trouble, for all servers. Nothing of it needs to last."""

    def wait(self, destination: str) -> float:
        """Return the seconds until another try makes sense; 0.0 for now, or when unknown.

        While a destination is in trouble, of several callers at once one gets 0.0 when a pause is over; the others
        wait.
        """

    def failed(self, destination: str) -> None:
        """Note that it took nothing: the next pause is twice as long."""

    def recovered(self, destination: str) -> None:
        """Note that it answers."""


class Probe(Protocol):
    """Something that readiness asks for."""

    def ping(self) -> str:
        """Return what answers, such as `sqlite 3.40.1`.

        Raises:
            Unavailable: it does not.
        """
