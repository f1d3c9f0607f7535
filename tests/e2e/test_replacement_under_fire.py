"""A document that is replaced again and again while its provider fails at every call and people ask."""

import itertools
import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from models.clock import now
from tests.e2e.api import Api
from tests.e2e.hosted import Place, placed, settings_for
from tests.emulators.provider import CUT, DROP, HANG, Asked, Fault, Moment, Status, provider

REPLACEMENTS = 50
ASKERS = 4
ANSWER_SECONDS = 6.0
SLOW_SECONDS = 3.0
QUESTION = "What is the marker of the handbook?"
FAULTS: tuple[Fault, ...] = (Status(429, retry_after=0.1), Status(500), Status(503), DROP, CUT, HANG)
CALLS_OF_A_REPLACEMENT = (
    "files.create",
    "files.delete",
    "vector_stores.files.create",
    "vector_stores.files.retrieve",
    "vector_stores.files.delete",
)
CALLS_OF_A_CHECK = ("files.list", "vector_stores.files.list", "vector_stores.list")
CALLS_OF_ANSWERS = ("responses.create", "conversations.create")


def handbook(version: int) -> str:
    """Return a version's text; it is the only one with its marker."""
    return f"# Handbook\n\nThe marker of the handbook is marker{version}.\n\n# Other\n\nNothing of version {version}.\n"


class Fire:
    """Let every third call of each operation fail, until each has failed in every way before and after it was done."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self.planned: dict[str, list[tuple[Moment, Fault]]] = {}
        for operation in (*CALLS_OF_A_REPLACEMENT, *CALLS_OF_A_CHECK, *CALLS_OF_ANSWERS):
            self.planned[operation] = list(itertools.product(Moment, FAULTS))
            self._chance.shuffle(self.planned[operation])
        self._chosen: dict[int, tuple[Moment, Fault]] = {}
        self.happened: defaultdict[str, list[tuple[Moment, Fault]]] = defaultdict(list)

    def __call__(self, moment: Moment, asked: Asked) -> Fault | None:
        if moment is Moment.BEFORE and asked.operation == "responses.create" and asked.number % 5 == 0:
            time.sleep(SLOW_SECONDS)  # so much happens before it searches
        with self._lock:
            if moment is Moment.BEFORE:
                self._calls[asked.operation] += 1
                planned = self.planned.get(asked.operation)
                if planned and self._calls[asked.operation] % 3 == 1:
                    self._chosen[asked.number] = planned.pop()
            when, fault = self._chosen.get(asked.number, (None, None))
            if when is not moment or fault is None:
                return None
            self.happened[asked.operation].append((moment, fault))
            return fault

    @property
    def left(self) -> dict[str, int]:
        """Return how many faults of a replacement's calls have not happened yet."""
        return {name: len(self.planned[name]) for name in CALLS_OF_A_REPLACEMENT if self.planned[name]}


@dataclass
class Versions:
    """Which versions there are: an answer may come from any between the two.

    Attributes:
        ready: the newest that was seen to be ready.
        uploaded: the newest whose upload has begun.
    """

    ready: int = 0
    uploaded: int = 0
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def fire(stores: dict[str, str], tmp_path: Path) -> Iterator[tuple[Place, Fire]]:
    """Give a server whose provider fails; it takes its time to process files and to answer."""
    with provider() as openai:
        openai.account.processing_seconds, openai.thinking_seconds, openai.hang_seconds = 0.1, 0.1, 0.5
        settings = settings_for(openai, stores, tmp_path, ANSWER_DEADLINE_SECONDS=f"{ANSWER_SECONDS:g}")
        with placed(openai, settings, tmp_path) as place:
            rule = Fire(seed=5)
            openai.rule = rule
            yield place, rule
        assert "Traceback" not in "".join(place.server.log)


@pytest.mark.timeout(200)
def test_fifty_replacements_under_fire_end_with_one_file_and_no_answer_mixes_them(fire: tuple[Place, Fire]) -> None:
    place, rule = fire
    assistant, versions = place.api.new_assistant(), Versions()
    place.api.upload(assistant, "office.md", "# Office\n\nThe anchor of the handbook is upstairs.\n")
    replace(place, assistant, versions, 0, wait=True)
    with ThreadPoolExecutor(ASKERS + 1) as pool:
        asking = [pool.submit(ask_on, place, assistant, versions, f"asker {number}") for number in range(ASKERS)]
        passing = pool.submit(let_time_pass, place, assistant, versions)
        try:
            for version in range(1, REPLACEMENTS + 1):
                replace(place, assistant, versions, version, wait=version % 5 != 0 or version == REPLACEMENTS)
        finally:
            versions.over.set()
        answers = [answer for asked in asking for answer in asked.result()]
        passing.result()
    assert len(answers) > REPLACEMENTS // 2, "too few people asked: the test proves little"
    assert len(set(answers)) > REPLACEMENTS // 5, "too few versions answered: the test proves little"
    searched = [one for one in place.openai.asked("responses.create") if one.body.get("tools")]
    assert len(searched) > len(answers) // 2, "our own passages have answered: the test proves little"
    place.sweep(assistant, seconds=60)
    assert_only_the_last(place, assistant)
    assert not rule.left, "some calls have not failed in every way: the test proves less than it says"


def replace(place: Place, assistant: dict[str, Any], versions: Versions, version: int, *, wait: bool) -> None:
    """Upload a version, and wait until it is ready."""
    versions.uploaded = version
    form = {"assistant_id": assistant["_id"], "type": "rag"}
    files = {"file": ("handbook.md", handbook(version))}
    made = place.api.post("/documents/add", data=form, files=files)
    assert made.status_code in (200, 201), made.text
    status, until = "", time.monotonic() + 60
    while wait and status != "ready":
        status = place.api.get(f"/documents/get/{made.json()['_id']}").json()["status"]
        assert status != "failed" and time.monotonic() < until, status
        time.sleep(0.02)
    if wait:
        versions.ready = version


def ask_on(place: Place, assistant: dict[str, Any], versions: Versions, name: str) -> list[int]:
    """Ask until it is over, in a conversation that goes on and in new ones; return the versions of the answers."""
    found: list[int] = []
    with Api(place.server.url) as channel:
        for number in itertools.count():
            if versions.over.is_set():
                return found
            oldest = versions.ready
            answer = channel.say(assistant, QUESTION, id=name if number % 2 else f"{name}.{number}")
            newest = versions.uploaded
            assert answer.status_code in (200, 502, 504), answer.text
            if answer.status_code == 200:
                text = answer.json()["response"]
                markers = re.findall(r"marker(\d+)", text)
                assert len(markers) == 1, f"{oldest}..{newest}: {text}"
                assert oldest <= int(markers[0]) <= newest, f"{oldest}..{newest}: {text}"
                assert text.count("anchor") == 1, text
                found.append(int(markers[0]))
    raise AssertionError("unreachable")


def let_time_pass(place: Place, assistant: dict[str, Any], versions: Versions) -> None:
    """Let the grace of retired texts be over once no answer can last any more, and ask for what is to be done then.

    The server's own grace is half a minute longer.
    """
    with Api(place.server.url) as api:
        api.headers["Authorization"] = place.api.headers["Authorization"]
        while not versions.over.wait(1.0):
            for file in place.shelf(assistant).files:
                if file.retired_at is not None and file.retired_at < now() - timedelta(seconds=ANSWER_SECONDS + 1.5):
                    place.registry.change(
                        assistant["_id"], file.number, {"retired_at": file.retired_at - timedelta(hours=1)}
                    )
            assert api.post(f"/assistants/sync/{assistant['_id']}").status_code in (200, 502)


def assert_only_the_last(place: Place, assistant: dict[str, Any]) -> None:
    """Check the vector store, the account's files and the registry."""
    files = {file.filename: file for file in place.shelf(assistant).files}
    assert sorted(files) == ["handbook.md", "office.md"] and len(place.shelf(assistant).files) == 2
    held = {name.partition(".")[0]: text for name, text in place.texts(assistant).items()}
    assert len(place.texts(assistant)) == 2 and held["handbook"] == handbook(REPLACEMENTS)
    assert place.attached(assistant) == place.texts(assistant)
    (store,) = place.openai.account.stores.values()
    assert set(store.files) == {file.file_id for file in files.values()} == set(place.openai.account.files)
    answer = place.api.say(assistant, QUESTION, id="afterwards").json()
    assert f"marker{REPLACEMENTS}." in answer["response"]
