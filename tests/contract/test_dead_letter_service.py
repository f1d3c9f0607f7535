"""Dead letters on both stores: who may see them, run them again, delete them; and the whole way with a real queue."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import Conflict, Forbidden, NotFound, Unavailable
from models.ids import new_id
from models.paging import Page
from models.users import Principal, Role
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.jobs import RedisJobs
from services.dead_letters import DeadLetterService
from services.jobs import JobRouter
from tests.contract.house import ADMIN, Breaking, Crash
from tests.contract.job_worker import QUICK
from tests.contract.stores import Stores, at_once, make_letter

USER = Principal("1" * 24, Role.USER)
PAGE = Page()


class Asked:
    """Implement `JobQueue`: note what is asked for."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, str, float]] = []

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Note it."""
        self.jobs.append((job, argument, delay))


class Away:
    """Implement `JobQueue`: it cannot be reached."""

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Fail."""
        raise Unavailable("Redis does not answer.", code="redis_unavailable")


@pytest.fixture
def asked() -> Asked:
    """Give a queue."""
    return Asked()


@pytest.fixture
def service(stores: Stores, asked: Asked) -> DeadLetterService:
    """Give the service on each store."""
    return DeadLetterService(stores.dead_letters, asked)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so, and fail when it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_letters_are_listed_newest_first_in_pages(service: DeadLetterService) -> None:
    letters = [make_letter(argument=str(number)) for number in range(5)]
    for letter in letters:
        service.bury(letter)
    first = service.list(ADMIN, Page(limit=3))
    assert (list(first.items), first.total, first.more) == (letters[:1:-1], 5, True)
    rest = service.list(ADMIN, Page(limit=3, after=first.items[-1].id))
    assert (list(rest.items), rest.total, rest.more) == (letters[1::-1], 5, False)


def test_the_same_job_has_one_letter_the_newest(service: DeadLetterService) -> None:
    older, other, newer = make_letter(argument="x"), make_letter(argument="y"), make_letter(argument="x", tries=9)
    for letter in (older, other, newer):
        service.bury(letter)
    assert list(service.list(ADMIN, PAGE).items) == [newer, other]


def test_a_letter_runs_again_and_is_gone(service: DeadLetterService, asked: Asked) -> None:
    letter, other = make_letter(), make_letter()
    service.bury(letter)
    service.bury(other)
    assert service.rerun(ADMIN, letter.id) == letter
    assert asked.jobs == [(letter.job, letter.argument, 0.0)]
    assert list(service.list(ADMIN, PAGE).items) == [other]
    with pytest.raises(NotFound):
        service.rerun(ADMIN, letter.id)
    assert len(asked.jobs) == 1


def test_a_letter_is_deleted_once_and_nothing_runs(service: DeadLetterService, asked: Asked) -> None:
    letter = make_letter()
    service.bury(letter)
    service.delete(ADMIN, letter.id)
    assert list(service.list(ADMIN, PAGE).items) == []
    with pytest.raises(NotFound):
        service.delete(ADMIN, letter.id)
    assert asked.jobs == []


@pytest.mark.parametrize("letter_id", ["0" * 24, "nonsense", "", "0" * 23 + "\n", {"$gt": ""}])
def test_what_is_no_letters_id_is_not_found(letter_id: Any, service: DeadLetterService) -> None:
    service.bury(make_letter())
    for use in (service.rerun, service.delete):
        with pytest.raises(NotFound):
            use(ADMIN, str(letter_id))
    assert service.list(ADMIN, PAGE).total == 1


def test_only_admins_may(service: DeadLetterService, asked: Asked) -> None:
    letter = make_letter()
    service.bury(letter)
    uses: list[Callable[[], object]] = [
        lambda: service.list(USER, PAGE),
        lambda: service.rerun(USER, letter.id),
        lambda: service.delete(USER, letter.id),
        lambda: service.rerun(USER, new_id()),
        lambda: service.delete(USER, new_id()),
    ]
    for use in uses:
        with pytest.raises(Forbidden):
            use()
    assert asked.jobs == []
    assert list(service.list(ADMIN, PAGE).items) == [letter]


@pytest.mark.parametrize(
    ("queue", "error"), [(Away(), Unavailable), (JobRouter({}), Conflict)], ids=["away", "unknown"]
)
def test_a_letter_that_cannot_run_again_stays(queue: Any, error: type[Exception], stores: Stores) -> None:
    service, letter = DeadLetterService(stores.dead_letters, queue), make_letter()
    service.bury(letter)
    with pytest.raises(error):
        service.rerun(ADMIN, letter.id)
    assert list(service.list(ADMIN, PAGE).items) == [letter]


def test_a_server_that_dies_while_it_runs_a_letter_again_loses_no_job(stores: Stores, asked: Asked) -> None:
    letter = make_letter()
    dying = DeadLetterService(Breaking(stores.dead_letters, "delete", Crash()), asked)
    dying.bury(letter)
    with pytest.raises(Crash):
        dying.rerun(ADMIN, letter.id)
    assert len(asked.jobs) == 1
    assert DeadLetterService(stores.dead_letters, asked).rerun(ADMIN, letter.id) == letter


def test_a_job_that_dies_again_at_once_keeps_its_new_letter(stores: Stores) -> None:
    class Dying:
        """Implement `JobQueue`: the job has died again before the caller goes on."""

        def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
            """Bury it."""
            stores.dead_letters.add(again)

    letter = make_letter()
    again = make_letter(letter.job, letter.argument, tries=8)
    service = DeadLetterService(stores.dead_letters, Dying())
    service.bury(letter)
    service.rerun(ADMIN, letter.id)
    assert list(service.list(ADMIN, PAGE).items) == [again]


def test_burials_and_reruns_at_once_lose_nothing(service: DeadLetterService, asked: Asked) -> None:
    letters = [make_letter(argument=str(number)) for number in range(8)]

    def bury_and_rerun(number: int) -> None:
        service.bury(letters[number])
        if number % 2:
            service.rerun(ADMIN, letters[number].id)

    at_once(8, bury_and_rerun)
    assert sorted(argument for _, argument, _ in asked.jobs) == ["1", "3", "5", "7"]
    assert sorted(letter.argument for letter in service.list(ADMIN, PAGE).items) == ["0", "2", "4", "6"]


def test_the_whole_way_there_and_back(stores: Stores, tmp_path: Path) -> None:
    mended, done = False, []

    def work(argument: str) -> None:
        if not mended:
            raise Unavailable("The disk is full. Make room.", code="storage_full")
        done.append(argument)

    with (
        EmbeddedRedis(tmp_path / "valkey") as redis,
        contextlib.closing(RedisJobs(redis.url, retries=QUICK)) as queue,
    ):
        router = JobRouter({"work": queue})
        service = DeadLetterService(stores.dead_letters, router)
        queue.start({"work": work}, 1, service.bury)
        router.enqueue("work", "a")
        wait_for(lambda: service.list(ADMIN, PAGE).total == 1)
        (letter,) = service.list(ADMIN, PAGE).items
        assert (letter.job, letter.argument, letter.tries) == ("work", "a", 4)
        assert (letter.code, letter.detail) == ("storage_full", "The disk is full. Make room.")
        mended = True
        service.rerun(ADMIN, letter.id)
        wait_for(lambda: done == ["a"])
        assert service.list(ADMIN, PAGE).total == 0
