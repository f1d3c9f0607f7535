"""/assistants over HTTP."""

import re
import time

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
        "messages_per_minute",
    }  # fmt: skip
    assert set(assistant) == expected
    assert re.fullmatch(r"orq_[0-9A-Za-z]+_[0-9A-Za-z]{22,}", assistant["api_key"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", assistant["createdAt"])
    assert assistant["owner_id"] == user.user["id"]


def test_a_whole_assistant_may_be_sent_back(user: Api) -> None:
    assistant = user.new_assistant()
    changed = user.put(f"/assistants/update/{assistant['_id']}", json={**assistant, "name": "Novo", "history_turns": 3})
    assert changed.status_code == 200
    body = changed.json()
    assert (body["name"], body["history_turns"], body["version"]) == ("Novo", 3, assistant["version"] + 1)
    assert (body["_id"], body["api_key"], body["createdAt"]) == tuple(
        assistant[name] for name in ("_id", "api_key", "createdAt")
    )


def test_unknown_and_wrong_fields_change_nothing(user: Api) -> None:
    assistant = user.new_assistant()
    url = f"/assistants/update/{assistant['_id']}"
    for wrong in ({"colour": "red"}, {"temperature": 7}, {"provider": "nonsense"}, {"history_turns": "many"},
                  {"debounce_seconds": 2}, {"name": "  "}, {"language": "not a tag"}):  # fmt: skip
        answer = user.put(url, json=wrong)
        assert answer.status_code == 422, wrong
        assert set(answer.json()["errors"]) == set(wrong)
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == assistant


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
    rotated = user.post(f"/assistants/rotateKey/{assistant['_id']}", json={"grace_seconds": 2}).json()
    assert rotated["api_key"] != assistant["api_key"]
    assert user.say(assistant, "olá").status_code == 200
    assert user.say(rotated, "olá").status_code == 200
    time.sleep(2.1)
    refused = user.say(assistant, "olá")
    assert (refused.status_code, refused.json()["code"]) == (401, "api_key_invalid")
    assert user.say(rotated, "olá").status_code == 200


def test_a_key_without_grace_is_dead_at_once(user: Api) -> None:
    assistant = user.new_assistant()
    assert user.post(f"/assistants/rotateKey/{assistant['_id']}", json={"grace_seconds": 0}).status_code == 200
    assert user.say(assistant, "olá").status_code == 401


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
