"""Servers whose assistants keep documents and conversations at our fake of OpenAI, and what the two hold."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.running import RunningServer, running_server
from models.clock import now
from models.hosting import HostedShelf
from repositories.redis.hosted_files import RedisFileRegistry
from settings import Settings
from stores import Stores, open_stores
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.provider import FakeProvider

OPENAI_KEY = "sk-a-key-of-the-tests"
_LOOK_EVERY = 0.05


def settings_for(openai: FakeProvider, stores: Mapping[str, str], folder: Path, **more: str) -> dict[str, str]:
    """Return the settings of servers that share their stores and ask the fake."""
    places = {"DATA_DIR": str(folder / "var"), "DOCUMENTS_URL": str(folder / "documents")}
    database = {"MONGODB_DATABASE": f"e2e_{folder.name}"[:60]}
    model = {"LANGUAGE_MODEL": "openai", "OPENAI_BASE_URL": openai.base_url, "OPENAI_API_KEY": OPENAI_KEY}
    return {**SETTINGS, **places, **stores, **database, **model, **more}


@contextlib.contextmanager
def logged_in(server: RunningServer) -> Iterator[Api]:
    """Give a client of the admin, who is made if there is none."""
    with Api(server.url) as api:
        if api.login(ADMIN["email"], ADMIN["password"]).status_code != 200:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"]).raise_for_status()
        yield api


@dataclass(frozen=True)
class Place:
    """A server, the provider that it uses, and its stores, opened beside it."""

    openai: FakeProvider
    server: RunningServer
    api: Api
    stores: Stores

    @property
    def registry(self) -> RedisFileRegistry:
        """Return what is registered of the provider's files."""
        return RedisFileRegistry(self.stores.files_redis)

    def shelf(self, assistant: Mapping[str, Any]) -> HostedShelf:
        """Return what is registered of an assistant's files."""
        return self.registry.shelf(assistant["_id"])

    def texts(self, assistant: Mapping[str, Any]) -> dict[str, str]:
        """Return name -> text of the account's files that have an assistant's name, attached or not."""
        with self.openai.account.lock:
            held = list(self.openai.account.files.values())
        return {one.filename: one.content.decode() for one in held if f".{assistant['_id']}." in one.filename}

    def attached(self, assistant: Mapping[str, Any]) -> dict[str, str]:
        """Return name -> text of what is in an assistant's vector stores."""
        account, held = self.openai.account, dict[str, str]()
        with account.lock:
            for store in account.stores.values():
                if store.name == f"orquestra-{assistant['_id']}":
                    held |= account.texts(store.id)
        return held

    def let_the_grace_be_over(self, assistant: Mapping[str, Any]) -> None:
        """Make every retired text one that was retired an hour ago, and no dead worker's lock a hindrance."""
        assistant_id = assistant["_id"]
        for file in self.shelf(assistant).files:
            if file.retired_at is not None:
                changes = {"retired_at": now() - timedelta(hours=1)}
                self.registry.change(assistant_id, file.number, changes)
        self.stores.redis.client.delete(f"orquestra:lock:hosting:{assistant_id}")

    def sweep(self, assistant: Mapping[str, Any], seconds: float = 40.0) -> None:
        """Synchronize until no text is at the provider, or registered, that is not current."""
        until = time.monotonic() + seconds
        while True:
            self.let_the_grace_be_over(assistant)
            report = self.api.post(f"/assistants/sync/{assistant['_id']}")
            assert report.status_code in (200, 502), report.text
            if report.status_code == 200 and not any(report.json()[name] for name in DIFFERENCES):
                return
            assert time.monotonic() < until, report.text
            time.sleep(0.3)


DIFFERENCES = ("missing", "outdated", "unregistered")
"""What a report of a synchronization lists."""


@contextlib.contextmanager
def placed(openai: FakeProvider, settings: Mapping[str, str], folder: Path) -> Iterator[Place]:
    """Run a server with these settings."""
    with running_server(folder, settings) as server, logged_in(server) as api:
        stores = open_stores(Settings.from_env(dict(settings)))
        try:
            yield Place(openai, server, api, stores)
        finally:
            stores.close()


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something is so; fail after so many seconds."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come to be so"
        time.sleep(_LOOK_EVERY)
