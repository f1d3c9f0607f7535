"""Workers that are killed at every provider call of a document's replacement, before it is done and after it.

The provider is our fake of OpenAI. Each kind of death has an assistant of its own, so that all of them get well at the
same time.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.running import RunningServer, running_server
from tests.e2e.hosted import Place, placed, settings_for, wait_until
from tests.emulators.provider import DROP, Asked, FakeProvider, Fault, Moment, provider

OLD, NEW = "# A\n\nThe marker is the old one.\n", "# A\n\nThe marker is the new one.\n"
FIRST_DEATHS = [
    ("vector_stores.list", Moment.AFTER),
    ("vector_stores.create", Moment.BEFORE),
    ("vector_stores.create", Moment.AFTER),
]
"""At calls that are made for an assistant's first document only."""
DEATHS = [
    ("files.create", Moment.BEFORE),
    ("files.create", Moment.AFTER),
    ("vector_stores.files.create", Moment.BEFORE),
    ("vector_stores.files.create", Moment.AFTER),
    ("vector_stores.files.retrieve", Moment.AFTER),
]
"""At the calls that bring a new text; of those that only read, before and after is the same."""
LAST_DEATHS = [
    ("vector_stores.files.list", Moment.AFTER),
    ("files.list", Moment.AFTER),
    ("vector_stores.files.delete", Moment.BEFORE),
    ("vector_stores.files.delete", Moment.AFTER),
    ("files.delete", Moment.BEFORE),
    ("files.delete", Moment.AFTER),
]
"""At the calls of the job that removes the old one."""


@dataclass
class Death:
    """Kill the worker at a call.

    Attributes:
        worker: who dies.
        at: where; None while nobody shall.
        died: set when it has happened.
    """

    worker: RunningServer | None = None
    at: tuple[str, Moment] | None = None
    died: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, moment: Moment, asked: Asked) -> Fault | None:
        with self.lock:
            if self.worker is None or self.at != (asked.operation, moment):
                return None
            self.at = None
            self.worker.kill()
            self.died.set()
        return DROP


class Workers:
    """One worker after the other."""

    def __init__(self, settings: dict[str, str], folder: Path, running: contextlib.ExitStack, death: Death) -> None:
        self._settings = settings
        self._folder = folder
        self._running = running
        self._death = death
        self.start()

    def start(self) -> None:
        """Start one."""
        worker = running_server(self._folder, {**self._settings, "JOB_THREADS": "1"}, ["worker"])
        self._death.worker = self._running.enter_context(worker)

    @contextlib.contextmanager
    def dying(self, operation: str, moment: Moment) -> Iterator[None]:
        """Let the worker die at a call that the block brings about, and start another."""
        self._death.died.clear()
        self._death.at = (operation, moment)
        yield
        assert self._death.died.wait(30), f"{operation} was not called"
        self.start()


@dataclass(frozen=True)
class Scene:
    """A server that does no jobs itself, and the workers that do them."""

    place: Place
    workers: Workers

    def upload(self, assistant: dict[str, Any], text: str) -> None:
        """Upload a document without waiting for it."""
        form = {"assistant_id": assistant["_id"], "type": "rag"}
        self.place.api.post("/documents/add", data=form, files={"file": ("a.md", text)}).raise_for_status()

    def documents(self, assistants: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the documents of assistants."""
        return [
            document
            for assistant in assistants
            for document in self.place.api.get(f"/documents/list?assistant_id={assistant['_id']}").json()
        ]

    def wait_until_ready(self, assistants: list[dict[str, Any]]) -> None:
        """Wait until each of the assistants has a document that is ready."""

        def are_ready() -> bool:
            return [one["status"] for one in self.documents(assistants)] == ["ready"] * len(assistants)

        wait_until(are_ready, 90)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Give the servers; the fake processes a file for a moment, and the grace ends only when the test says so."""
    death = Death()
    with contextlib.ExitStack() as running:
        openai: FakeProvider = running.enter_context(provider(rule=death))
        openai.account.processing_seconds = 0.1
        settings = settings_for(openai, {}, tmp_path, ANSWER_DEADLINE_SECONDS="600")
        place = running.enter_context(placed(openai, {**settings, "JOB_THREADS": "0"}, tmp_path))
        yield Scene(place, Workers(settings, tmp_path, running, death))


@pytest.mark.timeout(240)
def test_whoever_dies_at_whatever_call_of_a_replacement_leaves_exactly_the_right_files(scene: Scene) -> None:
    place = scene.place
    fresh = [place.api.new_assistant() for _ in FIRST_DEATHS]
    used = [place.api.new_assistant() for _ in LAST_DEATHS]
    with ThreadPoolExecutor(len(fresh + used)) as pool:
        list(pool.map(lambda assistant: scene.upload(assistant, OLD), used))
        scene.wait_until_ready(used)
        for assistant, death in zip(fresh + used, FIRST_DEATHS + DEATHS, strict=False):
            with scene.workers.dying(*death):
                pool.submit(scene.upload, assistant, NEW)
        pool.submit(scene.upload, used[-1], NEW)  # nobody dies of it: its old text is removed
    scene.wait_until_ready(fresh + used)
    assert len([one for one in scene.documents(fresh + used) if one["retries"]]) >= len(FIRST_DEATHS + DEATHS) - 1
    for assistant, death in zip(used, LAST_DEATHS, strict=True):
        place.let_the_grace_be_over(assistant)
        with scene.workers.dying(*death):
            place.api.post(f"/assistants/sync/{assistant['_id']}").raise_for_status()
    for assistant in fresh + used:
        place.sweep(assistant, 60)
        assert list(place.texts(assistant).values()) == list(place.attached(assistant).values()) == [NEW]
        (file,) = place.shelf(assistant).files
        assert file.searchable and file.file_id in place.openai.account.files
        assert place.api.say(assistant, "Which marker?").json()["response"] == "The marker is the new one."
    account = place.openai.account
    assert len(account.files) == len(account.stores) == len(fresh + used), "there are orphans"
