"""Indexing as jobs: with workers of their own, and whatever becomes of them."""

import contextlib
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.running import RunningServer, running_server
from settings import Settings
from stores import Repositories, open_stores, repositories_of
from tests.e2e.api import ADMIN, SETTINGS, Api

DOCUMENTS = {"embedded": 40, "servers": 100}
KILLS = {"embedded": 2, "servers": 5}


@pytest.fixture
def settings(stores: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Give the settings that servers and workers share; servers do no jobs."""
    database = {"MONGODB_DATABASE": f"e2e_jobs_{random.randrange(10**9)}"}
    places = {"DATA_DIR": str(tmp_path / "var"), "DOCUMENTS_URL": str(tmp_path / "documents")}
    return {**SETTINGS, **places, **stores, **database, "JOB_THREADS": "0"}


@contextlib.contextmanager
def opened(settings: dict[str, str]) -> Iterator[Repositories]:
    """Open the stores of these settings beside the servers that use them."""
    stores = open_stores(Settings.from_env(settings))
    try:
        yield repositories_of(stores.database)
    finally:
        stores.close()


def page(number: int, revised: bool = False) -> str:
    """Return a page that takes a worker a moment: HTML is read in a child process.

    That is plain English, so that none of the children has to load the model of languages.
    """
    cells = ((f"What is in article {row}", f"The rate of it is {row * number}") for row in range(150))
    rows = "".join(f"<tr><td>{title}</td><td>{rate}</td></tr>" for title, rate in cells)
    kind = "revised" if revised else "original"
    return f"<h1>Handbook {number}</h1><p>The {kind} deadline of case{number} is day {number}.</p><table>{rows}</table>"


def wait_until_settled(api: Api, assistant: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Wait until no document of an assistant is under way, and return them all."""
    until = time.monotonic() + seconds
    while True:
        listed: list[dict[str, Any]] = api.get(f"/documents/list?assistant_id={assistant['_id']}&limit=1000").json()
        if all(one["status"] in ("ready", "failed") for one in listed) or time.monotonic() > until:
            return listed
        time.sleep(0.25)


@pytest.mark.timeout(280)
def test_many_documents_survive_workers_that_are_killed(settings: dict[str, str], tmp_path: Path) -> None:
    kind = "servers" if "MONGODB_URI" in settings else "embedded"
    count = DOCUMENTS[kind]
    with contextlib.ExitStack() as running:

        def start(*command: str) -> RunningServer:
            return running.enter_context(running_server(tmp_path, settings, command))

        servers = [start(), start()]
        workers = [start("worker"), start("worker")]
        apis = [running.enter_context(Api(server.url)) for server in servers]
        apis[0].post("/auth/register", json=ADMIN).raise_for_status()
        for api in apis:
            api.login(ADMIN["email"], ADMIN["password"])
        assistant = apis[0].new_assistant()

        def upload(number: int) -> int:
            form = {"assistant_id": assistant["_id"], "type": "rag"}
            files = {"file": (f"handbook-{number}.html", page(number))}
            return apis[number % 2].post("/documents/add", data=form, files=files).status_code

        with ThreadPoolExecutor(count) as pool:
            uploads = [pool.submit(upload, number) for number in range(count)]
            for kill in range(KILLS[kind]):
                time.sleep(1.5)
                workers[kill % 2].kill()
                workers[kill % 2] = start("worker")
            assert {one.result() for one in uploads} == {201}
        documents = wait_until_settled(apis[0], assistant, 180)
        assert [one["status"] for one in documents] == ["ready"] * count
        assert [one["error"] for one in documents] == [None] * count
        assert sum(one["retries"] for one in documents) > 0, "no job was killed: the test proves nothing"
        with opened(settings) as held:
            for one in documents:
                record = held.documents.get(one["_id"])
                assert record is not None
                stored = held.passages.of_document(record.assistant_id, record.id, record.build)
                assert [passage.position for passage in stored] == list(range(one["passages"]))
        for number in (0, count // 2, count - 1):
            query = {"assistant_id": assistant["_id"], "query": f"deadline of case{number}", "limit": 1}
            (found,) = apis[1].post("/documents/search", json=query).json()
            assert found["filename"] == f"handbook-{number}.html"


def test_without_a_worker_documents_wait_and_the_old_content_answers(settings: dict[str, str], tmp_path: Path) -> None:
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        assistant = api.new_assistant()
        with running_server(tmp_path, settings, ["worker"]) as worker:
            assert api.upload(assistant, "a.html", page(1)).json()["status"] == "ready"
            assert worker.stop() == 0
        form = {"assistant_id": assistant["_id"], "type": "rag"}
        waiting = api.post("/documents/add", data=form, files={"file": ("a.html", page(1, revised=True))})
        assert (waiting.status_code, waiting.json()["status"], waiting.json()["progress"]) == (201, "stored", 0.0)

        def quoted() -> str:
            query = {"assistant_id": assistant["_id"], "query": "deadline of case1", "limit": 1}
            return str(api.post("/documents/search", json=query).json()[0]["passage"])

        assert "original" in quoted()
        with running_server(tmp_path, settings, ["worker", "--threads", "1"]):
            (document,) = wait_until_settled(api, assistant, 60)
            assert (document["status"], "revised" in quoted()) == ("ready", True)
