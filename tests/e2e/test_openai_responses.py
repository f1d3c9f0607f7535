"""An assistant whose conversations are kept at the provider. test_threads.py has their end."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.running import running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.openai_wire import Reply, WireServer, wire
from tests.emulators.response_wire import answer, conversation


@contextlib.contextmanager
def _served(folder: Path, *replies: Reply) -> Iterator[tuple[WireServer, Api]]:
    with wire(*replies) as provider:
        settings = {**SETTINGS, "OPENAI_BASE_URL": provider.base_url, "LANGUAGE_MODEL": "openai"}
        with running_server(folder, settings) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            yield provider, api


def test_a_conversation_is_kept_at_the_provider(tmp_path: Path) -> None:
    with _served(tmp_path, conversation("conv_1"), answer("One."), answer("Two.")) as (provider, api):
        assistant = api.new_assistant()
        assert api.say(assistant, "one").json()["provider"] == "openai"
        chat = api.say(assistant, "two").json()
        assert (chat["response"], chat["tokens"]) == ("Two.", {"in": 5, "out": 7})
        asked = [one.body for one in provider.requests if one.path == "/v1/responses"]
        assert [(one["conversation"], len(one["input"])) for one in asked] == [("conv_1", 1), ("conv_1", 1)]


@pytest.mark.parametrize("provider", ["openai", "openai_chat"])
def test_an_assistant_may_name_either_provider(tmp_path: Path, provider: str) -> None:
    with _served(tmp_path) as (_, api):
        assistant = api.new_assistant(provider=provider)
        assert assistant["provider"] == provider
