"""The end of conversations that the provider keeps: flushed, erased, deleted with their assistant."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.e2e.hosted import Place, placed, settings_for, wait_until
from tests.emulators.provider import Asked, Fault, Moment, Status, provider


@pytest.fixture(scope="module")
def place(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a server that keeps conversations at the fake, where answers may last for so long and no longer."""
    folder = tmp_path_factory.mktemp("threads")
    with provider() as openai:
        with placed(openai, settings_for(openai, stores, folder, ANSWER_DEADLINE_SECONDS="20"), folder) as running:
            yield running


@pytest.fixture
def assistant(place: Place) -> Iterator[dict[str, Any]]:
    """Give an assistant at a provider that keeps nothing yet, and fails in no way."""
    place.openai.rule = lambda moment, asked: None
    place.openai.word_seconds = 0.0
    for held in (place.openai.account.conversations, place.openai.account.items, place.openai.account.responses):
        held.clear()
    yield place.api.new_assistant()


def _is_empty(place: Place) -> bool:
    account = place.openai.account
    return not (account.conversations or account.items or account.responses)


def _flush(api: Api, assistant: dict[str, Any], slash: str = "") -> int:
    answer = api.post(f"/assistants/flushThreads/{assistant['_id']}{slash}")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["flushed"])


def test_threads_that_are_flushed_are_deleted_and_conversations_go_on(place: Place, assistant: dict[str, Any]) -> None:
    for channel in ("first", "second"):
        place.api.say(assistant, "one", id=channel).raise_for_status()
    old = set(place.openai.account.conversations)
    assert _flush(place.api, assistant) == 2
    wait_until(lambda: not old & set(place.openai.account.conversations))
    assert not place.openai.account.items
    assert _flush(place.api, assistant, "/") == 0
    place.api.say(assistant, "two", id="first").raise_for_status()
    asked = place.openai.asked("responses.create")[-1].body
    assert asked["conversation"] not in old
    assert [item["content"] for item in asked["input"]][::2] == ["one", "two"]


def test_an_assistant_that_never_had_a_thread_has_none_to_flush(place: Place, assistant: dict[str, Any]) -> None:
    assert _flush(place.api, assistant) == 0
    other = place.api.new_assistant(provider="offline")
    place.api.say(other, "one").raise_for_status()
    assert _flush(place.api, other) == 0


def test_only_who_manages_an_assistant_flushes_its_threads(place: Place, assistant: dict[str, Any]) -> None:
    path = f"/assistants/flushThreads/{assistant['_id']}"
    with Api(place.server.url) as stranger:
        assert stranger.post(path).status_code == 401
        person = {"name": "Eve", "email": "eve@example.com", "password": "eve-password"}
        place.api.post("/auth/register", json=person).raise_for_status()
        stranger.login(person["email"], person["password"])
        assert stranger.post(path).status_code == 404
        mine = stranger.new_assistant()
        assert _flush(place.api, mine) == 0
    assert place.api.post("/assistants/flushThreads/nothing").status_code == 404


def test_an_answer_that_is_being_made_while_threads_are_flushed_is_given(
    place: Place, assistant: dict[str, Any]
) -> None:
    place.openai.word_seconds = 0.2
    place.openai.thinking_seconds = 1.0
    said: list[Any] = []
    asking = threading.Thread(target=lambda: said.append(place.api.say(assistant, "one two three four five").json()))
    before = len(place.openai.asked("responses.create"))
    asking.start()
    wait_until(lambda: len(place.openai.asked("responses.create")) > before)
    with Api(place.server.url) as api:
        api.headers["Authorization"] = place.api.headers["Authorization"]
        assert _flush(api, assistant) == 1
    asking.join()
    place.openai.word_seconds = place.openai.thinking_seconds = 0.0
    assert said[0]["status"] == "answered"
    old = place.openai.asked("responses.create")[-1].body["conversation"]
    place.api.say(assistant, "two").raise_for_status()
    assert place.openai.asked("responses.create")[-1].body["conversation"] != old


def test_an_erased_conversation_leaves_nothing_at_the_provider_though_it_fails_at_first(
    place: Place, assistant: dict[str, Any]
) -> None:
    for question in ("one", "two"):
        chat = place.api.say(assistant, question).json()
    assert len(place.openai.account.responses) == 2
    failures = iter(range(4))

    def rule(moment: Moment, asked: Asked) -> Fault | None:
        deleting = asked.operation.endswith(("delete", "list"))
        return Status(500) if moment is Moment.BEFORE and deleting and next(failures, None) is not None else None

    place.openai.rule = rule
    assert place.api.delete(f"/conversations/delete/{chat['conversation_id']}").is_success
    wait_until(lambda: _is_empty(place))
    assert next(failures, None) is None


def test_a_deleted_assistant_leaves_nothing_at_the_provider(place: Place, assistant: dict[str, Any]) -> None:
    for channel in ("first", "second", "third"):
        place.api.say(assistant, "one", id=channel).raise_for_status()
    assert place.api.delete(f"/assistants/delete/{assistant['_id']}").is_success
    wait_until(lambda: _is_empty(place))
