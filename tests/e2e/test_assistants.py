"""/assistants over HTTP."""

import base64
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.engine import wait_until
from tests.e2e.api import Api


def test_an_assistant_has_every_field_of_the_contract(user: Api) -> None:
    made = user.post("/assistants/add", json={"name": "Políticas"})
    assert made.status_code == 201
    assistant = made.json()
    assert made.headers["Location"] == f"/assistants/get/{assistant['_id']}"
    assert user.get(made.headers["Location"]).json() == assistant
    expected = {
        "_id", "name", "owner_id", "api_key", "createdAt", "updatedAt", "version", "provider", "model", "temperature",
        "max_output_tokens", "history_turns", "language", "voice", "debounce_seconds", "tools", "routing",
        "messages_per_minute", "callback_hosts", "webhook_secret", "webhook_grace_until",
    }  # fmt: skip
    assert set(assistant) == expected
    assert re.fullmatch(r"orq_[0-9A-Za-z]+_[0-9A-Za-z]{22,}", assistant["api_key"])
    assert len(base64.b64decode(assistant["webhook_secret"].removeprefix("whsec_"), validate=True)) == 32
    assert (assistant["debounce_seconds"], assistant["callback_hosts"], assistant["webhook_grace_until"]) == (
        0,
        [],
        None,
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", assistant["createdAt"])
    assert assistant["owner_id"] == user.user["id"]


def test_a_whole_assistant_may_be_sent_back(user: Api) -> None:
    assistant = user.new_assistant(debounce_seconds=1.5, callback_hosts=["example.com"])
    assistant = user.post(f"/assistants/rotateWebhookSecret/{assistant['_id']}", json={}).json()
    new = {"name": "Novo", "history_turns": 3}
    changed = user.put(f"/assistants/update/{assistant['_id']}", json={**assistant, **new})
    assert changed.status_code == 200
    body = changed.json()
    assert body == {**assistant, **new, "version": assistant["version"] + 1, "updatedAt": body["updatedAt"]}


def test_what_cannot_be_set_is_ignored_or_refused(user: Api) -> None:
    assistant = user.new_assistant()
    url = f"/assistants/update/{assistant['_id']}"
    sent = {"webhook_secret": "whsec_bWluZQ==", "webhook_grace_until": "2099-01-01T00:00:00Z", "api_key": "mine"}
    changed = user.put(url, json=sent).json()
    assert [changed[name] for name in sent] == [assistant[name] for name in sent]
    assert user.put(url, json={"webhook_version": 7}).status_code == 422


def test_unknown_and_wrong_fields_change_nothing(user: Api) -> None:
    assistant = user.new_assistant()
    url = f"/assistants/update/{assistant['_id']}"
    for wrong in ({"colour": "red"}, {"temperature": 7}, {"provider": "nonsense"}, {"history_turns": "many"},
                  {"debounce_seconds": 30.1},
                  {"debounce_seconds": -1}, {"debounce_seconds": None}, {"callback_hosts": "example.com"},
                  {"callback_hosts": ["example.com"] * 51}, {"name": "  "}, {"language": "not a tag"}):  # fmt: skip
        answer = user.put(url, json=wrong)
        assert answer.status_code == 422, wrong
        assert set(answer.json()["errors"]) == set(wrong)
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == assistant


def test_a_burst_and_its_hosts_are_kept(user: Api) -> None:
    hosts = ["example.com", "*.Example.org:8443", "192.0.2.7", "[2001:db8::1]:81", "bücher.example"]
    assistant = user.new_assistant(debounce_seconds=30, callback_hosts=hosts)
    assert (assistant["debounce_seconds"], assistant["callback_hosts"]) == (30, hosts)
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == assistant
    cleared = user.put(f"/assistants/update/{assistant['_id']}", json={"debounce_seconds": 0, "callback_hosts": []})
    assert (cleared.json()["debounce_seconds"], cleared.json()["callback_hosts"]) == (0, [])


@pytest.mark.parametrize("host", ["*", "", "https://example.com", "example.com/path", "a b", "*.192.0.2.7", "1.2.3", 7])
def test_a_wrong_callback_host_is_named(user: Api, host: object) -> None:
    assistant = user.new_assistant()
    answer = user.put(f"/assistants/update/{assistant['_id']}", json={"callback_hosts": ["example.com", host]})
    assert answer.status_code == 422
    (message,) = answer.json()["errors"]["callback_hosts.1"]
    assert message.startswith("Must be " if isinstance(host, str) else "Not a valid string")


def test_only_an_admin_gives_an_assistant_to_somebody_else(user: Api, admin: Api) -> None:
    theirs = user.post("/assistants/add", json={"name": "x", "owner_id": admin.user["id"]})
    assert theirs.status_code == 403
    given = admin.post("/assistants/add", json={"name": "x", "owner_id": user.user["id"]})
    assert given.status_code == 201
    assert user.get(f"/assistants/get/{given.json()['_id']}").status_code == 200
    assert admin.post("/assistants/add", json={"name": "x", "owner_id": "0" * 24}).status_code == 422


def test_lists_are_newest_first_with_pages(user: Api) -> None:
    made = [user.new_assistant()["_id"] for _ in range(5)][::-1]
    first = user.get("/assistants/list?limit=2")
    assert [one["_id"] for one in first.json()] == made[:2]
    assert first.headers["X-Total-Count"] == "5"
    seen, answer = [one["_id"] for one in first.json()], first
    while "Link" in answer.headers:
        answer = user.get(answer.headers["Link"].split(">")[0].strip("<"))
        seen += [one["_id"] for one in answer.json()]
    assert seen == made
    assert user.get("/assistants/list?limit=0").status_code == 422
    assert user.get("/assistants/list?limit=1001").status_code == 422
    assert user.get("/assistants/list?after=nonsense").status_code == 422


def test_an_admin_sees_all_assistants(user: Api, admin: Api) -> None:
    assistant = user.new_assistant()
    assert assistant["_id"] in [one["_id"] for one in admin.get("/assistants/list").json()]


def test_a_rotated_key_works_until_its_grace_ends(user: Api) -> None:
    assistant = user.new_assistant()
    url = f"/assistants/rotateKey/{assistant['_id']}"
    rotated = user.post(url, json={"grace_seconds": 60}).json()
    assert rotated["api_key"] != assistant["api_key"]
    assert user.say(assistant, "olá").status_code == 200
    assert user.say(rotated, "olá").status_code == 200
    newest = user.post(url, json={"grace_seconds": 1}).json()
    wait_until(lambda: user.say(rotated, "olá").status_code != 200)
    refused = user.say(rotated, "olá")
    assert (refused.status_code, refused.json()["code"]) == (401, "api_key_invalid")
    assert user.say(newest, "olá").status_code == 200


def test_a_key_without_grace_is_dead_at_once(user: Api) -> None:
    assistant = user.new_assistant()
    assert user.post(f"/assistants/rotateKey/{assistant['_id']}", json={"grace_seconds": 0}).status_code == 200
    assert user.say(assistant, "olá").status_code == 401


def test_a_rotated_webhook_secret_says_how_long_the_one_before_signs(user: Api) -> None:
    assistant = user.new_assistant()
    url = f"/assistants/rotateWebhookSecret/{assistant['_id']}"
    rotated = user.post(url, json={"grace_seconds": 3600}).json()
    ends = datetime.fromisoformat(rotated["webhook_grace_until"])
    assert timedelta(minutes=59) < ends - datetime.now(UTC) <= timedelta(hours=1)
    without_grace = user.post(url, json={"grace_seconds": 0}).json()
    assert without_grace["webhook_grace_until"] is None
    assert len({one["webhook_secret"] for one in (assistant, rotated, without_grace)}) == 3
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == without_grace
    assert without_grace["api_key"] == assistant["api_key"]
    for wrong in (-1, 30 * 86_400 + 1, "soon"):
        assert set(user.post(url, json={"grace_seconds": wrong}).json()["errors"]) == {"grace_seconds"}


def test_only_who_manages_an_assistant_rotates_its_webhook_secret(user: Api, admin: Api) -> None:
    theirs = admin.new_assistant()
    assert user.post(f"/assistants/rotateWebhookSecret/{theirs['_id']}", json={}).status_code == 404
    assert admin.get(f"/assistants/get/{theirs['_id']}").json() == theirs


def test_a_deleted_assistant_takes_everything_with_it(user: Api) -> None:
    assistant = user.new_assistant()
    document = user.upload(assistant, "a.md", "# A\n\nSomething to know.").json()
    chat = user.say(assistant, "something?").json()
    assert user.delete(f"/assistants/delete/{assistant['_id']}").status_code == 204
    assert user.delete(f"/assistants/delete/{assistant['_id']}").status_code == 404
    assert user.get(f"/documents/get/{document['_id']}").status_code == 404
    assert user.get(f"/chats/get/{chat['_id']}").status_code == 404
    assert user.get("/conversations/list").json() == []
    assert user.say(assistant, "anybody?").status_code == 401
