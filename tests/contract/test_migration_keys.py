"""What `migrate-store` does with Redis: from the embedded Valkey to a server, and within one."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from models.errors import Conflict
from models.ids import new_id
from models.jobs import DeadLetter
from models.paging import Page
from models.threads import Leftover, LeftoverKind, Thread
from queues import Queues, open_queues
from repositories.embedded_redis import EmbeddedRedis
from repositories.migration.keys import COPIED, LEFT, OF_STORE
from repositories.redis.database import PREFIX, RedisDatabase
from repositories.redis.hosted_files import RedisFileRegistry
from repositories.redis.limits import RedisRateLimiter
from repositories.redis.locks import RedisLocks
from repositories.redis.request_notes import RedisRequestNotes
from repositories.redis.sessions import RedisSessionRepository
from repositories.redis.threads import RedisThreads
from services.indexing import INDEX_DOCUMENT
from settings import Settings
from stores import VALKEY_FOLDER, open_stores
from tests.contract.migrating import Move, fill, move
from tests.redis_server import redis_server

ROOT = Path(__file__).parents[2]
MINE, OTHER, GONE = new_id(), new_id(), new_id()
FEW = tuple(new_id() for _ in range(3))
MANY = tuple(new_id() for _ in range(1200))
"""More than one answer of a scan holds."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a Redis server, which the tests of this file clear."""
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@dataclass(frozen=True)
class Held:
    """A Redis as a server with these settings uses it."""

    settings: Settings
    redis: RedisDatabase
    files: RedisFileRegistry
    sessions: RedisSessionRepository
    threads: RedisThreads
    notes: RedisRequestNotes
    queues: Queues


@dataclass
class World:
    """A migration between two Redis servers, and what opens them."""

    move: Move
    opened: ExitStack

    @property
    def before(self) -> Settings:
        """Return the settings of the embedded store's servers."""
        return replace(self.move.settings, mongodb_uri="", redis_url="")

    def held(self, settings: Settings) -> Held:
        """Open what a server has."""
        stores = open_stores(settings)
        self.opened.callback(stores.close)
        queues = open_queues(settings, stores.redis_url)
        self.opened.callback(queues.close)
        return Held(
            settings,
            stores.redis,
            RedisFileRegistry(stores.files_redis),
            RedisSessionRepository(stores.redis),
            RedisThreads(stores.redis, queues.store, busy_seconds=0.001),
            RedisRequestNotes(stores.redis),
            queues,
        )

    def close(self) -> None:
        """Be as when every server has stopped."""
        self.opened.close()


@pytest.fixture
def world(tmp_path: Path, secantus: str, server: str) -> Iterator[World]:
    """Give an embedded store and its Valkey, both with something in them, that is to move to servers."""
    with closing(RedisDatabase(server)) as database:
        database.client.flushall()
    with move(tmp_path, secantus, REDIS_URL=server) as one, ExitStack() as opened:
        given = World(one, opened)
        with one.source() as stores:
            fill(stores)
        yield given


def put(held: Held, conversations: Sequence[str] = FEW) -> None:
    """Put something of everything into a Redis."""
    held.sessions.start("session", "r1", 3600)
    held.notes.keep("digest", "é 中")
    for number, conversation in enumerate(conversations):
        held.threads.take(MINE, conversation, "a")
        assert held.threads.keep(MINE, conversation, "a", Thread(f"conv_{number}", ("t1",), True, "c"))
    held.threads.take(GONE, "c", "a")
    held.threads.keep(GONE, "c", "a", Thread("conv_gone", ("t1",), True))
    held.threads.flush(GONE, gone=True)
    held.threads.leave(OTHER, [Leftover(LeftoverKind.RESPONSE, "resp_1")])
    file = held.files.register(MINE, "document", "a.md", "b1")
    held.files.note_upload(MINE, file.number, "file_1")
    held.files.set_store(MINE, "vs_1")
    held.queues.jobs.enqueue(INDEX_DOCUMENT, "now")
    held.queues.jobs.enqueue(INDEX_DOCUMENT, "later", 3600)
    RedisRateLimiter(held.redis).hit("scope", "key", 5)
    with RedisLocks(held.redis).hold("name", 60, 0):
        pass
    held.redis.client.set(f"{PREFIX}appointment:x", "1")
    held.redis.client.set("somebody:else", "1")


def require_all(held: Held, conversations: Sequence[str] = FEW) -> None:
    """Look for everything that has to be there."""
    assert held.sessions.is_active("session")
    assert 3500_000 < int(held.redis.client.pttl(f"{PREFIX}session:session")) <= 3600_000
    assert held.notes.find("digest") == "é 中"
    threads = [held.threads.take(MINE, conversation, "b") for conversation in conversations]
    assert threads == [Thread(f"conv_{number}", ("t1",), True, "c") for number in range(len(conversations))]
    shelf = held.files.shelf(MINE)
    assert (shelf.store_id, [file.file_id for file in shelf.files]) == ("vs_1", ["file_1"])
    assert held.files.assistants() == {MINE}


def require_of_store(held: Held) -> None:
    """Look for what has the store's name in its keys: leftovers that are looked for, and jobs."""
    assert sorted(held.threads.due(9)) == sorted([OTHER, GONE])
    assert [one.id for one in held.threads.claim(GONE, 9, 60)] == ["conv_gone"]
    assert [one.id for one in held.threads.claim(OTHER, 9, 60)] == ["resp_1"]
    queue, did = held.queues.kinds["documents"], threading.Event()
    done: list[str] = []

    def do(argument: str) -> None:
        done.append(argument)
        did.set()

    queue.start({INDEX_DOCUMENT: do}, 1, _never_buried)
    assert did.wait(20) and done == ["now"]
    delayed = held.redis.client.zcard(f"{PREFIX}jobs:{held.queues.store}:documents:default.delayed")
    assert delayed == 1


def _never_buried(letter: DeadLetter) -> None:
    raise AssertionError(letter)


def test_everything_moves_to_a_server_and_nothing_that_is_made_anew(world: World, server: str) -> None:
    before = world.held(world.before)
    put(before, MANY)
    before.sessions.start("short", "r1", 5)
    world.close()
    compared = {one.name: one for one in world.move.run()}
    assert all(one.is_same for one in compared.values()), compared
    kinds = ("session", "request", "threads", "leftovers", "leftovers@", "jobs")
    assert {name: compared[name].target[0] for name in kinds} == {
        "session": 1, "request": 1, "threads": 1, "leftovers": 1, "leftovers@": 1, "jobs": 2,
    }  # fmt: skip
    after = world.held(world.move.settings)
    keys = set(after.redis.client.scan_iter("*"))
    left = [key for key in keys if key.removeprefix(PREFIX).startswith(LEFT) or not key.startswith(PREFIX)]
    assert left == [] and f"{PREFIX}migrated@{after.queues.store}" not in keys
    assert not after.sessions.is_active("short"), "what ends in a moment is left"
    require_all(after, MANY)
    require_of_store(after)
    with EmbeddedRedis(world.before.data_dir / VALKEY_FOLDER) as source, closing(RedisDatabase(source.url)) as there:
        assert there.client.hlen(f"{PREFIX}threads:{MINE}") == len(MANY)


@pytest.mark.parametrize("redis_stays", [False, True])
def test_what_a_moved_data_dir_has_under_its_old_name_is_added_to_the_rest(world: World, redis_stays: bool) -> None:
    before = world.held(world.before)
    put(before)
    client, store = before.redis.client, before.queues.store
    for number in range(9):  # whichever a scan finds first
        client.zadd(f"{PREFIX}leftovers@/old/{number}", {f"{number:024x}": 1})
        client.hset(f"{PREFIX}jobs:/old/{number}:answers:default.msgs", mapping={f"job {number}": "{}"})
    world.close()
    settings = replace(world.move.settings, redis_url="") if redis_stays else world.move.settings
    assert all(one.is_same for one in Move(settings).run())
    after = world.held(settings)
    client, new = after.redis.client, after.queues.store
    assert client.zcard(f"{PREFIX}leftovers@{new}") == 9 + 2
    assert client.hlen(f"{PREFIX}jobs:{new}:answers:default.msgs") == 9
    assert sorted(client.lrange(f"{PREFIX}jobs:{new}:answers:default", 0, -1)) == [f"job {n}" for n in range(9)]
    assert client.hlen(f"{PREFIX}jobs:{new}:documents:default.msgs") == 2 and store != new


@pytest.mark.parametrize("redis_stays", [False, True])
def test_files_go_where_the_servers_will_look_for_them(world: World, server: str, redis_stays: bool) -> None:
    put(world.held(world.before))
    world.close()
    files = server.removesuffix("/0") + "/1"
    settings = replace(world.move.settings, redis_files_url=files, redis_url="" if redis_stays else server)
    with world.move.source() as stores:  # a first try that comes to its last step
        assistant = stores.assistants.list(None, Page(1)).items[0].id
        with pytest.raises(Conflict, match="was changed"):
            Move(settings).run(lambda done, of, what: stores.assistants.bump_index_version(assistant))
    assert all(one.is_same for one in Move(settings).run())
    require_all(world.held(settings))
    with closing(RedisDatabase(files)) as place:
        assert len(place.client.keys("*")) == 2


@pytest.mark.parametrize("is_embedded", [True, False])
def test_where_redis_stays_only_names_change(world: World, server: str, is_embedded: bool) -> None:
    """The embedded Valkey goes on without REDIS_URL; a server's, where the embedded store was used with it."""
    url = "" if is_embedded else server
    before, after = replace(world.before, redis_url=url), replace(world.move.settings, redis_url=url)
    put(world.held(before))
    world.close()
    compared = [one for one in Move(after).run() if not one.source[1]]
    assert [(one.name, one.is_same) for one in compared] == [("leftovers@", True), ("jobs", True)]
    held = world.held(after)
    require_all(held)
    require_of_store(held)


def test_a_second_try_takes_back_what_the_first_one_copied(world: World) -> None:
    held = world.held(world.before)
    put(held)
    world.close()

    def log_out(done: int, of: int, what: str) -> None:
        if done == of:
            with world.move.source() as stores:
                stores.assistants.bump_index_version(stores.assistants.list(None, Page(1)).items[0].id)

    with pytest.raises(Conflict, match="was changed"):
        world.move.run(log_out)
    held = world.held(world.before)
    held.sessions.end("session")
    held.threads.forget(MINE, FEW[0])
    world.close()
    assert all(one.is_same for one in world.move.run())
    after = world.held(world.move.settings)
    assert not after.sessions.is_active("session"), "an ended login stays ended"
    assert after.redis.client.hlen(f"{PREFIX}threads:{MINE}") == len(FEW) - 1
    require_jobs(after, 1, "now", "later")


def require_jobs(held: Held, waiting: int, *arguments: str) -> None:
    """Look for exactly these jobs, of which so many may begin now."""
    messages = held.redis.client.hvals(f"{PREFIX}jobs:{held.queues.store}:documents:default.msgs")
    assert sorted(json.loads(one)["args"][1] for one in messages) == sorted(arguments)
    assert held.queues.kinds["documents"].waiting() == waiting


def test_jobs_that_a_dead_worker_had_wait_again(world: World) -> None:
    world.held(world.move.settings).queues.jobs.enqueue(INDEX_DOCUMENT, "left")  # by a server on the empty database
    held = world.held(world.before)
    held.queues.jobs.enqueue(INDEX_DOCUMENT, "taken")
    queue = f"{PREFIX}jobs:{held.queues.store}:documents:default"
    taken = held.redis.client.lpop(queue)
    held.redis.client.sadd(f"{PREFIX}jobs:{held.queues.store}:documents:__acks__.dead.default", str(taken))
    world.close()
    world.move.run()
    require_jobs(world.held(world.move.settings), 2, "left", "taken")


def _hold_valkey(world: World) -> None:
    world.opened.enter_context(EmbeddedRedis(world.before.data_dir / VALKEY_FOLDER))


def _work_on_target(world: World) -> None:
    queue = world.held(world.move.settings).queues.kinds["documents"]
    queue.start({}, 1, _never_buried)
    until = threading.Event()
    while not queue.alive():
        assert not until.wait(0.02)


def _have_a_thread(world: World) -> None:
    RedisThreads(world.held(world.move.settings).redis).take(MINE, "c", "a")


def _name_the_valkey(world: World) -> None:
    url = EmbeddedRedis(world.before.data_dir / VALKEY_FOLDER)
    world.move = Move(replace(world.move.settings, redis_url=url.url))
    url.close()


REFUSED: dict[str, tuple[Callable[[World], object], str]] = {
    "its valkey is in use": (_hold_valkey, "is in use"),
    "a worker is there": (_work_on_target, "runs on these settings already"),
    "a key is there": (_have_a_thread, f"holds 'orquestra:threads:{MINE}' already"),
    "it is its own target": (_name_the_valkey, "is the embedded Valkey itself"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused(case: str, world: World) -> None:
    prepare, expected = REFUSED[case]
    put(world.held(world.before))
    world.close()
    prepare(world)
    with pytest.raises(Conflict, match=expected):
        world.move.run()
    with world.move.database() as database:
        assert database.collection("users").find_one() is None


def test_every_kind_of_key_is_decided() -> None:
    """Names of keys begin with PREFIX, in the code of the repositories and of the queues."""
    sources = [*(ROOT / "repositories" / "redis").glob("*.py"), ROOT / "queues.py"]
    used = {name for file in sources for name in re.findall(r"\{PREFIX\}([a-z-]+@?)", file.read_text())}
    assert used == {*COPIED, *OF_STORE, *LEFT}
