"""/evaluations over HTTP, on embedded stores and on servers."""

import json
import time
from typing import Any

import httpx2
import pytest

from tests.e2e.api import Api

POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year.\n\n# Passwords\n\nA password has 14 characters.\n"
ITEMS: list[dict[str, Any]] = [
    {"id": "days", "question": "How many vacation days a year?", "contains": ["25 vacation days"], "tags": ["leave"]},
    {"id": "password", "question": "How many characters has a password?", "documents": ["policy.md"], "language": "en"},
    {"id": "unknown", "question": "Who was the first man on the moon?", "documents": []},
    {"id": "wrong", "question": "How many vacation days a year?", "contains": ["99 days", "25"], "expected": "99"},
]


@pytest.fixture
def assistant(user: Api) -> dict[str, Any]:
    """Give an assistant with a document."""
    made = user.new_assistant()
    assert user.upload(made, "policy.md", POLICY).status_code == 201
    return made


def add(
    api: Api, assistant: dict[str, Any], items: list[dict[str, Any]] = ITEMS, name: str = "mine"
) -> httpx2.Response:
    return api.post("/evaluations/datasets/add", json={"assistant_id": assistant["_id"], "name": name, "items": items})


def run(api: Api, assistant: dict[str, Any], dataset: dict[str, Any], **order: Any) -> httpx2.Response:
    body = {"assistant_id": assistant["_id"], "dataset_id": dataset["_id"], **order}
    return api.post("/evaluations/run", json=body)


def ended(api: Api, run_id: str, seconds: float = 60.0) -> dict[str, Any]:
    """Wait until a run has ended and return it."""
    until = time.monotonic() + seconds
    while (found := api.get(f"/evaluations/get/{run_id}").json())["status"] == "running":
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return dict(found)


def test_a_dataset_is_run_by_the_servers(user: Api, assistant: dict[str, Any]) -> None:
    added = add(user, assistant)
    assert added.status_code == 201, added.text
    dataset = added.json()
    assert (dataset["name"], dataset["size"]) == ("mine", 4)
    stored = user.get(added.headers["Location"]).json()
    assert stored["items"] == ITEMS
    begun = run(user, assistant, dataset, metrics=["contains", "cited", "exact"], parallel=2)
    assert begun.status_code == 202, begun.text
    assert begun.headers["Location"] == f"/evaluations/get/{begun.json()['_id']}"
    done = ended(user, begun.json()["_id"])
    assert (done["status"], done["progress"]) == ("done", {"waiting": 0, "done": 4, "failed": 0})
    assert done["metrics"] == ["exact", "contains", "cited"] and done["assistant_version"] == assistant["version"]
    assert {name: one["mean"] for name, one in done["summary"]["metrics"].items()} == {
        "cited": 1.0,
        "contains": 0.75,
        "exact": 0.0,
    }
    results = user.get(f"/evaluations/results/{done['_id']}?limit=3")
    assert [one["item"]["id"] for one in results.json()] == ["days", "password", "unknown"]
    assert results.headers["X-Total-Count"] == "4" and "next" in results.headers["Link"]
    assert results.json()[1]["citations"] == ["policy.md"]
    assert "25 vacation days" in results.json()[0]["answer"]
    assert [one["_id"] for one in user.get(f"/evaluations/list?assistant_id={assistant['_id']}").json()] == [
        done["_id"]
    ]
    assert user.get(f"/conversations/list?assistant_id={assistant['_id']}").json() == [], "nothing fills the viewer"
    assert user.get(f"/chats/list?assistant_id={assistant['_id']}").json() == []


def test_a_report_is_a_page_that_runs_nothing(user: Api, assistant: dict[str, Any]) -> None:
    items = [{"question": "<script>alert(1)</script> vacation days?", "contains": ["25"]}]
    begun = run(user, assistant, add(user, assistant, items).json()).json()
    ended(user, begun["_id"])
    page = user.get(f"/evaluations/report/{begun['_id']}")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text and "&lt;script&gt;" in page.text and "<svg" in page.text


def test_two_runs_are_compared(user: Api, assistant: dict[str, Any]) -> None:
    dataset = add(user, assistant, ITEMS[:2]).json()
    before = run(user, assistant, dataset).json()
    ended(user, before["_id"])
    user.upload(assistant, "policy.md", POLICY.replace("25", "30"))
    after = run(user, assistant, dataset).json()
    ended(user, after["_id"])
    compared = user.get(f"/evaluations/compare/{before['_id']}/{after['_id']}").json()
    changes = {one["metric"]: one["change"] for one in compared["differences"]}
    assert changes == {"score": -0.5, "contains": -1.0, "cited": 0.0}
    (worse,) = compared["worse"]
    assert (worse["id"], worse["before"], worse["after"], compared["better"]) == ("days", 1.0, 0.0, [])


def test_a_dataset_comes_as_a_file_too(user: Api, assistant: dict[str, Any]) -> None:
    lines = "\n".join(json.dumps(item) for item in ITEMS).encode()
    form = {"assistant_id": assistant["_id"]}
    added = user.post("/evaluations/datasets/add", data=form, files={"file": ("d.jsonl", lines)})
    assert added.status_code == 201, added.text
    assert (added.json()["name"], added.json()["size"]) == ("d.jsonl", 4)
    assert added.json()["sha256"] == add(user, assistant).json()["sha256"]
    broken = user.post("/evaluations/datasets/add", data=form, files={"file": ("d.jsonl", b'{"question": "a"}\n{')})
    assert broken.status_code == 422 and "line 2" in broken.json()["errors"]


def test_datasets_are_made_from_documents_and_chats(user: Api, assistant: dict[str, Any]) -> None:
    user.upload(
        assistant,
        "leave.md",
        "Every employee of the company receives twenty-seven days of paid vacation in each calendar year of work.",
    )
    chat = user.say(assistant, "How many vacation days do I have?").json()
    user.post(f"/chats/feedback/{chat['_id']}", json={"score": 1})
    body = {"assistant_id": assistant["_id"], "name": "made"}
    made = user.post("/evaluations/datasets/make", json={**body, "from": "documents"})
    assert made.status_code == 201, made.text
    (item,) = user.get(made.headers["Location"]).json()["items"]
    assert item["documents"] == ["leave.md"] and item["contains"]
    made = user.post("/evaluations/datasets/make", json={**body, "from": "chats", "feedback": 1})
    (item,) = user.get(made.headers["Location"]).json()["items"]
    assert (item["id"], item["question"]) == (chat["_id"], "How many vacation days do I have?")
    assert item["expected"] == chat["response"]
    none = user.post("/evaluations/datasets/make", json={**body, "from": "chats", "feedback": -1})
    assert (none.status_code, none.json()["code"]) == (422, "nothing_to_ask")
    assert len(user.get("/evaluations/datasets/list").json()) == 2


def test_what_is_wrong_is_named(user: Api, assistant: dict[str, Any]) -> None:
    assert "items.0.expect" in add(user, assistant, [{"question": "a", "expect": "b"}]).json()["errors"]
    assert add(user, assistant, []).status_code == 422
    assert add(user, assistant, [{"id": "1", "question": "a"}, {"id": "1", "question": "b"}]).status_code == 422
    assert add(user, assistant, [{"question": "a"}] * 2001).status_code == 422
    assert (
        user.post("/evaluations/datasets/add", content=b"{", headers={"Content-Type": "text/plain"}).status_code == 415
    )
    dataset = add(user, assistant, [{"question": "a"}]).json()
    refused = run(user, assistant, dataset)
    assert refused.status_code == 422 and "No item can be scored" in refused.json()["detail"]
    judged = add(user, assistant, [{"question": "a", "criteria": "b"}]).json()
    refused = run(user, assistant, judged, metrics=["judge"])
    assert refused.status_code == 422 and "OPENAI_API_KEY" in refused.json()["detail"]
    assert run(user, assistant, dataset, parallel=99).status_code == 422
    assert run(user, user.new_assistant(), judged).status_code == 404, "it is another assistant's dataset"


def test_others_see_nothing(user: Api, stranger: Api, admin: Api, anonymous: Api, assistant: dict[str, Any]) -> None:
    dataset = add(user, assistant).json()
    begun = run(user, assistant, dataset).json()
    ended(user, begun["_id"])
    reads = [
        f"/evaluations/datasets/get/{dataset['_id']}",
        f"/evaluations/get/{begun['_id']}",
        f"/evaluations/results/{begun['_id']}",
        f"/evaluations/report/{begun['_id']}",
        f"/evaluations/compare/{begun['_id']}/{begun['_id']}",
    ]
    for path in reads:
        assert stranger.get(path).status_code == 404, path
        assert anonymous.get(path).status_code == 401, path
        assert admin.get(path).status_code == 200, path
    for path in ("/evaluations/list", "/evaluations/datasets/list"):
        assert stranger.get(f"{path}?assistant_id={assistant['_id']}").json() == []
    assert add(stranger, assistant).status_code == 404
    assert run(stranger, assistant, dataset).status_code == 404
    make = {"assistant_id": assistant["_id"], "name": "x", "from": "documents"}
    assert stranger.post("/evaluations/datasets/make", json=make).status_code == 404
    assert stranger.post(f"/evaluations/cancel/{begun['_id']}").status_code == 404
    assert stranger.delete(f"/evaluations/delete/{begun['_id']}").status_code == 404
    assert stranger.delete(f"/evaluations/datasets/delete/{dataset['_id']}").status_code == 404
    assert user.delete(f"/evaluations/datasets/delete/{dataset['_id']}").status_code == 204
    assert user.get(f"/evaluations/results/{begun['_id']}").json()[0]["item"] == ITEMS[0], "a run keeps its items"
    assert user.delete(f"/evaluations/delete/{begun['_id']}").status_code == 204
    assert user.get(f"/evaluations/get/{begun['_id']}").status_code == 404


def test_an_assistant_takes_its_evaluations_along(user: Api, assistant: dict[str, Any]) -> None:
    dataset = add(user, assistant).json()
    begun = run(user, assistant, dataset).json()
    ended(user, begun["_id"])
    assert user.delete(f"/assistants/delete/{assistant['_id']}").status_code == 204
    assert user.get(f"/evaluations/get/{begun['_id']}").status_code == 404
    assert user.get(f"/evaluations/datasets/get/{dataset['_id']}").status_code == 404
    assert user.get("/evaluations/list").json() == user.get("/evaluations/datasets/list").json() == []
