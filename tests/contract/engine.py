"""The answering engine on a store, with a scripted model and without Redis: locks are never held, news reach nobody."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from models.answers import Done, Inbound, ModelRequest, TextDelta
from models.assistants import Assistant
from models.chats import Chat, ChatFilter, ChatStatus
from models.clock import now
from models.conversations import Channel
from models.deadline import Deadline
from models.documents import ScoredPassage
from models.errors import Unavailable
from models.hosting import HostedView
from models.paging import Page
from services.arrivals import Arrivals
from services.attempts import Attempts
from services.composing import Composer, Memory
from services.conversations import ConversationService
from services.journal import Journal
from services.leases import LeaseKeeper
from services.news import ConversationNews
from services.nudges import ANSWER_CHAT, Nudges
from services.ports import Subscription, ToolHost
from services.providers.scripted import Item, ScriptedModel
from services.repetitions import Repetitions
from services.tools.listing import Toolboxes
from tests.contract.house import House
from tests.contract.stores import Stores, make_assistant
from tests.contract.tool_servers import ToolServers, resolved

DYING = 0.4
"""Seconds that the leases of a server last which is going to die in a test."""


def wait_until(condition: Callable[[], object]) -> None:
    """Wait up to 30 s for a condition."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def use_clock_of_bursts(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], datetime]) -> None:
    """Have bursts begin and end by this clock."""
    for module in ("services.journal", "services.turns"):
        monkeypatch.setattr(f"{module}.now", clock)


def echo(request: ModelRequest, deadline: Deadline) -> list[Item]:
    """Answer with the question."""
    return [f"re {request.question}"]


class Meddled:
    """Stand before a port and do something before or after some of its methods: wait, break, change the store.

    Attributes:
        counted: how often each method was called.
    """

    def __init__(
        self,
        port: Any,
        *,
        before: Mapping[str, Callable[[], object]] | None = None,
        after: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self._port = port
        self._before, self._after = {} if before is None else before, {} if after is None else after
        self.counted: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.counted[name] = self.counted.get(name, 0) + 1
            if name in self._before:
                self._before[name]()
            result = real(*args, **kwargs)
            if name in self._after:
                self._after[name]()
            return result

        return call


class Trouble:
    """Raise `Unavailable` so many times."""

    def __init__(self, times: int = 1) -> None:
        self.left = times

    def __call__(self) -> None:
        """Raise while there is trouble left."""
        if self.left > 0:
            self.left -= 1
            raise Unavailable("The store is away.", code="store_unavailable")


class LostLocks:
    """Implement `Locks` as they are when Redis is down: nothing is ever held."""

    @contextmanager
    def hold(self, name: str, seconds: float, wait: float) -> Iterator[bool]:
        """Hold nothing."""
        yield False


@dataclass
class HeardNews:
    """Implement `EventBus` by keeping what was published."""

    events: list[Mapping[str, Any]] = field(default_factory=list)

    def publish(self, topic: str, event: Mapping[str, Any]) -> None:
        """Keep the event."""
        self.events.append(event)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[Subscription]:
        """Refuse: nobody listens here."""
        raise Unavailable("There is no Redis in this test.")
        yield


@dataclass
class Asked:
    """Implement `JobQueue` by keeping what was asked for: the tests run the jobs themselves."""

    jobs: list[tuple[str, str, float]] = field(default_factory=list)

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Keep the job."""
        self.jobs.append((job, argument, delay))


@dataclass
class FixedIndex:
    """Implement `KnowledgeIndex` with the same passages for every question."""

    found: Sequence[ScoredPassage] = ()

    def search(self, assistant: Assistant, query: str, limit: int) -> Sequence[ScoredPassage]:
        """Return the passages."""
        return self.found[:limit]

    def refresh(self, assistant: Assistant) -> None:
        """Have nothing to take in."""

    def held(self) -> Sequence[str]:
        """Keep nothing."""
        return ()

    def forget(self, assistant_id: str) -> None:
        """Forget nothing."""


class NothingHosted:
    """Implement `HostedKnowledge` where no provider holds anything."""

    def view(self, assistant_id: str) -> HostedView:
        """Return that there is nothing."""
        return HostedView("")

    def missed(self, assistant_id: str) -> None:
        """Take in what cannot happen."""


@dataclass
class KeptNotes:
    """Implement `RequestNotes` in memory; `away` makes it as it is when Redis is down."""

    notes: dict[str, str] = field(default_factory=dict)
    away: bool = False

    def keep(self, digest: str, note: str) -> None:
        """Keep a note."""
        self._answer()
        self.notes[digest] = note

    def find(self, digest: str) -> str | None:
        """Return a note."""
        self._answer()
        return self.notes.get(digest)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("Redis is away.", code="redis_unavailable")


class KeptPlaces:
    """Implement `Places` in memory; `away` makes it as it is when Redis is down."""

    def __init__(self) -> None:
        self.away = False
        self.ends: dict[tuple[str, str], datetime] = {}
        self._lock = threading.RLock()

    def keep(self, line: str, place: str, until: datetime) -> bool:
        """Keep a place."""
        with self._lock:
            if not self.away:
                self.ends[line, place] = until
            return not self.away

    def prolong(self, line: str, place: str, at: datetime, until: datetime) -> None:
        """Keep a place for longer."""
        with self._lock:
            if place in self.kept(line, at):
                self.ends[line, place] = until

    def kept(self, line: str, at: datetime) -> list[str]:
        """Return the places that are kept."""
        with self._lock:
            kept = [] if self.away else list(self.ends.items())
        return [place for (one, place), until in kept if one == line and until > at]

    def leave(self, line: str, place: str) -> None:
        """Keep a place no longer."""
        with self._lock:
            if not self.away:
                self.ends.pop((line, place), None)


class Engine:
    """One server's engine over a store; several over one store are several servers.

    Args:
        debounce_seconds: of the assistant that is made when none is given.
        lease_seconds: short ones make attempts die soon.
        chats: what stands before the stored chats.
        host: makes the calls of tools.
    """

    def __init__(
        self,
        stores: Stores,
        model: ScriptedModel,
        *,
        assistant: Assistant | None = None,
        debounce_seconds: float = 0.0,
        lease_seconds: float = 15.0,
        found: Sequence[ScoredPassage] = (),
        chats: Any = None,
        jobs: Asked | None = None,
        host: ToolHost | None = None,
        places: KeptPlaces | None = None,
    ) -> None:
        self.stores, self.model, self.news = stores, model, HeardNews()
        self.notes = KeptNotes()
        self.repetitions = Repetitions(stores.chats, self.notes)
        self.assistant = assistant or make_assistant(debounce_seconds=debounce_seconds)
        if assistant is None:
            stores.assistants.add(self.assistant)
        self.leases = LeaseKeeper(lease_seconds)
        House.opened.append(self.leases)
        chats = chats or stores.chats
        self.places = places or KeptPlaces()
        self.arrivals = Arrivals(stores.conversations, chats, self.places, self.leases)
        journal = Journal(
            stores.assistants,
            stores.conversations,
            chats,
            LostLocks(),
            ConversationNews(self.news, stores.assistants, stores.conversations),
            self.arrivals,
        )
        memory = Memory(chats, stores.documents, stores.passages, FixedIndex(found), NothingHosted())
        toolboxes = Toolboxes(host or ToolServers(), resolved, memory.index)
        composer = Composer(memory, {model.provider: model}, model.provider, 1000, toolboxes)
        self.jobs = jobs or Asked()
        nudges = Nudges(self.jobs)
        attempts = Attempts(journal, composer, self.leases, nudges)
        self.service = ConversationService(
            journal, attempts, self.leases, nudges, deadline_seconds=30, backlog=lambda: len(self.jobs.jobs)
        )

    def twin(self, model: ScriptedModel | None = None, lease_seconds: float = 15.0, chats: Any = None) -> "Engine":
        """Return another server over the same store."""
        model = model or self.model
        return Engine(
            self.stores, model, assistant=self.assistant, lease_seconds=lease_seconds, chats=chats, places=self.places
        )

    def die(self) -> "Engine":
        """Renew no lease from now on, as a dead or a stopped process does; what it is at stays where it is."""
        self.leases.close()
        return self

    def lapse(self, text: str) -> None:
        """Let the lease of a message's attempt be over."""
        chat = self.chat(text)
        assert chat.lease_owner is not None
        self.stores.chats.renew([chat.id], chat.lease_owner, now() - timedelta(seconds=1))

    def hurried(self) -> Assistant:
        """Return the assistant, if it has a pause, with a short one: a burst closes soon behind its next message."""
        return replace(self.assistant, debounce_seconds=min(self.assistant.debounce_seconds, 0.05))

    def inbound(self, text: str, **fields: Any) -> Inbound:
        """Return a message of one channel, to this engine's assistant or another version of it."""
        assistant = fields.pop("assistant", self.assistant)
        return Inbound(assistant, fields.pop("channel", Channel("+55", "whatsapp")), text, **fields)

    def say(self, text: str, deadline: Deadline | None = None, **fields: Any) -> Done:
        """Send a message and return how it ended."""
        events = list(self.service.answer(self.inbound(text, **fields), deadline))
        done = events[-1]
        assert isinstance(done, Done)
        if done.chat.status is ChatStatus.ANSWERED and not done.replayed:
            assert "".join(event.text for event in events if isinstance(event, TextDelta)) == done.chat.response
        return done

    def asked(self) -> list[str]:
        """Return the chats that jobs were asked to answer, and forget them."""
        asked = [argument for job, argument, _ in self.jobs.jobs if job == ANSWER_CHAT]
        self.jobs.jobs.clear()
        return asked

    def work(self, threads: int = 2) -> None:
        """Do the jobs that answer, so many at the same time, until none is left; those put off when it is time."""
        with ThreadPoolExecutor(threads) as pool:
            while asked := [(argument, delay) for job, argument, delay in self.jobs.jobs if job == ANSWER_CHAT]:
                self.jobs.jobs[:] = [job for job in self.jobs.jobs if job[0] != ANSWER_CHAT]
                time.sleep(min(delay for _, delay in asked))
                for done in [pool.submit(self.service.resume, chat_id) for chat_id, _ in asked]:
                    done.result(30)

    def sweep(self) -> None:
        """Sweep, and do the jobs that were asked for."""
        self.asked()
        self.service.sweep()
        for chat_id in self.asked():
            self.service.resume(chat_id)

    def retry(self, chat: Chat) -> Done:
        """Do what a manager's retry does, and return how it ended."""
        *_, done = self.service.retry(self.assistant, chat, Deadline(30))
        assert isinstance(done, Done)
        return done

    def chats(self) -> list[Chat]:
        """Return every stored chat, oldest first."""
        return chats_of(self.stores, self.assistant.id)

    def chat(self, text: str) -> Chat:
        """Return the stored chat of a message."""
        (chat,) = [chat for chat in self.chats() if chat.message == text]
        return chat

    def is_stored(self, text: str) -> bool:
        """Tell whether a message is stored."""
        return text in [chat.message for chat in self.chats()]

    def switch(self, active: bool, until: datetime | None = None) -> None:
        """Do what a manager's switch does to the one conversation there is."""
        (conversation_id,) = {chat.conversation_id for chat in self.chats()}
        self.stores.conversations.set_active(conversation_id, active, until)
        self.stores.chats.set_active(conversation_id, active, until)


def chats_of(stores: Stores, assistant_id: str) -> list[Chat]:
    """Return every chat of an assistant, oldest first."""
    listing = stores.chats.list(ChatFilter(assistant_ids=(assistant_id,), oldest_first=True), Page(limit=1000))
    return list(listing.items)
