"""The stores under test, and what ran them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from tests.contract.document_stores import Folder, Place, make_bucket
from tests.contract.house import House
from tests.contract.stores import KINDS, MONGODB_TEST_URI, Stores, opened_mongo, opened_sqlite
from tests.redis_server import KINDS as REDIS_KINDS
from tests.redis_server import redis_of
from tests.s3_server import s3_server
from tests.servers import secantus_server

_answering: dict[str, str] = {}


@pytest.fixture(scope="session")
def secantus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one SecantusDB for the session."""
    with secantus_server(tmp_path_factory.mktemp("secantus")) as uri:
        yield uri


@pytest.fixture(params=[kind for kind in KINDS if kind != "sqlite"])
def mongo_uri(request: pytest.FixtureRequest) -> str:
    """Give the URI of each server that speaks MongoDB's protocol."""
    uri: str = MONGODB_TEST_URI if request.param == "mongodb" else request.getfixturevalue("secantus")
    return uri


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """Open each store in turn, empty."""
    kind: str = request.param
    if kind == "sqlite":
        opened = opened_sqlite(tmp_path / "var" / "orquestra.sqlite")
    else:
        opened = opened_mongo(MONGODB_TEST_URI if kind == "mongodb" else request.getfixturevalue("secantus"))
    with opened as repositories:
        if kind not in _answering:
            _answering[kind] = repositories.probe.ping()
        yield repositories


@pytest.fixture(autouse=True)
def keepers() -> Iterator[None]:
    """Close the lease keepers of the houses that a test has built."""
    yield
    while House.opened:
        House.opened.pop().close()


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one S3 server for the session."""
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisThreads]:
    """Give the registry of threads over an embedded server."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        with contextlib.closing(RedisDatabase(server.url)) as database:
            yield RedisThreads(database)


@pytest.fixture(scope="module", params=REDIS_KINDS)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisDatabase]:
    """Give a connection to each kind of Redis."""
    with redis_of(request.param, tmp_path_factory.mktemp("redis")) as url:
        with contextlib.closing(RedisDatabase(url)) as opened:
            yield opened


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Give each place for documents' bytes in turn, empty."""
    if request.param == "folder":
        return Folder(tmp_path / "documents")
    return make_bucket(request.getfixturevalue("s3_endpoint"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers the contract tests ran on."""
    if not _answering:
        return
    names = {
        "mongo": "SecantusDB (not MongoDB), answering as",
        "mongodb": "MONGODB_TEST_URI:",
        "sqlite": "embedded store:",
    }
    ran = [f"{names[kind]} {version}" for kind, version in sorted(_answering.items())]
    if not MONGODB_TEST_URI:
        ran.append("no real MongoDB: MONGODB_TEST_URI is unset")
    terminalreporter.write_line("stores under test: " + "; ".join(ran))
