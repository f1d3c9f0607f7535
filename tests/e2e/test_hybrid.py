"""Search by meaning in a real server, with an embeddings endpoint that others wrote."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.running import running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.aimock import AimockServer, aimock

TEXT = "# Fleet\n\nEvery car is washed on Monday.\n\n# Canteen\n\nLunch is served at noon.\n"


def wait_for(look: Callable[[], dict[str, Any]], model: str | None) -> dict[str, Any]:
    """Wait until a document has vectors of a model."""
    until = time.monotonic() + 60
    while (found := look())["embeddings_model"] != model:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def test_documents_get_vectors_and_another_model_gets_them_anew(stores: dict[str, str], tmp_path: Path) -> None:
    with aimock() as endpoint:
        base = {**SETTINGS, **stores, "MONGODB_DATABASE": "e2e_hybrid", "EMBEDDINGS_BASE_URL": endpoint.base_url}
        with running_server(tmp_path, {**base, "EMBEDDINGS_MODEL": "first-model"}) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            assistant = api.new_assistant()
            document = api.upload(assistant, "a.md", TEXT).json()
            assert (document["status"], document["embeddings_model"]) == ("ready", "first-model")
            assert "noon" in search(api, assistant, "lunch")
            embedded = len(endpoint.journal())
            api.post(f"/documents/reindex/{document['_id']}?wait=true").raise_for_status()
            assert len(endpoint.journal()) == embedded, "what has not changed is not embedded again"
            one_refused_passage_costs_only_its_own_vector(api, endpoint, assistant)
        second = {**base, "EMBEDDINGS_MODEL": "second-model", "EMBEDDINGS_PASSAGE_PREFIX": "passage: "}
        with running_server(tmp_path, second) as server, Api(server.url) as api:
            api.login(ADMIN["email"], ADMIN["password"])
            assert "noon" in search(api, assistant, "lunch"), "words answer meanwhile"
            name = "second-model?passage_prefix=707ad539"
            wait_for(lambda: dict(api.get(f"/documents/get/{document['_id']}").json()), name)
            assert "noon" in search(api, assistant, "lunch")
            asked = [entry["body"] for entry in endpoint.journal() if entry["body"]["model"] == "second-model"]
            assert any(body["embeddingInput"].startswith("passage: a > Fleet") for body in asked)


def one_refused_passage_costs_only_its_own_vector(api: Api, endpoint: AimockServer, assistant: dict[str, Any]) -> None:
    """Upload a document with a text that the endpoint refuses, and index it again when it is not refused any more."""
    refusal = {"error": {"message": "content filter", "type": "invalid_request_error"}, "status": 400}
    endpoint.add_fixtures({"match": {"inputText": "zucchini"}, "response": refusal})
    text = f"{TEXT}\n# Garden\n\nThe zucchini is watered at dawn.\n"
    document = api.upload(assistant, "garden.md", text).json()
    assert (document["status"], document["embeddings_model"]) == ("ready", "first-model")
    assert (document["passages"], document["passages_without_vector"]) == (3, 1)
    assert "dawn" in search(api, assistant, "zucchini")
    endpoint.reset()
    again = api.post(f"/documents/reindex/{document['_id']}?wait=true").json()
    assert again["passages_without_vector"] == 0 and len(endpoint.journal()) == 1


def test_an_upload_does_not_wait_for_what_is_embedded_anew(stores: dict[str, str], tmp_path: Path) -> None:
    with aimock() as endpoint:
        base = {**SETTINGS, **stores, "MONGODB_DATABASE": "e2e_anew", "EMBEDDINGS_BASE_URL": endpoint.base_url}
        with running_server(tmp_path, {**base, "EMBEDDINGS_MODEL": "first-model"}) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            assistant = api.new_assistant()
            old = [api.upload(assistant, f"{number}.md", f"{TEXT}{number}").json()["_id"] for number in range(12)]
        endpoint.chaos(latencyMs=3000)
        with running_server(tmp_path, {**base, "EMBEDDINGS_MODEL": "second-model"}) as server, Api(server.url) as api:
            api.login(ADMIN["email"], ADMIN["password"])
            wait_for(lambda: dict(api.get(f"/documents/get/{old[0]}").json()), "second-model")
            assert api.upload(assistant, "new.md", TEXT).json()["status"] == "ready"
            last = api.get(f"/documents/get/{old[-1]}").json()
            assert last["embeddings_model"] == "first-model", "it goes before those that wait to be embedded anew"


def test_an_endpoint_that_is_down_leaves_search_by_words(stores: dict[str, str], tmp_path: Path) -> None:
    down = {"EMBEDDINGS_BASE_URL": "http://127.0.0.1:9/v1", "EMBEDDINGS_MODEL": "any", "MONGODB_DATABASE": "e2e_down"}
    with running_server(tmp_path, {**SETTINGS, **stores, **down}) as server, Api(server.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        assistant = api.new_assistant()
        document = api.upload(assistant, "a.md", TEXT).json()
        assert (document["status"], document["error"], document["embeddings_model"]) == ("ready", None, None)
        assert "noon" in search(api, assistant, "lunch")


def search(api: Api, assistant: dict[str, Any], query: str) -> str:
    """Return the best passage for a question."""
    found = api.post("/documents/search", json={"assistant_id": assistant["_id"], "query": query}).json()
    return str(found[0]["passage"])
