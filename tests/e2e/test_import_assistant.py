"""`python main.py import-assistant`, as an operator runs it beside a server that goes on with what was imported."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.running import ROOT, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.e2e.command_line import one_after_another
from tests.unit.test_exported import export, message, write


@dataclass(frozen=True)
class Place:
    """A running server, and how to run commands on its stores."""

    api: Api
    env: dict[str, str]

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `import-assistant` to its end."""
        command = [sys.executable, str(ROOT / "main.py"), "import-assistant", *map(str, arguments)]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=100)

    def query(self, key: str, prompt: str, address: str) -> Any:
        """Ask as system 000's clients do."""
        body = {"prompt": prompt, "address": address}
        return self.api.post("/queryAssistant", json=body, headers={"X-API-Key": key}).json()

    def assistants(self) -> list[dict[str, Any]]:
        """Return all assistants."""
        return list(self.api.get("/assistants/list").json())


def told(output: str, title: str) -> str:
    """Return the first word behind a title of the command's output."""
    (line,) = [line for line in output.splitlines() if line.startswith(title)]
    return line.removeprefix(title).split()[0]


@pytest.fixture
def place(stores: dict[str, str], tmp_path: Path) -> Iterator[Place]:
    """Give a server with one account, the admin's."""
    places = {"DATA_DIR": str(tmp_path / "var"), "DOCUMENTS_URL": str(tmp_path / "documents")}
    settings = {**SETTINGS, **places, **stores, "MONGODB_DATABASE": "e2e_import_assistant"}
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.post("/auth/register", json=ADMIN)
        api.login(ADMIN["email"], ADMIN["password"])
        yield Place(api, {"PATH": os.environ["PATH"], **settings})


def test_an_imported_assistant_answers_and_goes_on_with_its_threads(place: Place, tmp_path: Path) -> None:
    before = len(place.assistants())
    folder = place.run(ROOT / "assets" / "samples" / "policies", "--owner", ADMIN["email"])
    assert folder.returncode == 0, folder.stderr
    assert "12 added, 0 unchanged, 0 skipped, 0 failed" in folder.stdout
    assert "12/12" in folder.stderr, "a progress bar"
    answer = place.query(told(folder.stdout, "API key: "), "How many vacation days do I get per year?", "203.0.113.7")
    assert "27 days" in answer["content"] and answer["statusCode"] == 200

    threads = write(tmp_path / "t.jsonl", message(3), message(2, "assistant", "Hi【1†source】"), message(1), b"{")
    (tmp_path / "addresses.json").write_text(json.dumps({"203.0.113.7": "thread_1"}))
    options = ["--threads", threads, "--addresses", tmp_path / "addresses.json"]
    first = place.run(export(tmp_path, name="Bia", instructions="Be {{ kind }}."), *options)
    assert (first.returncode, "failed: line 4" in first.stdout) == (1, True), first.stderr
    assert "messages: 3 added, 0 unchanged, in 1 conversations; 1 failed" in first.stdout
    assistant_id = told(first.stdout, "assistant: ")
    place.query(told(first.stdout, "API key: "), "Hello again", "203.0.113.7")
    (conversation,) = place.api.get(f"/conversations/list?assistant_id={assistant_id}").json()
    said = place.api.get(f"/conversations/messages/{conversation['_id']}").json()
    assert [one["content"] for one in said][:4] == ["Hello", "Hi", "Hello", "Hello again"]
    again = place.run(tmp_path / "assistant.json", "--assistant", assistant_id, *options)
    assert "0 added, 1 unchanged, 0 skipped, 0 failed" in again.stdout
    assert "messages: 0 added, 3 unchanged" in again.stdout
    assert len(place.assistants()) == before + 2


def test_what_cannot_start_says_why_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    before = place.assistants()
    (tmp_path / "bad.json").write_text("{")
    source = export(tmp_path)
    policies = ROOT / "assets" / "samples" / "policies"
    refused = {
        (source, "--owner", "nobody@example.com"): "no account of nobody@example.com",
        (tmp_path / "bad.json",): "no JSON",
        (tmp_path / "nothing",): "does not exist",
        (policies, "--keep-model"): "exported assistant only",
        (source, "--assistant", "0" * 24, "--name", "Bia"): "for a new assistant",
        (source, "--addresses", source): "--threads too",
    }
    commands = [("import-assistant", *arguments) for arguments in refused]
    for run, reason in zip(one_after_another(place.env, tmp_path, *commands), refused.values(), strict=True):
        assert (run.returncode, reason in run.stderr) == (2, True), run.stderr
    assert place.assistants() == before
