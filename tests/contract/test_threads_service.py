"""The end of conversations at a provider: what is forgotten is deleted there, whatever fails on the way."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from models.assistants import Assistant
from models.deadline import Deadline
from models.errors import NotFound, OrquestraError, ProviderFailed, Unavailable
from models.ids import new_id
from models.threads import Leftover, Thread
from models.users import Principal, Role
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from services.news import ConversationNews
from services.threads import DELETE_LEFTOVERS, ThreadService
from services.viewer import ConversationViewer
from tests.contract.engine import HeardNews
from tests.contract.house import Breaking, Crash
from tests.contract.stores import Stores, make_assistant, make_chat, make_conversation, opened_sqlite

_BUSY = 0.4
_PATIENCE = 0.6


@dataclass
class Host:
    """Implement `HostedMemory`.

    Attributes:
        gone: what was deleted, in its order.
        refusing: what cannot be deleted; None for nothing at all.
        dying: raised instead of deleting.
    """

    gone: list[str] = field(default_factory=list)
    refusing: set[str] | None = field(default_factory=set)
    dying: BaseException | None = None
    tried: list[str] = field(default_factory=list)

    def delete(self, leftover: Leftover, deadline: Deadline) -> None:
        """Delete it, or do not."""
        self.tried.append(leftover.id)
        if self.dying is not None:
            raise self.dying
        if self.refusing is None or leftover.id in self.refusing:
            raise ProviderFailed("It is away.")
        self.gone.append(leftover.id)


@dataclass
class Waiting:
    """Implement `JobQueue`: jobs wait until the test does them."""

    jobs: list[str] = field(default_factory=list)
    away: bool = False

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Keep it."""
        assert job == DELETE_LEFTOVERS
        if self.away:
            raise Unavailable("The queue is away.")
        self.jobs.append(argument)


@dataclass
class World:
    """An assistant whose conversations a provider keeps."""

    stores: Stores
    registry: RedisThreads
    host: Host
    jobs: Waiting
    threads: ThreadService
    assistant: Assistant

    @property
    def owner(self) -> Principal:
        """Return who the assistant is of."""
        return Principal(self.assistant.owner_id, Role.USER)

    def service(self, **parts: Any) -> ThreadService:
        """Return the service of another server, with these parts in place of whole ones."""
        given = {
            "assistants": self.stores.assistants, "chats": self.stores.chats, "registry": self.registry,
            "jobs": self.jobs, "provider": "openai", "hosted": self.host,
        }  # fmt: skip
        return ThreadService(**{**given, **parts})

    def talk(self, name: str, responses: int = 1) -> str:
        """Hold a conversation that the provider keeps under this name; return its id."""
        conversation = make_conversation(self.assistant.id, name)
        self.stores.conversations.find_or_add(conversation)
        for number in range(responses):
            self.stores.chats.add(
                make_chat(self.assistant.id, conversation.id, provider="openai", response_id=f"resp_{name}_{number}")
            )
        self.stores.chats.add(make_chat(self.assistant.id, conversation.id, provider="core", response_id="not_kept"))
        self.settle(conversation.id, name)
        return conversation.id

    def settle(self, conversation_id: str, name: str) -> None:
        """Let the provider keep it under this name."""
        self.registry.take(self.assistant.id, conversation_id, "before")
        self.registry.keep(self.assistant.id, conversation_id, "before", Thread(name, ("t",), settled=True))

    def work(self) -> None:
        """Do the jobs that wait."""
        while self.jobs.jobs:
            self.threads.delete_leftovers(self.jobs.jobs.pop())


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisDatabase]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        with contextlib.closing(RedisDatabase(server.url)) as database:
            yield database


@pytest.fixture
def world(database: RedisDatabase, tmp_path: Path) -> Iterator[World]:
    with opened_sqlite(tmp_path / "orquestra.sqlite") as stores:
        registry = RedisThreads(database, new_id(), busy_seconds=_BUSY, patience_seconds=_PATIENCE)
        host, jobs, assistant = Host(), Waiting(), make_assistant()
        stores.assistants.add(assistant)
        threads = ThreadService(stores.assistants, stores.chats, registry, jobs, "openai", host)
        yield World(stores, registry, host, jobs, threads, assistant)


def test_a_flush_counts_threads_and_has_them_deleted_but_no_responses(world: World) -> None:
    for name in ("conv_1", "conv_2"):
        world.talk(name)
    assert world.threads.flush(world.owner, world.assistant.id) == 2
    world.work()
    assert sorted(world.host.gone) == ["conv_1", "conv_2"]
    assert world.threads.flush(world.owner, world.assistant.id) == 0
    world.work()


def test_only_who_may_see_an_assistant_flushes_its_threads(world: World) -> None:
    world.talk("conv_1")
    for caller, assistant_id in (
        (Principal(new_id(), Role.USER), world.assistant.id), (world.owner, new_id()), (world.owner, "x"),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            world.threads.flush(caller, assistant_id)
    assert world.threads.flush(Principal(new_id(), Role.ADMIN), world.assistant.id) == 1


def test_a_conversation_is_forgotten_with_its_responses_and_no_other(world: World) -> None:
    gone, other = world.talk("conv_1", responses=3), world.talk("conv_2")
    world.threads.forget(world.assistant.id, gone)
    world.work()
    assert sorted(world.host.gone) == ["conv_1", "resp_conv_1_0", "resp_conv_1_1", "resp_conv_1_2"]
    assert world.registry.take(world.assistant.id, other, "look").settled


def test_an_assistant_is_forgotten_with_everything(world: World) -> None:
    world.talk("conv_1", responses=1001)
    world.talk("conv_2")
    world.threads.forget(world.assistant.id)
    world.work()
    assert len(world.host.gone) == len(set(world.host.gone)) == 1004
    assert world.threads.flush(world.owner, world.assistant.id) == 0


def test_erasing_writes_everything_down_before_anything_is_deleted(world: World) -> None:
    conversation = world.talk("conv_1")
    nowhere = RedisThreads(RedisDatabase("redis://127.0.0.1:1/0"))
    viewer = ConversationViewer(
        world.stores.assistants, world.stores.conversations, world.stores.chats,
        cast(ConversationNews, None), world.service(registry=nowhere),
    )  # fmt: skip
    with pytest.raises(Unavailable):
        viewer.erase(world.owner, conversation)
    assert world.stores.chats.newest(conversation) is not None
    assert world.stores.conversations.get(conversation) is not None


@pytest.mark.parametrize("step", ["chats", "conversation"])
@pytest.mark.parametrize("after", [False, True])
def test_erasing_that_was_cut_off_leaves_nothing_when_it_is_repeated(world: World, step: str, after: bool) -> None:
    conversation, stores = world.talk("conv_1"), world.stores
    news = ConversationNews(HeardNews(), stores.assistants, stores.conversations)
    chats: Any = stores.chats
    conversations: Any = stores.conversations
    if step == "chats":
        chats = Breaking(chats, "delete_of_conversation", Crash(), after=after)
    else:
        conversations = Breaking(conversations, "delete", Crash(), after=after)
    with pytest.raises(Crash):
        ConversationViewer(stores.assistants, conversations, chats, news, world.threads).erase(
            world.owner, conversation
        )
    with contextlib.suppress(NotFound):  # it is gone, or has gone now
        again = ConversationViewer(stores.assistants, stores.conversations, stores.chats, news, world.threads)
        again.erase(world.owner, conversation)
    assert stores.conversations.get(conversation) is None
    assert stores.chats.newest(conversation) is None


@pytest.mark.parametrize("method", ["leave", "forget"])
@pytest.mark.parametrize("after", [False, True])
def test_forgetting_that_was_cut_off_can_be_repeated(world: World, method: str, after: bool) -> None:
    conversation = world.talk("conv_1")
    broken = Breaking(world.registry, method, Crash(), after=after)
    with pytest.raises(Crash):
        world.service(registry=broken).forget(world.assistant.id, conversation)
    world.threads.forget(world.assistant.id, conversation)
    world.work()
    assert sorted(world.host.gone) == ["conv_1", "resp_conv_1_0"]


def test_what_was_forgotten_is_deleted_though_its_job_was_never_asked_for(world: World) -> None:
    conversation = world.talk("conv_1")
    world.jobs.away = True
    world.threads.forget(world.assistant.id, conversation)
    world.jobs.away = False
    world.threads.sweep()
    world.work()
    assert sorted(world.host.gone) == ["conv_1", "resp_conv_1_0"]
    threading.Event().wait(_PATIENCE)
    world.threads.sweep()
    assert world.jobs.jobs == [], "nothing is left"


class Hasty(RedisThreads):
    """A registry that gives claimed leftovers to others soon."""

    def claim(self, assistant_id: str, limit: int, seconds: float) -> Sequence[Leftover]:
        """Return leftovers that are due."""
        return super().claim(assistant_id, limit, 0.1)


def test_what_a_dead_process_was_deleting_is_deleted_later(world: World, database: RedisDatabase) -> None:
    conversation = world.talk("conv_1")
    world.threads.forget(world.assistant.id, conversation)
    world.host.dying = Crash()
    with pytest.raises(Crash):
        world.service(registry=Hasty(database)).delete_leftovers(world.jobs.jobs.pop())
    world.host.dying = None
    threading.Event().wait(2 * _PATIENCE)
    world.threads.sweep()
    world.work()
    assert sorted(world.host.gone) == ["conv_1", "resp_conv_1_0"]


def test_what_is_deleted_is_struck_out(world: World, database: RedisDatabase) -> None:
    world.threads.forget(world.assistant.id, world.talk("conv_1"))
    world.service(registry=Hasty(database)).delete_leftovers(world.assistant.id)
    threading.Event().wait(0.2)
    assert not world.registry.claim(world.assistant.id, 10, 60)


def test_a_provider_that_is_away_fails_the_job_and_is_not_asked_for_everything(world: World) -> None:
    world.threads.forget(world.assistant.id, world.talk("conv_1", responses=9))
    world.host.refusing = None
    with pytest.raises(ProviderFailed):
        world.work()
    assert len(world.host.tried) == 3
    world.host.refusing = set()
    threading.Event().wait(1.1)
    world.threads.delete_leftovers(world.assistant.id)
    assert len(world.host.gone) == 10


def test_a_few_failures_do_not_end_a_job(world: World) -> None:
    world.threads.forget(world.assistant.id, world.talk("conv_1", responses=9))
    world.host.refusing = {f"resp_conv_1_{number}" for number in range(0, 8, 2)}
    with pytest.raises(ProviderFailed):
        world.work()
    assert len(world.host.gone) == 6


def test_what_cannot_be_deleted_holds_nothing_else_up(world: World) -> None:
    world.threads.forget(world.assistant.id, world.talk("conv_1", responses=30))
    world.host.refusing = {f"resp_conv_1_{number}" for number in range(0, 30, 5)}
    for _ in range(5):
        with contextlib.suppress(ProviderFailed):
            world.threads.delete_leftovers(world.assistant.id)
    assert len(world.host.gone) == 25
    threading.Event().wait(1.1)
    with pytest.raises(ProviderFailed):
        world.threads.delete_leftovers(world.assistant.id)
    world.jobs.jobs.clear()
    world.threads.sweep()
    assert world.jobs.jobs == [], "the queue tries it again"
    threading.Event().wait(1.1)
    world.host.refusing = set()
    world.threads.sweep()
    world.work()
    assert len(world.host.gone) == 31


def test_a_conversation_in_use_is_deleted_when_the_sweeper_finds_it_due(world: World) -> None:
    conversation = world.talk("conv_1")
    world.registry.take(world.assistant.id, conversation, "in use")
    assert world.threads.flush(world.owner, world.assistant.id) == 1
    world.work()
    assert world.host.gone == []
    threading.Event().wait(_BUSY)
    world.threads.sweep()
    world.work()
    assert world.host.gone == ["conv_1"]


def test_many_leftovers_are_deleted_in_several_jobs(world: World) -> None:
    for number in range(250):
        world.settle(new_id(), f"conv_{number}")
    world.threads.flush(world.owner, world.assistant.id)
    world.threads.delete_leftovers(world.jobs.jobs.pop())
    assert 0 < len(world.host.gone) < 250
    assert world.jobs.jobs == [world.assistant.id]
    world.work()
    assert len(set(world.host.gone)) == 250


def test_while_no_provider_is_configured_leftovers_wait(world: World) -> None:
    conversation = world.talk("conv_1")
    without = world.service(hosted=None)
    without.forget(world.assistant.id, conversation)
    without.sweep()
    without.delete_leftovers(world.assistant.id)
    assert world.jobs.jobs == []
    world.threads.sweep()
    world.work()
    assert sorted(world.host.gone) == ["conv_1", "resp_conv_1_0"]


def test_a_failed_job_says_what_the_provider_said(world: World) -> None:
    world.threads.forget(world.assistant.id, world.talk("conv_1"))
    world.host.dying = ProviderFailed("Words of the test.", code="provider_auth")
    with pytest.raises(OrquestraError) as raised:
        world.work()
    assert raised.value.code == "provider_auth"


def test_an_assistant_of_another_store_is_none_of_ours(world: World, database: RedisDatabase) -> None:
    world.threads.forget(world.assistant.id, world.talk("conv_1"))
    world.jobs.jobs.clear()
    elsewhere = replace(world, registry=RedisThreads(database, new_id()))
    elsewhere.service().sweep()
    assert world.jobs.jobs == []
