"""Dead letters over HTTP: a job of each queue that was begun too often, and what an admin does about it."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from dramatiq import Message
from redis import Redis

from bench.running import running_server
from models.ids import new_id
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.job_broker import JobBroker
from repositories.redis.job_retries import RetryPolicy
from tests.e2e.api import ADMIN, SETTINGS, Api

QUEUES = {"index_document": "documents", "answer_chat": "answers", "send_callback": "callbacks"}


@dataclass(frozen=True)
class House:
    """A server with its queues.

    Attributes:
        namespace: what the keys of its queues begin with.
    """

    url: str
    redis: Redis
    namespace: str

    def kill_job(self, job: str, argument: str, queue: str) -> None:
        """Put a job into a queue that was begun too often already."""
        broker = JobBroker(self.redis, self.redis, f"{self.namespace}:{queue}", 3600)
        tries = {"tries": RetryPolicy().most_tries}
        message: Message[None] = Message("default", "job", (job, argument), {}, tries)
        broker.enqueue(message)

    def left(self, queue: str) -> int:
        """Return how many jobs of a queue wait or run."""
        return int(self.redis.hlen(f"{self.namespace}:{queue}:default.msgs"))


@pytest.fixture(scope="module")
def house(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Give a server with an admin, without letters."""
    folder, database = tmp_path_factory.mktemp("letters"), f"e2e_{new_id()}"
    with contextlib.ExitStack() as stack:
        settings = {**SETTINGS, **stores, "MONGODB_DATABASE": database}
        server = stack.enter_context(running_server(folder, settings))
        url = stores.get("REDIS_URL") or stack.enter_context(EmbeddedRedis(folder / "var" / "valkey")).url
        redis = stack.enter_context(contextlib.closing(Redis.from_url(url)))
        with Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
        store = database if stores else str((folder / "var").resolve())
        yield House(server.url, redis, f"orquestra:jobs:{store}")


@pytest.fixture
def admin(house: House) -> Iterator[Api]:
    """Give a client of the admin, who deletes what letters are left."""
    with Api(house.url) as api:
        api.login(ADMIN["email"], ADMIN["password"])
        yield api
        for letter in api.get("/ops/deadletters").json():
            api.delete(f"/ops/deadletters/delete/{letter['_id']}")


@pytest.fixture
def user(admin: Api, house: House) -> Iterator[Api]:
    """Give a client of somebody else."""
    with Api(house.url) as api:
        email = f"{new_id()}@example.com"
        admin.post("/auth/register", json={"name": "Uli", "email": email, "password": "user-password"})
        api.login(email, "user-password")
        yield api


def letters_of(admin: Api, count: int) -> list[dict[str, Any]]:
    """Return the letters as soon as there are so many."""
    deadline = time.monotonic() + 30
    while len(found := admin.get("/ops/deadletters").json()) < count:
        assert time.monotonic() < deadline, "the job was not buried in time"
        time.sleep(0.05)
    return list(found)


@pytest.mark.parametrize(("job", "queue"), QUEUES.items())
def test_a_job_that_died_is_seen_and_runs_again(job: str, queue: str, house: House, admin: Api) -> None:
    argument = new_id()
    house.kill_job(job, argument, queue)
    (letter,) = letters_of(admin, 1)
    assert set(letter) == {"_id", "job", "argument", "tries", "code", "detail", "askedAt", "diedAt"}
    assert (letter["job"], letter["argument"], letter["tries"], letter["code"]) == (job, argument, 8, "job_died")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", letter["askedAt"])
    assert letter["askedAt"][:10] <= letter["diedAt"][:10]
    again = admin.post(f"/ops/deadletters/retry/{letter['_id']}")
    assert (again.status_code, again.json()) == (202, {"job": job, "argument": argument})
    deadline = time.monotonic() + 30
    while house.left(queue):  # nothing is stored under this id, so there is nothing to do
        assert time.monotonic() < deadline, "the job did not run"
        time.sleep(0.05)
    assert admin.get("/ops/deadletters").json() == []
    assert admin.post(f"/ops/deadletters/retry/{letter['_id']}").status_code == 404


def test_pages_and_deletion(house: House, admin: Api) -> None:
    for number in range(3):
        house.kill_job("index_document", new_id(), "documents")
        letters_of(admin, number + 1)
    letters = letters_of(admin, 3)
    assert [letter["_id"] for letter in letters] == sorted((letter["_id"] for letter in letters), reverse=True)
    first = admin.get("/ops/deadletters?limit=2")
    assert first.headers["X-Total-Count"] == "3"
    rest = admin.get(first.headers["Link"].split(">")[0].strip("<"))
    assert first.json() + rest.json() == letters
    assert "Link" not in rest.headers
    gone = admin.delete(f"/ops/deadletters/delete/{letters[1]['_id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert admin.get("/ops/deadletters").json() == [letters[0], letters[2]]
    assert admin.delete(f"/ops/deadletters/delete/{letters[1]['_id']}").status_code == 404
    assert admin.get("/ops/deadletters?limit=0").status_code == 422


def test_a_job_of_another_version_keeps_its_letter(house: House, admin: Api) -> None:
    house.kill_job("sing", "x", "answers")
    (letter,) = letters_of(admin, 1)
    refused = admin.post(f"/ops/deadletters/retry/{letter['_id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_unknown")
    assert letters_of(admin, 1) == [letter]


def test_only_admins_may(house: House, admin: Api, user: Api) -> None:
    house.kill_job("index_document", new_id(), "documents")
    (letter,) = letters_of(admin, 1)
    uses = [
        ("GET", "/ops/deadletters"),
        ("POST", f"/ops/deadletters/retry/{letter['_id']}"),
        ("DELETE", f"/ops/deadletters/delete/{letter['_id']}"),
    ]
    with Api(house.url) as anonymous:
        for method, path in uses:
            refused = user.request(method, path)
            assert (refused.status_code, refused.json()["code"]) == (403, "admin_only")
            assert anonymous.request(method, path).status_code == 401
    assert letters_of(admin, 1) == [letter]
