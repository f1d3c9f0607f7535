"""Two users, every route: somebody else's id answers 404 exactly like an id that does not exist."""

import re
from typing import Any

import pytest

from tests.e2e.api import Api

BODIES: dict[str, dict[str, Any]] = {
    "/assistants/update/{id}": {"name": "mine now"},
    "/assistants/rotateKey/{id}": {},
    "/assistants/rotateWebhookSecret/{id}": {},
    "/assistants/importTools/{id}": {"mcpServers": {}},
    "/chats/responder/{id}": {"message": "hello"},
    "/chats/feedback/{id}": {"score": 1},
    "/documents/restore/{id}": {"revision": "0" * 24},
}
PUBLIC = {
    "/healthz", "/readyz", "/version", "/metrics", "/auth/register", "/auth/login", "/auth/refresh",
    "/chats/enviarMensagemLLM",
}  # fmt: skip
WITH_KEY = re.compile(r"/(queryAssistant|clearCache|process\w+|voice/\w+|chats/audio/.+)\Z")
DOORS = re.compile(r"/v1/|(/api)?(/v1)?/apps/")
"""Paths whose callers have a key, and whose failures look as other services' do; they have tests of their own."""


@pytest.fixture
def belongings(user: Api) -> dict[str, str]:
    """Give one id of each kind, all of `user`."""
    assistant = user.new_assistant()
    document = user.upload(assistant, "a.md", "# A\n\nSomething to know.").json()
    chat = user.say(assistant, "something to know?", id="secret-channel").json()
    ours = {"assistant_id": assistant["_id"]}
    items = [{"question": "something to know?", "contains": ["know"]}]
    dataset = user.post("/evaluations/datasets/add", json={**ours, "name": "d", "items": items}).json()["_id"]
    run = user.post("/evaluations/run", json={**ours, "dataset_id": dataset}).json()["_id"]
    return {
        "assistant_id": assistant["_id"],
        "document_id": document["_id"],
        "conversation_id": chat["conversation_id"],
        "reference": chat["_id"],
        "chat_id": chat["_id"],
        "dataset_id": dataset,
        **dict.fromkeys(("run_id", "before_id", "after_id"), run),
    }


def test_foreign_ids_look_like_absent_ones(stranger: Api, user: Api, belongings: dict[str, str]) -> None:
    paths = stranger.get("/openapi.json").json()["paths"]
    tried = 0
    for path, operations in paths.items():
        parameter = re.search(r"{(\w+)}", path)
        if parameter is None or path.startswith("/ops/") or DOORS.match(path):  # of /ops: for admins only
            continue
        for method in operations.keys() & {"get", "put", "post", "delete"}:
            body = BODIES.get(path.replace(parameter.group(0), "{id}"))
            answers = []
            for identifier in (belongings[parameter.group(1)], "0" * 24):
                url = re.sub(r"{\w+}", identifier, path)
                answer = stranger.request(method.upper(), url, json=body if method != "get" else None)
                assert answer.status_code == 404, (method, url, answer.text)
                answers.append(
                    {**answer.json(), "request_id": "", "detail": answer.json()["detail"].replace(identifier, "")}
                )
            assert answers[0] == answers[1]
            tried += 1
    assert tried >= 24
    assert user.get(f"/assistants/get/{belongings['assistant_id']}").json()["name"] != "mine now"


def test_a_foreign_channel_id_is_not_there(stranger: Api, belongings: dict[str, str]) -> None:
    for method, url in (("GET", "get"), ("PUT", "ativar"), ("PUT", "desativar"), ("POST", "retry")):
        assert stranger.request(method, f"/chats/{url}/secret-channel").status_code == 404


def test_lists_hold_only_ones_own(stranger: Api, belongings: dict[str, str]) -> None:
    identifier = belongings["assistant_id"]
    for path in ("/assistants/list", "/chats/list", "/chats/listarAtivos", "/conversations/list", "/documents/list"):
        for query in ("", f"?assistant_id={identifier}"):
            if path == "/assistants/list" and query:
                continue
            answer = stranger.get(path + query)
            assert (answer.status_code, answer.json(), answer.headers["X-Total-Count"]) == (200, [], "0"), path


def test_nothing_is_put_into_a_foreign_assistant(stranger: Api, belongings: dict[str, str]) -> None:
    foreign = {"_id": belongings["assistant_id"]}
    assert stranger.upload(foreign, "a.md", "# Mine").status_code == 404
    search = stranger.post("/documents/search", json={"assistant_id": foreign["_id"], "query": "know"})
    assert search.status_code == 404


def test_an_admin_sees_everything(admin: Api, belongings: dict[str, str]) -> None:
    assert admin.get(f"/assistants/get/{belongings['assistant_id']}").status_code == 200
    assert admin.get(f"/documents/get/{belongings['document_id']}").status_code == 200
    assert admin.get(f"/chats/get/{belongings['reference']}").status_code == 200
    assert admin.get("/chats/get/secret-channel").status_code == 200
    assert admin.get(f"/conversations/messages/{belongings['conversation_id']}").status_code == 200


def test_every_other_route_needs_credentials(anonymous: Api) -> None:
    paths = anonymous.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        if path in PUBLIC:
            continue
        for method in operations.keys() & {"get", "put", "post", "delete"}:
            answer = anonymous.request(method.upper(), re.sub(r"{\w+}", "0" * 24, path))
            assert answer.status_code == 401, (method, path)
            if not DOORS.match(path):
                assert answer.json()["code"] == ("api_key_missing" if WITH_KEY.match(path) else "token_missing")
