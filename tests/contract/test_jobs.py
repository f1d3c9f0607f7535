"""The job queue, against the embedded server and against one over TCP."""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from dramatiq import Message
from redis import Redis

from models.clock import now
from models.errors import Conflict, Unavailable
from models.ids import new_id
from models.jobs import DeadLetter
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.database import RedisDatabase
from repositories.redis.job_broker import JobBroker
from repositories.redis.job_retries import RetryPolicy
from repositories.redis.jobs import RedisJobs
from services.jobs import JobProbe, JobRouter
from services.ports import JobQueue
from tests.contract.job_worker import QUICK
from tests.redis_server import KINDS, redis_of, redis_server

ROOT = Path(__file__).parents[2]
NEVER = 3600.0
"""Seconds of a heartbeat that does not lapse while a test runs."""
PATIENT = RetryPolicy(pauses=(NEVER,))
"""What fails is not tried again while a test runs."""


@pytest.fixture(scope="module", params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a running server."""
    with redis_of(request.param, tmp_path_factory.mktemp("jobs")) as address:
        yield address


@pytest.fixture
def namespace() -> str:
    """Give a namespace of the test's own."""
    return f"orquestra:test:{new_id()}"


class Opener(Protocol):
    """What opens a queue and closes it after the test."""

    def __call__(self, heartbeat: float = NEVER, close_within: float = 10.0, retries: RetryPolicy = QUICK) -> RedisJobs:
        """Open a queue in the test's namespace, as another process would."""


@pytest.fixture
def opened(url: str, namespace: str) -> Iterator[Opener]:
    """Give what opens queues on one server, in one namespace."""
    with contextlib.ExitStack() as stack:

        def open_queue(heartbeat: float = NEVER, close_within: float = 10.0, retries: RetryPolicy = QUICK) -> RedisJobs:
            jobs = RedisJobs(
                url, namespace=namespace, heartbeat_seconds=heartbeat, close_within=close_within, retries=retries
            )
            return stack.enter_context(contextlib.closing(jobs))

        yield open_queue


@pytest.fixture
def client(url: str) -> Iterator[Redis]:
    """Give a client, to look at what the queue keeps."""
    with contextlib.closing(RedisDatabase(url)) as database:
        yield database.client


class Journal:
    """A handler that notes the arguments it gets."""

    def __init__(self) -> None:
        self.arguments: list[str] = []

    def __call__(self, argument: str) -> None:
        """Note it."""
        self.arguments.append(argument)


class Failing:
    """A handler that fails so many times, each time with the next of some errors, and then is a journal."""

    def __init__(self, times: int, *errors: BaseException) -> None:
        self.tries = 0
        self.done = Journal()
        self._times = times
        self._errors = errors or (Unavailable("Try again.", code="storage_full"),)

    def __call__(self, argument: str) -> None:
        """Fail, or note the argument."""
        self.tries += 1
        if self.tries <= self._times:
            raise self._errors[(self.tries - 1) % len(self._errors)]
        self.done(argument)


class Graveyard:
    """Where dead letters go; it cannot take the first few."""

    def __init__(self, *errors: Exception) -> None:
        self.letters: list[DeadLetter] = []
        self.refused = 0
        self._errors = list(errors)

    def __call__(self, letter: DeadLetter) -> None:
        """Keep the letter."""
        if self._errors:
            self.refused += 1
            raise self._errors.pop(0)
        self.letters.append(letter)


class Gate:
    """A handler that waits until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go = threading.Event()
        self.finished: list[str] = []

    def __call__(self, argument: str) -> None:
        """Wait."""
        self.began.release()
        assert self.go.wait(60)
        self.finished.append(argument)


@contextlib.contextmanager
def worker(url: str, namespace: str, *, threads: int = 2, heartbeat: float = NEVER) -> Iterator[subprocess.Popen[str]]:
    """Run a worker process, and kill it if it still runs afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.job_worker", namespace, str(threads), str(heartbeat)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(f"{url}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "started\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so, and fail when it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def insist(queue: JobQueue, job: str, argument: str, delay: float = 0.0) -> None:
    """Enqueue as soon as the server is back."""

    def accepted() -> bool:
        with contextlib.suppress(Unavailable):
            queue.enqueue(job, argument, delay)
            return True
        return False

    wait_for(accepted)


def forget(letter: DeadLetter) -> None:
    """Bury jobs where no test looks for them."""


def options_of(client: Redis, namespace: str) -> list[dict[str, object]]:
    """Return the options of every message that there is, whoever has it."""
    messages = client.hvals(f"{namespace}:default.msgs")
    return [json.loads(message)["options"] for message in messages]


def tries_of(client: Redis, namespace: str) -> list[object]:
    """Return how often each job has been begun that is not done yet."""
    return [options.get("tries", 0) for options in options_of(client, namespace)]


def delayed(client: Redis, namespace: str) -> int:
    """Return how many jobs wait for their time."""
    return int(client.zcard(f"{namespace}:default.delayed"))


def server_pid(client: Redis) -> int:
    """Return the process id of the server."""
    pid: int = client.info("server")["process_id"]
    return pid


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged and is worse than information."""
    return [record for record in caplog.records if record.levelno > logging.INFO]


# Delivery


def test_jobs_are_done_once_and_in_order(opened: Opener) -> None:
    done, queue = Journal(), opened()
    port: JobQueue = queue
    for number in range(20):
        port.enqueue("note", str(number))
    assert queue.waiting() == 20
    opened().start({"note": done}, 1, forget)
    port.enqueue("note", "last")
    wait_for(lambda: "last" in done.arguments)
    assert done.arguments == [*map(str, range(20)), "last"]
    assert queue.waiting() == 0


def test_any_text_is_an_argument(opened: Opener) -> None:
    done, queue = Journal(), opened()
    queue.start({"note": done}, 1, forget)
    arguments = ["", "férias 年假", "'\"\\\n\0", "x" * 100_000]
    for argument in arguments:
        queue.enqueue("note", argument)
    wait_for(lambda: len(done.arguments) == 4)
    assert done.arguments == arguments


def test_an_idle_consumer_is_woken(url: str, namespace: str, opened: Opener) -> None:
    queue = opened()
    with contextlib.closing(Redis.from_url(url)) as client:
        consumer = JobBroker(client, client, namespace, NEVER).consume("default", timeout=600_000)
        found: list[object] = []

        def look() -> None:
            while not found:
                found.extend(message for message in [next(consumer)] if message is not None)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        wait_for(lambda: client.pubsub_numsub(f"{namespace}:bell")[0][1] == 1)
        time.sleep(0.2)
        queue.enqueue("note", "x")
        thread.join(30)
        assert len(found) == 1
        consumer.close()


def test_a_process_takes_no_more_than_its_threads_can_begin(opened: Opener) -> None:
    gate, done, busy, idle = Gate(), Journal(), opened(), opened()
    busy.start({"job": gate}, 2, forget)
    for number in range(2):
        busy.enqueue("job", str(number))
        assert gate.began.acquire(timeout=30)
    for number in range(2, 8):
        busy.enqueue("job", str(number))
    idle.start({"job": done}, 1, forget)
    wait_for(lambda: len(done.arguments) == 6)
    gate.go.set()
    wait_for(lambda: len(gate.finished) == 2)


def test_queues_of_other_namespaces_know_nothing_of_each_other(url: str, namespace: str, client: Redis) -> None:
    first, second = Journal(), Journal()
    with (
        contextlib.closing(RedisJobs(url, namespace=f"{namespace}:1")) as one,
        contextlib.closing(RedisJobs(url, namespace=f"{namespace}:2")) as two,
    ):
        one.start({"note": first}, 1, forget)
        two.start({"note": second}, 1, forget)
        for number in range(10):
            one.enqueue("note", f"one {number}")
            two.enqueue("note", f"two {number}")
        wait_for(lambda: len(first.arguments) + len(second.arguments) == 20)
        assert {argument[:3] for argument in first.arguments} == {"one"}
        assert {argument[:3] for argument in second.arguments} == {"two"}
        assert one.alive() == two.alive() == 1


def test_every_key_carries_the_prefix(url: str, client: Redis) -> None:
    done = Journal()
    before = set(client.scan_iter("*"))
    with contextlib.closing(RedisJobs(url)) as queue:
        queue.start({"note": done}, 1, forget)
        queue.enqueue("note", "now")
        queue.enqueue("note", "later", delay=0.1)
        queue.enqueue("note", "much later", delay=NEVER)
        wait_for(lambda: len(done.arguments) == 2)
        keys = set(client.scan_iter("*")) - before
    assert keys
    assert all(key.startswith("orquestra:jobs:") for key in keys)
    client.delete(*keys)


# Delay


def test_a_job_for_later_does_not_come_early_and_holds_up_nothing(opened: Opener) -> None:
    done, queue = Journal(), opened()
    queue.start({"note": done}, 1, forget)
    began = time.monotonic()
    queue.enqueue("note", "later", delay=1.5)
    queue.enqueue("note", "now")
    wait_for(lambda: done.arguments == ["now"])
    assert queue.waiting() == 0
    wait_for(lambda: done.arguments == ["now", "later"])
    assert time.monotonic() - began >= 1.49


def test_a_job_for_later_outlives_the_worker_that_knew_of_it(
    url: str, namespace: str, opened: Opener, client: Redis
) -> None:
    done, queue = Journal(), opened()
    with worker(url, namespace) as killed:
        queue.enqueue("work", "later:0", delay=2)
        queue.enqueue("work", "now:0")
        wait_for(lambda: client.sismember(f"{namespace}:finished", "now") == 1)
        killed.kill()
        killed.wait()
    queue.start({"work": done}, 1, forget)
    wait_for(lambda: done.arguments == ["later:0"])


# Workers that die or stop


def test_what_a_killed_worker_was_doing_is_done_by_another(
    url: str, namespace: str, opened: Opener, client: Redis
) -> None:
    done, queue = Journal(), opened(heartbeat=1)
    with worker(url, namespace, heartbeat=1) as killed:
        queue.enqueue("work", "long:60")
        wait_for(lambda: client.sismember(f"{namespace}:began", "long") == 1)
        killed.kill()
        killed.wait()
    queue.start({"work": done}, 1, forget)
    wait_for(lambda: done.arguments == ["long:60"])


def test_a_worker_is_not_taken_for_dead_while_all_its_threads_are_busy(opened: Opener) -> None:
    gate, busy, observer = Gate(), opened(), opened(heartbeat=1)
    busy.start({"job": gate}, 1, forget)
    busy.enqueue("job", "long")
    assert gate.began.acquire(timeout=30)
    time.sleep(1.5)
    wait_for(lambda: observer.alive() == 1)
    gate.go.set()


def test_closing_waits_for_what_runs_and_leaves_the_rest_to_others(opened: Opener) -> None:
    first, second, done, closing, other = Gate(), Gate(), Journal(), opened(), opened()
    closing.start({"first": first, "second": second}, 2, forget)
    closing.enqueue("first", "a")
    closing.enqueue("second", "b")
    assert first.began.acquire(timeout=30)
    assert second.began.acquire(timeout=30)
    for number in range(3):
        closing.enqueue("note", str(number))
    thread = threading.Thread(target=closing.close)
    thread.start()
    time.sleep(1.0)
    first.go.set()
    wait_for(lambda: first.finished == ["a"])
    time.sleep(0.5)
    assert other.waiting() == 3, "the thread that has become free takes no other job"
    other.start({"note": done}, 1, forget)
    wait_for(lambda: done.arguments == ["0", "1", "2"])
    assert thread.is_alive()
    second.go.set()
    thread.join(30)
    assert second.finished == ["b"]
    assert other.alive() == 1


def test_closing_does_not_wait_for_ever_and_others_get_what_still_runs(opened: Opener) -> None:
    gate, done = Gate(), Journal()
    closing, other = opened(heartbeat=2, close_within=0.2), opened(heartbeat=2)
    closing.start({"job": gate}, 1, forget)
    closing.enqueue("job", "endless")
    assert gate.began.acquire(timeout=30)
    closing.close()
    assert gate.finished == []
    other.start({"job": done}, 1, forget)
    wait_for(lambda: done.arguments == ["endless"])
    gate.go.set()


def test_closing_ends_every_thread_and_may_be_repeated(opened: Opener) -> None:
    before = set(threading.enumerate())
    queue = opened()
    queue.start({}, 3, forget)
    assert set(threading.enumerate()) - before
    wait_for(lambda: queue.alive() == 1)
    queue.close()
    queue.close()
    assert set(threading.enumerate()) <= before, "threads of other tests may have ended meanwhile"
    assert opened().alive() == 0


def test_a_consumer_hands_back_what_it_has_fetched(url: str, namespace: str, opened: Opener) -> None:
    done, queue = Journal(), opened()
    for number in range(5):
        queue.enqueue("note", str(number))
    with contextlib.closing(Redis.from_url(url)) as client:
        consumer = JobBroker(client, client, namespace, NEVER).consume("default", prefetch=4)
        assert next(consumer) is not None
        second = next(consumer)
        assert second is not None
        assert queue.waiting() == 1
        consumer.requeue([second])
        consumer.close()
        assert queue.waiting() == 4
        assert queue.alive() == 1, "it has not acknowledged the first"
    queue.start({"note": done}, 1, forget)
    wait_for(lambda: done.arguments == ["4", "1", "2", "3"])


def test_what_was_fetched_but_never_arrived_is_taken_back(url: str, namespace: str, opened: Opener) -> None:
    opened().enqueue("note", "lost")
    with contextlib.closing(Redis.from_url(url)) as client:
        broker = JobBroker(client, client, namespace, NEVER)
        assert broker.do_fetch("default", 1)
        assert opened().waiting() == 0
        consumer = broker.consume("default")
        message = next(consumer)
        assert message is not None
        assert message.args == ("note", "lost")
        consumer.ack(message)
        consumer.close()
    assert opened().alive() == 0


@pytest.mark.parametrize("job", ["fail_once"])
def test_a_hundred_jobs_are_all_done_though_a_worker_is_killed_five_times(
    job: str, url: str, namespace: str, opened: Opener, client: Redis
) -> None:
    queue, names = opened(heartbeat=2), {f"job{number}" for number in range(100)}
    for name in sorted(names):
        queue.enqueue(job, f"{name}:0.1")
    with worker(url, namespace, threads=1, heartbeat=2):
        for _ in range(5):
            seen = client.scard(f"{namespace}:began")
            with worker(url, namespace, heartbeat=2) as killed:
                wait_for(lambda seen=seen: client.scard(f"{namespace}:began") > seen + 4)  # type: ignore[misc]
                killed.kill()
        wait_for(lambda: client.smembers(f"{namespace}:finished") == names, seconds=60)
    assert queue.waiting() == 0
    assert client.lrange(f"{namespace}:buried", 0, -1) == []


def test_alive_counts_the_processes_that_work(url: str, namespace: str, opened: Opener) -> None:
    queue = opened(heartbeat=2)
    queue.enqueue("work", "a:0")
    assert queue.alive() == 0
    with worker(url, namespace, heartbeat=2) as ending, worker(url, namespace, heartbeat=2) as killed:
        wait_for(lambda: queue.alive() == 2)
        assert ending.stdin is not None
        ending.stdin.write("\n")
        ending.stdin.flush()
        assert ending.wait(30) == 0
        assert queue.alive() == 1
        killed.kill()
        killed.wait()
        wait_for(lambda: queue.alive() == 0)


# Jobs that fail


def test_a_job_that_fails_is_logged_and_ends_nothing_else(
    opened: Opener, client: Redis, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    done, queue = Journal(), opened(retries=PATIENT)
    fail, break_down, leave = Failing(9), Failing(9, ValueError()), Failing(9, SystemExit(3))
    queue.start({"fail": fail, "break": break_down, "leave": leave, "note": done}, 1, forget)
    for job in ("fail", "break", "leave", "note"):
        queue.enqueue(job, "x")
    wait_for(lambda: done.arguments == ["x"])
    expected, broken, left = warnings(caplog)
    assert (expected.levelname, expected.getMessage()) == ("WARNING", "The job fail failed: Unavailable")
    assert vars(expected)["code"] == "storage_full"
    assert expected.exc_info is None
    for record, job, kind in ((broken, "break", ValueError), (left, "leave", SystemExit)):
        assert record.levelname == "ERROR"
        assert job in record.getMessage()
        assert record.exc_info is not None and record.exc_info[0] is kind
    wait_for(lambda: delayed(client, namespace) == len(options_of(client, namespace)) == 3)
    assert queue.waiting() == 0


@pytest.mark.parametrize("error", [Unavailable("Try again."), ValueError("hushhush"), SystemExit(3)])
def test_a_job_that_fails_is_done_again_until_it_succeeds(
    error: BaseException, opened: Opener, client: Redis, namespace: str
) -> None:
    flaky, buried, queue = Failing(3, error), Graveyard(), opened()
    queue.start({"flaky": flaky}, 1, buried)
    queue.enqueue("flaky", "x")
    wait_for(lambda: flaky.done.arguments == ["x"])
    wait_for(lambda: options_of(client, namespace) == [])
    assert delayed(client, namespace) == 0
    assert (flaky.tries, buried.letters) == (4, [])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("Try again.", code="storage_full"), "storage_full"),
        (ValueError("hushhush"), "internal_error"),
        (SystemExit("hushhush"), "internal_error"),
    ],
)
def test_a_job_that_never_succeeds_becomes_one_letter(
    error: BaseException, code: str, opened: Opener, client: Redis, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    poison, buried, queue = Failing(99, error), Graveyard(), opened()
    queue.start({"poison": poison}, 2, buried)
    before = now()
    queue.enqueue("poison", "férias")
    after = now()
    wait_for(lambda: len(buried.letters) == 1)
    wait_for(lambda: options_of(client, namespace) == [])
    assert (delayed(client, namespace), queue.waiting()) == (0, 0)
    (letter,) = buried.letters
    assert (letter.job, letter.argument, letter.tries, letter.code) == ("poison", "férias", 4, code)
    assert "again" in letter.detail
    assert "hushhush" not in letter.detail
    assert before <= letter.asked_at <= after < letter.died_at
    assert poison.tries == 4
    last = warnings(caplog)[-1]
    assert (last.levelname, last.getMessage()) == ("ERROR", "The job poison was given up after 4 tries.")


def test_a_letter_tells_of_the_last_failure(opened: Opener) -> None:
    errors = [Unavailable("First.", code="first"), ValueError(), ValueError(), Unavailable("Last.", code="last")]
    buried, queue = Graveyard(), opened()
    queue.start({"poison": Failing(99, *errors)}, 1, buried)
    queue.enqueue("poison", "x")
    wait_for(lambda: len(buried.letters) == 1)
    assert (buried.letters[0].code, buried.letters[0].detail) == ("last", "Last.")


def test_a_job_that_cannot_be_buried_stays_in_the_queue(opened: Opener, client: Redis, namespace: str) -> None:
    poison, queue = Failing(99), opened()
    buried = Graveyard(Unavailable("The store is gone."), ValueError("a bug"), Unavailable("Still."))
    queue.start({"poison": poison}, 1, buried)
    queue.enqueue("poison", "x")
    wait_for(lambda: len(buried.letters) == 1)
    assert (buried.refused, poison.tries) == (3, 4)
    assert (buried.letters[0].code, buried.letters[0].tries) == ("storage_full", 4)
    wait_for(lambda: options_of(client, namespace) == [])


def test_pauses_grow_and_jobs_that_fail_together_spread(opened: Opener, client: Redis, namespace: str) -> None:
    poison, queue = Failing(99), opened(retries=RetryPolicy(pauses=(100.0,)))
    queue.start({"poison": poison}, 1, forget)
    for number in range(20):
        queue.enqueue("poison", str(number))
    wait_for(lambda: delayed(client, namespace) == 20)
    key = f"{namespace}:default.delayed"
    members = map(str, client.zrange(key, 0, -1))
    at = [float(client.zscore(key, member) or 0) / 1000 - time.time() for member in members]
    assert min(at) >= 40
    assert max(at) <= 150
    assert max(at) - min(at) > 20
    pauses = RetryPolicy().pauses
    assert list(pauses) == sorted(pauses)
    assert 9 * 60 < sum(pauses) < 12 * 60


def test_an_unknown_job_waits_for_a_process_that_knows_it(
    opened: Opener, client: Redis, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    done, flaky, old = Journal(), Failing(3), opened(retries=RetryPolicy(unknown_pause=0.1))
    old.start({"note": done}, 1, forget)
    old.enqueue("of-a-later-version", "x")
    old.enqueue("note", "y")
    wait_for(lambda: any(options.get("unknown", 0) == 3 for options in options_of(client, namespace)))
    assert done.arguments == ["y"]
    old.close()
    assert {record.levelname for record in warnings(caplog)} == {"WARNING"}
    assert "of-a-later-version" in warnings(caplog)[0].getMessage()
    opened().start({"of-a-later-version": flaky}, 1, forget)
    wait_for(lambda: flaky.done.arguments == ["x"])
    assert flaky.tries == 4, "it has all its tries still"


def test_an_unknown_job_is_given_up_at_last(opened: Opener, client: Redis, namespace: str) -> None:
    buried, queue = Graveyard(Unavailable("The store is gone.")), opened()
    queue.start({}, 1, buried)
    queue.enqueue("of-a-version-long-gone", "x")
    wait_for(lambda: len(buried.letters) == 1)
    (letter,) = buried.letters
    assert (letter.job, letter.tries, letter.code) == ("of-a-version-long-gone", 0, "job_unknown")
    wait_for(lambda: options_of(client, namespace) == [])


def test_a_message_of_a_former_version_is_done(opened: Opener, client: Redis, namespace: str) -> None:
    done, queue = Journal(), opened()
    message: Message[None] = Message("default", "job", ("note", "x"), {}, {"redis_message_id": "a"})
    client.hset(f"{namespace}:default.msgs", "a", message.encode())
    client.rpush(f"{namespace}:default", "a")
    queue.start({"note": done}, 1, forget)
    wait_for(lambda: done.arguments == ["x"])


def test_a_worker_that_is_killed_in_a_retry_costs_one_try(
    url: str, namespace: str, opened: Opener, client: Redis
) -> None:
    gate, buried, queue = Gate(), Graveyard(), opened(heartbeat=1)
    with worker(url, namespace, heartbeat=1) as killed:
        queue.enqueue("fail_once", "long:60")
        wait_for(lambda: client.sismember(f"{namespace}:began", "long") == 1)
        assert tries_of(client, namespace) == [2]
        killed.kill()
        killed.wait()
    queue.start({"fail_once": gate}, 1, buried)
    assert gate.began.acquire(timeout=30)
    wait_for(lambda: tries_of(client, namespace) == [3])
    gate.go.set()
    wait_for(lambda: options_of(client, namespace) == [])
    assert (gate.finished, buried.letters) == (["long:60"], [])


def test_a_worker_that_is_killed_before_a_retry_leaves_it_to_others(
    url: str, namespace: str, opened: Opener, client: Redis
) -> None:
    done, queue = Journal(), opened()
    with worker(url, namespace) as killed:
        queue.enqueue("fail_once", "short:0")
        wait_for(lambda: client.sismember(f"{namespace}:failed", "short") == 1)
        killed.kill()
        killed.wait()
    opened(heartbeat=0.5).start({"fail_once": done}, 1, forget)
    wait_for(lambda: "short:0" in done.arguments or client.sismember(f"{namespace}:finished", "short") == 1)
    wait_for(lambda: options_of(client, namespace) == [])


@pytest.mark.parametrize(("job", "first"), [("work", 1), ("fail_once", 2)])
def test_a_job_that_kills_every_worker_is_given_up(
    job: str, first: int, url: str, namespace: str, opened: Opener, client: Redis
) -> None:
    done, buried, queue = Journal(), Graveyard(), opened(heartbeat=1)
    queue.enqueue(job, "deadly:60")
    for tries in range(first, 5):
        with worker(url, namespace, heartbeat=1) as killed:
            wait_for(lambda tries=tries: tries_of(client, namespace) == [tries])  # type: ignore[misc]
            killed.kill()
    queue.start({job: done}, 1, buried)
    wait_for(lambda: len(buried.letters) == 1)
    assert (buried.letters[0].code, buried.letters[0].tries, done.arguments) == ("job_died", 4, [])


def test_closing_leaves_retries_to_others(opened: Opener, client: Redis, namespace: str) -> None:
    done, closing = Journal(), opened(retries=RetryPolicy(pauses=(1.0, 1.0)))
    closing.start({"flaky": Failing(9)}, 1, forget)
    closing.enqueue("flaky", "x")
    wait_for(lambda: delayed(client, namespace) == 1)
    closing.close()
    opened().start({"flaky": done}, 1, forget)
    wait_for(lambda: done.arguments == ["x"])


def test_a_job_that_fails_while_its_process_closes_is_done_by_another(
    opened: Opener, client: Redis, namespace: str
) -> None:
    gate, done, closing = Gate(), Journal(), opened()

    def fail(argument: str) -> None:
        gate(argument)
        raise ValueError

    closing.start({"job": fail}, 1, forget)
    closing.enqueue("job", "x")
    assert gate.began.acquire(timeout=30)
    thread = threading.Thread(target=closing.close)
    thread.start()
    time.sleep(0.3)
    gate.go.set()
    thread.join(30)
    assert delayed(client, namespace) == 1
    assert tries_of(client, namespace) == [1]
    opened().start({"job": done}, 1, forget)
    wait_for(lambda: done.arguments == ["x"])
    assert gate.finished == ["x"]


def test_what_another_process_has_taken_over_is_not_put_back(
    url: str, namespace: str, opened: Opener, client: Redis
) -> None:
    opened().enqueue("note", "x")
    with contextlib.closing(Redis.from_url(url)) as connection:
        broker = JobBroker(connection, connection, namespace, NEVER)
        consumer = broker.consume("default")
        message = next(consumer)
        assert message is not None
        client.delete(broker.acknowledgements("default"))  # as is done with those of a process that was silent
        message.options["pause"] = 0
        consumer.nack(message)
        consumer.close()
    assert delayed(client, namespace) == 0


def test_a_message_that_cannot_be_read_is_skipped(
    opened: Opener, client: Redis, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    done, queue = Journal(), opened()
    for identity, message in (("a", "{no json"), ("b", '{"job": "of another library"}')):
        client.hset(f"{namespace}:default.msgs", identity, message)
        client.rpush(f"{namespace}:default", identity)
    client.rpush(f"{namespace}:default", "without message")
    queue.start({"note": done}, 1, forget)
    queue.enqueue("note", "y")
    wait_for(lambda: done.arguments == ["y"])
    assert len(warnings(caplog)) == 2


# Redis that is not there


def test_without_redis_callers_are_told_and_learn_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with contextlib.closing(RedisJobs("redis://:hushhush@127.0.0.1:1/0")) as queue:
        for use in (lambda: queue.enqueue("note", "x"), queue.waiting, queue.alive):
            with pytest.raises(Unavailable) as raised:
                use()
            assert raised.value.code == "redis_unavailable"
            assert "hushhush" not in str(raised.value)
        queue.start({}, 2, forget)
        wait_for(lambda: bool(warnings(caplog)))
    assert "hushhush" not in caplog.text


def test_a_wrong_password_is_not_told_either(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with redis_server(tmp_path) as url, contextlib.closing(RedisJobs(re.sub(":[^:]+@", ":hushhush@", url))) as queue:
        queue.start({}, 1, forget)
        wait_for(lambda: bool(warnings(caplog)))
        with pytest.raises(Unavailable) as raised:
            queue.enqueue("note", "x")
    assert "hushhush" not in f"{caplog.text} {raised.value}"


def test_workers_that_start_before_redis_work_once_it_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
    wait_for(lambda: not (tmp_path / "valkey.sock").exists())
    done = Journal()
    with contextlib.closing(RedisJobs(url)) as queue:
        queue.start({"note": done}, 2, forget)
        wait_for(lambda: len(warnings(caplog)) > 0)
        time.sleep(2)
        (warning,) = warnings(caplog)
        assert warning.exc_info is None
        with EmbeddedRedis(tmp_path):
            queue.enqueue("note", "x")
            wait_for(lambda: done.arguments == ["x"])
        assert "Redis answers again; jobs go on." in caplog.messages


def test_workers_go_on_after_redis_was_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    done, gates = Journal(), [Gate(), Gate(), Gate()]  # one a turn: what runs again must not wait again
    with (
        EmbeddedRedis(tmp_path) as server,
        contextlib.closing(RedisDatabase(server.url)) as database,
        contextlib.closing(RedisJobs(server.url, heartbeat_seconds=NEVER)) as queue,
    ):
        queue.start({"note": done, "gate": lambda turn: gates[int(turn)](turn)}, 2, forget)
        for turn, gate in enumerate(gates):
            insist(queue, "gate", str(turn))
            assert gate.began.acquire(timeout=30)
            insist(queue, "note", f"later {turn}", delay=1)
            os.kill(server_pid(database.client), signal.SIGKILL)
            insist(queue, "note", f"now {turn}")
            gate.go.set()
            wait_for(lambda gate=gate: len(gate.finished) > 0)  # type: ignore[misc]
            wait_for(lambda turn=turn: {f"later {turn}", f"now {turn}"} <= set(done.arguments))  # type: ignore[misc]


def test_an_acknowledgement_that_fails_brings_the_job_again(tmp_path: Path) -> None:
    gate = Gate()
    with contextlib.ExitStack() as first:
        server = first.enter_context(EmbeddedRedis(tmp_path))
        with contextlib.closing(RedisJobs(server.url, heartbeat_seconds=NEVER)) as queue:
            queue.start({"gate": gate}, 1, forget)
            queue.enqueue("gate", "x")
            assert gate.began.acquire(timeout=30)
            first.close()
            wait_for(lambda: not (tmp_path / "valkey.sock").exists())
            gate.go.set()
            wait_for(lambda: gate.finished == ["x"])
            time.sleep(0.5)
            with EmbeddedRedis(tmp_path):
                wait_for(lambda: gate.finished == ["x", "x"])


def test_a_redis_that_is_killed_between_failure_and_retry_loses_nothing(tmp_path: Path) -> None:
    flaky, policy = Failing(2), RetryPolicy(pauses=(2.0, 2.0))
    with (
        EmbeddedRedis(tmp_path) as server,
        contextlib.closing(RedisDatabase(server.url)) as database,
        contextlib.closing(RedisJobs(server.url, heartbeat_seconds=NEVER, retries=policy)) as queue,
    ):
        queue.start({"flaky": flaky}, 1, forget)
        queue.enqueue("flaky", "x")
        for tries in (1, 2):
            wait_for(lambda: delayed(database.client, "orquestra:jobs") == 1)
            assert flaky.tries == tries
            os.kill(server_pid(database.client), signal.SIGKILL)
            wait_for(lambda tries=tries: flaky.tries > tries)  # type: ignore[misc]
        wait_for(lambda: flaky.done.arguments == ["x"])


def test_a_failure_while_redis_is_away_brings_the_job_again(tmp_path: Path) -> None:
    gate, tries = Gate(), Journal()

    def fail_once(argument: str) -> None:
        tries(argument)
        gate(argument)
        if len(tries.arguments) == 1:
            raise ValueError

    with contextlib.ExitStack() as first:
        server = first.enter_context(EmbeddedRedis(tmp_path))
        with contextlib.closing(RedisJobs(server.url, heartbeat_seconds=NEVER)) as queue:
            queue.start({"gate": fail_once}, 1, forget)
            queue.enqueue("gate", "x")
            assert gate.began.acquire(timeout=30)
            first.close()
            wait_for(lambda: not (tmp_path / "valkey.sock").exists())
            gate.go.set()
            wait_for(lambda: gate.finished == ["x"])
            time.sleep(0.5)
            with EmbeddedRedis(tmp_path):
                wait_for(lambda: tries.arguments == ["x", "x"])
                wait_for(lambda: queue.waiting() == 0)


def test_a_redis_that_hangs_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    done = Journal()
    with (
        redis_server(tmp_path) as url,
        contextlib.closing(RedisDatabase(url)) as database,
        contextlib.closing(RedisJobs(url)) as queue,
    ):
        queue.start({"note": done}, 2, forget)
        queue.enqueue("note", "before")
        queue.enqueue("note", "later", delay=2)
        wait_for(lambda: done.arguments == ["before"])
        pid = server_pid(database.client)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable):
                queue.enqueue("note", "never")
            wait_for(lambda: bool(warnings(caplog)))
        finally:
            os.kill(pid, signal.SIGCONT)
        insist(queue, "note", "after")
        wait_for(lambda: {"later", "after"} <= set(done.arguments))
    assert {record.levelname for record in warnings(caplog)} == {"WARNING"}


# Several queues


def test_every_job_goes_to_the_queue_of_its_kind(url: str, namespace: str) -> None:
    slow, quick = Journal(), Journal()
    with (
        contextlib.closing(RedisJobs(url, namespace=f"{namespace}:1")) as documents,
        contextlib.closing(RedisJobs(url, namespace=f"{namespace}:2")) as answers,
    ):
        router: JobQueue = JobRouter({"index": documents, "answer": answers})
        router.enqueue("index", "a")
        router.enqueue("answer", "b")
        assert (documents.waiting(), answers.waiting()) == (1, 1)
        with pytest.raises(Conflict) as raised:
            router.enqueue("sing", "c")
        assert raised.value.code == "job_unknown"
        documents.start({"index": slow}, 1, forget)
        answers.start({"answer": quick}, 1, forget)
        wait_for(lambda: (slow.arguments, quick.arguments) == (["a"], ["b"]))
        probe = JobProbe({"documents": documents, "answers": answers})
        working = "1 process works on jobs, 0 wait"
        wait_for(lambda: probe.ping() == f"documents: {working}; answers: {working}")


def test_a_queue_that_does_not_answer_is_told(url: str, namespace: str) -> None:
    with (
        contextlib.closing(RedisJobs(url, namespace=namespace)) as here,
        contextlib.closing(RedisJobs("redis://127.0.0.1:1/0")) as away,
        pytest.raises(Unavailable),
    ):
        JobProbe({"here": here, "away": away}).ping()
