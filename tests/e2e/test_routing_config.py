"""An assistant's routing and the prompts of its roles over HTTP."""

from typing import Any

import pytest

from tests.e2e.api import Api

ROUTING = {
    "mode": "route",
    "router_model": "small",
    "chat_model": None,
    "tool_model": "large",
    "chatty_model": None,
    "prompts": {"chat": "You are {{ assistant }}.", "router": "Decide."},
    "filler": "events",
}
DEFAULTS: dict[str, Any] = {
    "mode": "direct", "router_model": None, "chat_model": None, "tool_model": None, "chatty_model": None,
    "prompts": {}, "filler": "everywhere",
}  # fmt: skip


def test_a_routing_is_kept_replaced_and_taken_away(user: Api) -> None:
    assistant = user.new_assistant()
    assert assistant["routing"] is None
    url = f"/assistants/update/{assistant['_id']}"
    assert user.put(url, json={"routing": ROUTING}).json()["routing"] == ROUTING
    whole = user.get(f"/assistants/get/{assistant['_id']}").json()
    sent_back = user.put(url, json=whole).json()
    assert sent_back == {**whole, "version": whole["version"] + 1, "updatedAt": sent_back["updatedAt"]}
    assert user.put(url, json={"name": "Other"}).json()["routing"] == ROUTING
    assert user.put(url, json={"routing": {"mode": "route"}}).json()["routing"] == {**DEFAULTS, "mode": "route"}
    assert user.put(url, json={"routing": {}}).json()["routing"] == DEFAULTS
    assert user.put(url, json={"routing": None}).json()["routing"] is None


@pytest.mark.parametrize(
    ("routing", "field", "message"),
    [
        ({"mode": "random"}, "mode", "Must be one of: direct, route."),
        ({"mode": None}, "mode", "Field may not be null."),
        ({"filler": "sometimes"}, "filler", "Must be one of: off, events, everywhere."),
        ({"router_model": ""}, "router_model", "Length must be between 1 and 200."),
        ({"chat_model": " "}, "chat_model", "Must not be blank."),
        ({"tool_model": 5}, "tool_model", "Not a valid string."),
        ({"prompts": {"poet": "x"}}, "prompts.poet.key", "Must be one of: chat, tool, router, chatty."),
        ({"prompts": {"chat": "x" * 20_001}}, "prompts.chat.value", "Length must be between 1 and 20000."),
        ({"prompts": {"chat": ""}}, "prompts.chat.value", "Length must be between 1 and 20000."),
        ({"prompts": {"chat": "{{ nobody }}"}}, "prompts.chat.value", "line 1: "),
        ({"prompts": {"chatty": "One.\n{% if %}"}}, "prompts.chatty.value", "line 2: "),
        ({"speed": "fast"}, "speed", "Unknown field."),
    ],
)
def test_a_wrong_routing_is_named(user: Api, routing: dict[str, Any], field: str, message: str) -> None:
    assistant = user.new_assistant()
    answer = user.put(f"/assistants/update/{assistant['_id']}", json={"routing": routing})
    assert answer.status_code == 422
    told = answer.json()["errors"]
    assert list(told) == [f"routing.{field}"]
    assert told[f"routing.{field}"][0].startswith(message)
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == assistant


def test_prompts_of_roles_are_documents_beside_the_assistants_own(user: Api, stranger: Api) -> None:
    assistant = user.new_assistant()
    places = {}
    for name in ("rules.md", "Router.MD", "chatty.txt"):
        made = user.upload(assistant, name, f"This is {name}.", "prompt")
        assert made.status_code == 201, made.text
        places[name] = made.json()["filepath"].removeprefix(f"documents/{assistant['_id']}/")
    assert places == {"rules.md": "prompt.txt", "Router.MD": "router.txt", "chatty.txt": "chatty.txt"}
    listed = user.get(f"/documents/list?assistant_id={assistant['_id']}&type=prompt").json()
    assert sorted(one["filename"] for one in listed) == ["chatty.txt", "prompt.txt", "router.txt"]
    (router,) = [one for one in listed if one["filename"] == "router.txt"]
    download = user.get(f"/documents/download/{router['_id']}")
    assert (download.text, "router.txt" in download.headers["Content-Disposition"]) == ("This is Router.MD.", True)
    assert stranger.get(f"/documents/download/{router['_id']}").status_code == 404
    assert stranger.upload(assistant, "router.txt", "Mine.", "prompt").status_code == 404
    again = user.upload(assistant, "router.txt", "Decide.", "prompt").json()
    assert again["_id"] == router["_id"]
    versions = user.get(f"/documents/versions/{router['_id']}").json()
    assert [version["size"] for version in versions] == [7, 18]
    restored = user.post(f"/documents/restore/{router['_id']}", json={"revision": versions[1]["revision"]})
    assert (restored.status_code, restored.json()["filename"]) == (200, "router.txt")
    assert user.get(f"/documents/download/{router['_id']}").text == "This is Router.MD."
    refused = user.upload(assistant, "router.txt", "Decide, {{ nobody }}.", "prompt")
    assert (refused.status_code, refused.json()["code"]) == (422, "template_error")
    assert user.delete(f"/documents/delete/{router['_id']}").status_code == 204
    left = user.get(f"/documents/list?assistant_id={assistant['_id']}").json()
    assert sorted(one["filename"] for one in left) == ["chatty.txt", "prompt.txt"]


def test_knowledge_may_be_named_like_a_role(user: Api) -> None:
    assistant = user.new_assistant()
    user.upload(assistant, "router.txt", "The router stands in room seven.")
    user.upload(assistant, "router.txt", "Decide.", "prompt")
    listed = user.get(f"/documents/list?assistant_id={assistant['_id']}").json()
    assert sorted((one["type"], one["filepath"].split("/", 2)[2]) for one in listed) == [
        ("prompt", "router.txt"),
        ("rag", "knowledge/router.txt"),
    ]
