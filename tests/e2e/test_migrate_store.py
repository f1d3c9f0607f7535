"""`python main.py migrate-store`: from one machine to servers, and everybody goes on where they were."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from bench.running import ROOT, RunningServer, running_server
from tests.e2e.api import ADMIN, Api
from tests.e2e.hosted import OPENAI_KEY, settings_for
from tests.e2e.test_evaluation import ended
from tests.emulators.aimock import AimockServer, aimock
from tests.emulators.provider import HANG, Asked, FakeProvider, Fault, Moment, provider
from tests.redis_server import redis_server
from tests.servers import secantus_server

POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year.\n"
REVISED = POLICY.replace("25", "31")
QUESTION, STUCK, SILENT = "How many vacation days?", "Who answers this one?", "Is anybody there?"


def migrate(settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    env = {"PATH": os.environ["PATH"], **settings}
    command = [sys.executable, str(ROOT / "main.py"), "migrate-store"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)


def asked_about(openai: FakeProvider, text: str) -> list[dict[str, Any]]:
    """Return the requests for an answer that have a text in what is new."""
    bodies = [asked.body for asked in openai.asked("responses.create")]
    return [body for body in bodies if text in json.dumps(body["input"])]


def live(api: Api, server: RunningServer, openai: FakeProvider) -> dict[str, Any]:
    """Do on a machine what people do, until it dies in an answer; return what there is to know of it."""
    api.post("/auth/register", json=ADMIN).raise_for_status()
    api.login(ADMIN["email"], ADMIN["password"])
    assistant = api.new_assistant()
    for text in (POLICY, REVISED):
        document = api.upload(assistant, "policy.md", text).json()
        assert (document["status"], document["embeddings_model"]) == ("ready", "words")
    first = api.say(assistant, QUESTION, message_id="m1").json()
    assert first["status"] == "answered" and "31 vacation days" in first["response"]
    api.put(f"/chats/desativar/{api.say(assistant, 'Hi', id='another').json()['_id']}").raise_for_status()
    assert api.say(assistant, SILENT, id="another", message_id="m2").json()["status"] == "inactive"
    items = [{"question": QUESTION, "contains": ["31"]}]
    dataset = {"assistant_id": assistant["_id"], "name": "mine", "items": items}
    order = {"dataset_id": api.post("/evaluations/datasets/add", json=dataset).json()["_id"]}
    run = api.post("/evaluations/run", json={"assistant_id": assistant["_id"], **order}).json()
    known = {"assistant": assistant, "document": document, "first": first, "run": ended(api, run["_id"])}
    known["thread"] = asked_about(openai, QUESTION)[0]["conversation"]
    _die_in_an_answer(api, server, openai, assistant)
    return known


def _die_in_an_answer(api: Api, server: RunningServer, openai: FakeProvider, assistant: dict[str, Any]) -> None:
    asked_for = threading.Event()

    def hang(moment: Moment, asked: Asked) -> Fault | None:
        if moment is Moment.BEFORE and STUCK in json.dumps(asked.body, default=str):
            asked_for.set()
            return HANG
        return None

    def ask() -> None:
        with suppress(httpx2.HTTPError):
            api.say(assistant, STUCK, id="third", message_id="m3")

    openai.rule = hang
    asking = threading.Thread(target=ask)
    asking.start()
    assert asked_for.wait(30)
    server.kill()
    asking.join()
    openai.rule = lambda moment, asked: None


def go_on(api: Api, known: dict[str, Any], openai: FakeProvider, embedder: AimockServer) -> None:
    """Find everything on another server, with the same login."""
    assistant, first = known["assistant"], known["first"]
    asked, embedded = len(asked_about(openai, QUESTION)), len(embedder.journal())
    assert api.get("/auth/me").json()["email"] == ADMIN["email"]
    assert api.get(f"/assistants/get/{assistant['_id']}").json()["api_key"] == assistant["api_key"]
    again = api.say(assistant, QUESTION, message_id="m1")
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first, "true")
    assert api.say(assistant, SILENT, id="another", message_id="m2").json()["status"] == "inactive"
    assert len(asked_about(openai, QUESTION)) == asked and not asked_about(openai, SILENT)
    assert api.get(f"/evaluations/get/{known['run']['_id']}").json() == known["run"]
    document = known["document"]["_id"]
    assert len(api.get(f"/documents/versions/{document}").json()) == 2
    assert api.get(f"/documents/download/{document}").text == REVISED
    found = api.post("/documents/search", json={"assistant_id": assistant["_id"], "query": "vacation"}).json()
    assert "31 vacation days" in found[0]["passage"]
    passages = [entry for entry in embedder.journal()[embedded:] if "31" in json.dumps(entry["body"])]
    assert passages == [], "vectors came along"
    report = api.post(f"/assistants/sync/{assistant['_id']}").json()
    assert (report["in_order"], report["missing"]) == (1, [])
    assert api.say(assistant, "And now?").json()["status"] == "answered"
    assert asked_about(openai, "And now?")[0]["conversation"] == known["thread"]
    assert api.say(assistant, STUCK, id="third", message_id="m3").json()["status"] == "answered"
    assert len(asked_about(openai, STUCK)) == 2, "once by the server that died, and once more"
    conversation = f"/conversations/messages/{first['conversation_id']}"
    assert [one["content"] for one in api.get(conversation).json()][::2] == [QUESTION, "And now?"]


def test_an_installation_goes_on_in_mongodb_and_redis(tmp_path: Path) -> None:
    with provider() as openai, aimock() as embedder:
        embeddings = {"EMBEDDINGS_MODEL": "words", "EMBEDDINGS_BASE_URL": embedder.base_url}
        before = settings_for(openai, {}, tmp_path, **embeddings, EMBEDDINGS_API_KEY=OPENAI_KEY)
        with secantus_server(tmp_path / "mongo") as mongo, redis_server(tmp_path / "redis") as redis:
            servers = {**before, "MONGODB_URI": mongo, "REDIS_URL": redis}
            with running_server(tmp_path, before) as server, Api(server.url) as api:
                refused = migrate(servers)
                assert (refused.returncode, "is in use" in refused.stderr) == (1, True), refused.stderr
                known = live(api, server, openai)
                token = api.headers["Authorization"]
            done = migrate(servers)
            assert done.returncode == 0, done.stderr
            assert "DIFFERENT" not in done.stdout and "copying" in done.stderr
            secret = tmp_path / "var" / "jwt_secret"
            assert str(secret) in done.stdout and secret.read_text().strip() not in done.stdout
            elsewhere = {"DATA_DIR": str(tmp_path / "elsewhere"), "JWT_SECRET_KEY": secret.read_text().strip()}
            with running_server(tmp_path, {**servers, **elsewhere}) as server, Api(server.url) as api:
                api.headers["Authorization"] = token
                go_on(api, known, openai, embedder)
                assert api.login(ADMIN["email"], ADMIN["password"]).status_code == 200
