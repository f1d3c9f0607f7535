"""System 000's route with twenty addresses at once, over two server processes: twenty memories."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from bench.running import RunningServer, running_server
from tests.e2e.hosted import logged_in, settings_for
from tests.emulators.provider import FakeProvider, provider

ADDRESSES = 20
TURNS = 4


@pytest.fixture(params=["openai", "openai_chat"])
def pair(
    request: pytest.FixtureRequest, stores: dict[str, str], tmp_path: Path
) -> Iterator[tuple[FakeProvider, list[RunningServer]]]:
    """Give two server processes on the same stores, for each provider."""
    with provider() as openai:
        openai.thinking_seconds = 0.05
        settings = settings_for(openai, stores, tmp_path, LANGUAGE_MODEL=request.param)
        with running_server(tmp_path, settings) as one, running_server(tmp_path, settings) as two:
            yield openai, [one, two]


def test_twenty_addresses_have_twenty_memories(pair: tuple[FakeProvider, list[RunningServer]]) -> None:
    openai, servers = pair
    with logged_in(servers[0]) as api:
        assistant = api.new_assistant()
    barrier = threading.Barrier(ADDRESSES)

    def talk(number: int) -> tuple[str, set[str]]:
        """Tell what only this address knows, turn by turn, at one server and the other; return the last answer."""
        threads = set()
        with httpx2.Client(headers={"X-API-Key": assistant["api_key"]}, timeout=60) as client:

            def ask(prompt: str, turn: int) -> str:
                question = {"prompt": prompt, "address": f"10.0.0.{number}"}
                reply = client.post(f"{servers[(number + turn) % 2].url}/queryAssistant", json=question)
                assert (reply.status_code, reply.json()["statusCode"]) == (200, 200), reply.text
                threads.add(reply.json()["thread_id"])
                return str(reply.json()["content"])

            barrier.wait(60)
            for turn in range(TURNS):
                ask(f"Fact {turn} of {number}.", turn)
            return ask("Recall!", TURNS), threads

    with ThreadPoolExecutor(ADDRESSES) as pool:
        answers = list(pool.map(talk, range(ADDRESSES)))
    for number, (recalled, _) in enumerate(answers):
        facts = " | ".join(f"Fact {turn} of {number}." for turn in range(TURNS))
        assert recalled == f"You said: {facts}"
    assert all(len(threads) == 1 for _, threads in answers)
    assert len(set.union(*(threads for _, threads in answers))) == ADDRESSES
    assert len(openai.account.conversations) == (ADDRESSES if openai.asked("responses.create") else 0)
