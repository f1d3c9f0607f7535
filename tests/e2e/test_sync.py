"""`POST /assistants/sync/<id>`: what differs at the provider is told and mended."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.e2e.hosted import Place, placed, settings_for, wait_until
from tests.emulators.provider import provider

IN_ORDER: dict[str, Any] = {"missing": [], "outdated": [], "unregistered": [], "found": None}


@pytest.fixture(scope="module")
def place(stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a server that keeps documents at the fake."""
    folder = tmp_path_factory.mktemp("sync")
    with provider() as openai, placed(openai, settings_for(openai, stores, folder), folder) as running:
        yield running


@pytest.fixture
def assistant(place: Place) -> dict[str, Any]:
    """Give an assistant with two documents at the provider."""
    made = place.api.new_assistant()
    for name in ("a.md", "b.md"):
        assert place.api.upload(made, name, f"# {name}\n\nThis is {name}.\n").json()["status"] == "ready"
    return made


def test_an_assistant_in_order_has_no_differences(place: Place, assistant: dict[str, Any]) -> None:
    for slash in ("", "/"):
        answer = place.api.post(f"/assistants/sync/{assistant['_id']}{slash}")
        assert (answer.status_code, answer.json()) == (200, {"hosted": True, **IN_ORDER, "in_order": 2})


def test_what_was_taken_away_there_is_brought_back(place: Place, assistant: dict[str, Any]) -> None:
    account, shelf = place.openai.account, place.shelf(assistant)
    account.delete_file(shelf.files[0].file_id)
    stranger = account.create_file(f"old.{assistant['_id']}.{'0' * 24}.md", "assistants", b"Old.")["id"]
    answer = place.api.post(f"/assistants/sync/{assistant['_id']}").json()
    differences = {"missing": ["a.md"], "outdated": [], "unregistered": [stranger], "found": None}
    assert answer == {"hosted": True, **differences, "in_order": 1}
    answer = place.api.post(f"/assistants/sync/{assistant['_id']}?wait=true").json()
    assert (answer["missing"], answer["unregistered"], answer["in_order"]) == ([], [], 2)
    assert sorted(place.attached(assistant).values()) == sorted(place.texts(assistant).values())
    assert len(place.attached(assistant)) == 2


def test_the_documents_follow_the_assistant_to_and_from_the_provider(place: Place, assistant: dict[str, Any]) -> None:
    url = f"/assistants/update/{assistant['_id']}"
    place.api.put(url, json={"provider": "openai_chat"}).raise_for_status()
    wait_until(lambda: all(file.retired_at for file in place.shelf(assistant).files))
    report = place.api.post(f"/assistants/sync/{assistant['_id']}").json()
    assert report == {"hosted": False, **IN_ORDER, "outdated": ["a.md", "b.md"], "in_order": 0}
    place.sweep(assistant)
    assert place.texts(assistant) == {}
    place.api.put(url, json={"provider": "openai"}).raise_for_status()
    wait_until(lambda: len(place.attached(assistant)) == 2)
    report = place.api.post(f"/assistants/sync/{assistant['_id']}?wait=true").json()
    assert report.pop("found").keys() == report.keys() - {"found"}
    assert report | {"found": None} == {"hosted": True, **IN_ORDER, "in_order": 2}


def test_only_who_may_manage_an_assistant_may_synchronize_it(place: Place, assistant: dict[str, Any]) -> None:
    with Api(place.server.url) as stranger:
        url = f"/assistants/sync/{assistant['_id']}"
        assert stranger.post(url).status_code == 401
        account = {"name": "Bob", "email": "bob@example.com", "password": "bob-password"}
        place.api.post("/auth/register", json=account)
        stranger.login(account["email"], account["password"])
        assert stranger.post(url).status_code == 404
    assert place.api.post(f"/assistants/sync/{'0' * 24}").status_code == 404


def test_without_such_a_provider_there_is_nothing_to_do(admin: Api, new_user: Callable[[], Api]) -> None:
    owner = new_user()
    assistant = owner.new_assistant()
    for api in (owner, admin):
        answer = api.post(f"/assistants/sync/{assistant['_id']}?wait=true")
        assert (answer.status_code, answer.json()) == (200, {"hosted": False, **IN_ORDER, "in_order": 0})
