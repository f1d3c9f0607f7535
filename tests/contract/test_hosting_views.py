"""Whenever an answer begins and however long it lasts, the provider finds it each document in exactly one text.

Documents are replaced, deleted and brought by the real services, and at every call to the provider and every write to
the registry and to the documents three things are noted: what is registered, which builds are current, what the
provider would find. An answer reads the registry at one of these moments, the builds at a later one, and is searched
for at a still later one; all combinations are tried that the grace allows.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.documents import DocumentType
from models.hosting import HostedSearch, HostedShelf
from repositories.embedded_redis import EmbeddedRedis
from services.hosting.library import search_in
from tests.contract.hosting_world import ADMIN, LEASE, Fate, World, opened_world
from tests.contract.house import Crash


@dataclass(frozen=True)
class Moment:
    """What was true at one moment.

    Attributes:
        found: number -> document of what the provider has processed.
    """

    shelf: HostedShelf
    builds: Mapping[str, str]
    found: Mapping[int, str]


class Watched:
    """Stand before a port and note a moment before and after each of its calls."""

    def __init__(self, port: Any, note: Callable[[], None]) -> None:
        self._port, self._note = port, note

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        if not callable(real):
            return real

        def noted(*args: Any, **kwargs: Any) -> Any:
            self._note()
            result = real(*args, **kwargs)
            self._note()
            return result

        return noted


class Timeline:
    """The moments of a world, each different from the one before."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.moments: list[Moment] = []

    def note(self) -> None:
        """Note the present."""
        world, shelf = self._world, self._world.shelf()
        builds = {name: build.revision for name, build in world.stores.documents.builds(world.assistant.id).items()}
        store = world.openai.account.stores.get(shelf.store_id)
        attached = store.files.values() if store else ()
        found = {
            int(one.attributes["number"]): str(one.attributes["document"])
            for one in attached
            if one.status == "completed"
        }
        moment = Moment(shelf, builds, found)
        if not self.moments or self.moments[-1] != moment:
            self.moments.append(moment)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give an assistant without documents."""
    with EmbeddedRedis(tmp_path / "redis") as server, opened_world(tmp_path / "world", server.url) as world:
        yield world


def _require_each_once(moments: list[Moment]) -> int:
    """Try all answers that begin and end within these moments; return how many of their views had a search."""
    searches = 0
    for begun, (start, read) in enumerate(itertools.product(range(len(moments)), repeat=2)):
        if read < start:
            continue
        builds = dict(moments[read].builds)
        search = search_in(moments[start].shelf, builds)
        if search is None:
            continue
        searches += 1
        built = {file.number: file.build for file in moments[start].shelf.files}
        for end in range(read, len(moments)):
            hits = _hits(search, moments[end])
            assert sorted(document for _, document in hits) == sorted(builds), (begun, start, read, end)
            assert all(built[number] == builds[document] for number, document in hits)
    return searches


def _hits(search: HostedSearch, moment: Moment) -> list[tuple[int, str]]:
    """Return number and document of every file that the provider finds with the filter of a search."""
    return [
        (number, document)
        for number, document in moment.found.items()
        if number <= search.last and number not in search.without
    ]


def test_an_answer_finds_each_document_in_exactly_one_text(world: World) -> None:
    timeline = Timeline(world)
    world.watch = lambda port: Watched(port, timeline.note)
    world.openai.account.processing_seconds = 0.02
    for turn in range(3):
        world.grace = 3600.0
        _change(world, turn)
        server = world.server()
        server.sync.sync(world.assistant.id)
        assert _require_each_once(timeline.moments) >= 5 * min(turn, 1)
        timeline.moments.clear()
        world.grace = 0.0  # all answers that began so far have ended
        world.server().sync.sync(world.assistant.id)
        timeline.note()
        assert _require_each_once(timeline.moments) >= 3
        assert timeline.moments[-1].builds.keys() == set(timeline.moments[-1].found.values())
        timeline.moments.clear()


def _change(world: World, turn: int) -> None:
    """Replace, add and delete documents; one attempt dies in the middle."""
    added = _uploaded(world, f"First, {turn}.", "a.md")
    _uploaded(world, f"Second, {turn}.", "b.md")
    _uploaded(world, f"First again, {turn}.", "a.md")
    fate = Fate(turn + 2)
    with contextlib.suppress(Crash):
        world.add(f"First, by a server that dies, {turn}.", server=world.server(fate, lease=LEASE))
    time.sleep(1.2 * LEASE)
    world.server().indexing.index(added)
    gone = _uploaded(world, f"Third, {turn}.", "c.md")
    world.server().documents.delete(ADMIN, gone)


def _uploaded(world: World, content: str, name: str) -> str:
    """Upload and index a document, and leave what is to be done later undone."""
    server = world.server()
    added = server.documents.add(ADMIN, world.assistant.id, DocumentType.RAG, name, content.encode())
    server.indexing.index(added.id)
    return added.id
