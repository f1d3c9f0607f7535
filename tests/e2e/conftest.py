"""A real server process on embedded stores and on servers; the same tests run on both."""

import itertools
import os
from collections.abc import Callable, Iterator
from shutil import which
from typing import Any

import pytest

from bench.running import RunningServer, running_server
from tests.clients.dashscope import VERSIONS, Sdk, opened
from tests.contract.document_stores import PREFIX, make_bucket
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.e2e.openai_clients import Door, door
from tests.emulators.openai_wire import WireServer, wire
from tests.redis_server import redis_server
from tests.s3_server import s3_server
from tests.servers import secantus_server

_numbers = itertools.count(1)

BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := which(name))), "")
# A laptop without a browser has one test less; CI collects it all the same, and fails there.
collect_ignore = [] if BROWSER or os.environ.get("CI") else ["test_browser.py"]


@pytest.fixture(scope="session", params=["embedded", "servers"])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give the settings that choose the stores: none for embedded ones, URLs for real servers."""
    if request.param == "embedded":
        yield {}
        return
    folder = tmp_path_factory.mktemp("servers")
    with (
        secantus_server(folder / "mongo") as mongo,
        redis_server(folder / "redis") as redis,
        s3_server(folder / "s3") as s3,
    ):
        bucket = make_bucket(s3)
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        places = {"DOCUMENTS_URL": f"s3://{bucket.name}/{PREFIX}", "AWS_ENDPOINT_URL": s3}
        yield {"MONGODB_URI": mongo, "REDIS_URL": redis, **keys, **places}


@pytest.fixture(scope="session")
def server(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give a running server whose first account, the admin, exists."""
    database = {"MONGODB_DATABASE": f"e2e_{next(_numbers)}"}
    with running_server(tmp_path_factory.mktemp("server"), {**SETTINGS, **stores, **database}) as running:
        with Api(running.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
        yield running


@pytest.fixture
def anonymous(server: RunningServer) -> Iterator[Api]:
    """Give a client without credentials."""
    with Api(server.url) as api:
        yield api


@pytest.fixture
def admin(server: RunningServer) -> Iterator[Api]:
    """Give a client that is logged in as the admin."""
    with Api(server.url) as api:
        api.login(ADMIN["email"], ADMIN["password"])
        yield api


@pytest.fixture
def new_user(admin: Api, server: RunningServer) -> Iterator[Callable[[], Api]]:
    """Give a maker of clients, each logged in as a user of its own."""
    made: list[Api] = []

    def make() -> Api:
        email = f"user{next(_numbers)}@example.com"
        admin.post("/auth/register", json={"name": "Uli", "email": email, "password": "user-password"})
        api = Api(server.url)
        made.append(api)
        api.login(email, "user-password")
        return api

    yield make
    for api in made:
        api.close()


@pytest.fixture
def user(new_user: Callable[[], Api]) -> Api:
    """Give a client of a fresh user."""
    return new_user()


@pytest.fixture
def stranger(new_user: Callable[[], Api]) -> Api:
    """Give a client of another user, who must see nothing of `user`."""
    return new_user()


@pytest.fixture(scope="module")
def upstream() -> Iterator[WireServer]:
    """Give a model's endpoint that sends exact bytes."""
    with wire() as running:
        yield running


@pytest.fixture(scope="module")
def served(upstream: WireServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Give a server that asks it."""
    with door(tmp_path_factory.mktemp("wire"), upstream.base_url) as running:
        yield running


@pytest.fixture
def assistant(served: Door, upstream: WireServer) -> dict[str, Any]:
    """Give an assistant of that server, and an endpoint that nobody has asked."""
    upstream.forget()
    return served.api.new_assistant()


@pytest.fixture(scope="module", params=VERSIONS)
def sdk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    """Give each version of DashScope's SDK."""
    with opened(request.param, tmp_path_factory.mktemp("sdk")) as running:
        yield running
