"""The life of the embedded server: started once, shared, brought back when it dies, stopped with its last user."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from models.errors import Unavailable
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.database import RedisDatabase

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

ROOT = Path(__file__).parents[2]
USER = """
import sys
from pathlib import Path
from repositories.embedded_redis import EmbeddedRedis
with EmbeddedRedis(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Give a data directory; afterwards no process of it may be left."""
    yield tmp_path / "redis"
    wait_for(lambda: not processes_of(tmp_path))


class User:
    """Another process that uses the server until its input ends."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(directory)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def url(self) -> str:
        """Return the URL it uses, waiting for it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, *, kill: bool = False) -> None:
        """Let it close, or kill it."""
        if kill:
            self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate(timeout=20)


@contextlib.contextmanager
def user(directory: Path) -> Iterator[User]:
    """Run a user process, and end it whatever happens."""
    started = User(directory)
    try:
        yield started
    finally:
        if started.process.returncode is None:
            started.end(kill=True)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so, and fail when it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def processes_of(directory: Path) -> dict[int, bool]:
    """Return the ids of keepers and servers of a directory, and whether each is a keeper."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode(errors="replace")  # empty for a dead child not waited for
            if str(directory) in command and USER not in command:
                found[int(entry.name)] = "embedded_redis_keeper" in command
    return found


def keepers(directory: Path) -> list[int]:
    """Return the ids of the keepers of a directory."""
    return [pid for pid, is_keeper in processes_of(directory).items() if is_keeper]


def servers(directory: Path) -> list[int]:
    """Return the ids of the servers of a directory."""
    return [pid for pid, is_keeper in processes_of(directory).items() if not is_keeper]


def server_pid(url: str) -> int:
    """Return the process id of the server behind a URL."""
    with contextlib.closing(RedisDatabase(url)) as database:
        pid: int = database.client.info("server")["process_id"]
        return pid


def test_it_is_private_durable_and_stops_with_its_only_user(directory: Path) -> None:
    with EmbeddedRedis(directory) as server:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "valkey.sock").stat().st_mode) == 0o700
        with contextlib.closing(RedisDatabase(server.url)) as database:
            assert database.ping().startswith("valkey ")
            assert database.client.config_get("port")["port"] == "0"
            assert database.client.config_get("appendfsync")["appendfsync"] == "everysec"
            database.client.set("kept", "yes")
    wait_for(lambda: not processes_of(directory))
    with EmbeddedRedis(directory) as server, contextlib.closing(RedisDatabase(server.url)) as database:
        assert database.client.get("kept") == "yes"


def test_two_processes_share_one_server_and_the_last_stops_it(directory: Path) -> None:
    with user(directory) as first, EmbeddedRedis(directory) as second:
        assert first.url == second.url
        pid = server_pid(second.url)
        first.end()
        time.sleep(0.3)
        assert server_pid(second.url) == pid
    wait_for(lambda: not processes_of(directory))


def test_processes_that_start_at_once_start_one_server(directory: Path) -> None:
    with contextlib.ExitStack() as stack:
        users = [stack.enter_context(user(directory)) for _ in range(4)]
        urls = {one.url for one in users}
        assert len(urls) == 1
        assert len(servers(directory)) == 1
        wait_for(lambda: len(keepers(directory)) == 1)
        for one in users:
            one.end()


def test_the_death_of_the_starter_leaves_it_to_the_others(directory: Path) -> None:
    with user(directory) as starter:
        pid = server_pid(starter.url)
        with EmbeddedRedis(directory) as server:
            starter.end(kill=True)
            time.sleep(0.3)
            assert server_pid(server.url) == pid


def test_it_stops_when_its_last_user_is_killed(directory: Path) -> None:
    with user(directory) as only:
        assert only.url
        only.end(kill=True)
    wait_for(lambda: not processes_of(directory))


def test_killed_it_comes_back_with_its_data_for_the_same_clients(directory: Path) -> None:
    def is_kept() -> bool:
        with contextlib.suppress(RedisConnectionError):  # a client tries for 0.75 s, which a busy machine may exceed
            return bool(database.client.get("kept") == "yes")
        return False

    with EmbeddedRedis(directory) as server, contextlib.closing(RedisDatabase(server.url)) as database:
        database.client.set("kept", "yes")
        for _ in range(2):
            os.kill(server_pid(server.url), signal.SIGKILL)
            wait_for(is_kept)


def test_ensure_starts_it_again_by_itself(directory: Path) -> None:
    with EmbeddedRedis(directory, look_every=3600) as server:
        pid = server_pid(server.url)
        server.ensure()
        assert server_pid(server.url) == pid
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not processes_of(directory))
        server.ensure()
        assert server_pid(server.url) != pid


def test_a_killed_keeper_is_replaced_so_that_the_server_still_stops(directory: Path) -> None:
    with EmbeddedRedis(directory) as server, contextlib.closing(RedisDatabase(server.url)) as database:
        database.client.set("kept", "yes")
        (keeper,) = keepers(directory)
        os.kill(keeper, signal.SIGKILL)
        wait_for(lambda: keepers(directory) not in ([], [keeper]))
        wait_for(lambda: len(keepers(directory)) == 1)
        assert database.client.get("kept") == "yes"
        assert len(servers(directory)) == 1


def test_a_server_left_without_keeper_and_users_is_cleaned_up_by_the_next_start(directory: Path) -> None:
    with user(directory) as killed:
        pid = server_pid(killed.url)
        os.kill(killed.process.pid, signal.SIGSTOP)  # it must not replace its keeper
        os.kill(keepers(directory)[0], signal.SIGKILL)
        killed.end(kill=True)
    wait_for(lambda: processes_of(directory) == {pid: False})
    with EmbeddedRedis(directory) as server:
        assert server_pid(server.url) != pid


def test_deep_directories_use_a_short_private_one_for_the_socket(directory: Path) -> None:
    deep = directory / ("d" * 60) / ("e" * 60)
    with EmbeddedRedis(deep) as one, EmbeddedRedis(deep) as two:
        assert one.url == two.url
        folder = Path(one.url.removeprefix("unix://")).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert server_pid(one.url) == server_pid(two.url)
    wait_for(lambda: not folder.exists())
    with EmbeddedRedis(deep) as again:
        assert server_pid(again.url)
    wait_for(lambda: not processes_of(directory))


def test_odd_characters_in_the_path_are_no_problem(directory: Path) -> None:
    with EmbeddedRedis(directory / "a b%20?#ç\"'") as server:
        assert server_pid(server.url)


def test_closing_at_once_and_opening_again_works_every_time(directory: Path) -> None:
    for _ in range(5):
        with EmbeddedRedis(directory) as server:
            assert server_pid(server.url)


def test_a_server_that_does_not_start_is_reported_and_leaves_nothing(directory: Path) -> None:
    log = directory / "appendonlydir" / "appendonly.aof.manifest"
    log.parent.mkdir(parents=True)
    log.write_text("this is no manifest\n")
    with pytest.raises(Unavailable, match=r"valkey\.log.*REDIS_URL"):
        EmbeddedRedis(directory)


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="DATA_DIR"):
        EmbeddedRedis(tmp_path / "file" / "redis")


def test_without_the_wheel_the_message_says_what_to_do(tmp_path: Path) -> None:
    script = USER.replace(
        "import sys", "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]", 1
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "requirements-offline.txt" in done.stderr
    assert "REDIS_URL" in done.stderr
