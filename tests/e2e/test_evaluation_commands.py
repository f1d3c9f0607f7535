"""`python main.py eval`, as an operator or CI runs it, with a model and a judge that others wrote (aimock)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.running import ROOT, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.e2e.command_line import one_after_another
from tests.emulators.aimock import AimockServer, aimock

POLICY = (
    "# Vacation\n\nEvery employee of the company has 25 vacation days in each calendar year of work.\n\n"
    "# Passwords\n\nPasswords of every account need at least fourteen characters and are kept in the manager.\n"
)
STUCK = [
    {
        "match": {"userMessage": f"slow {run} {number}?", "sequenceIndex": 0},
        "response": {"content": "You have 25 slow days, and some more."},
        "latency": 30_000,
    }
    for run in ("SIGINT", "SIGTERM", "SIGKILL", "server")
    for number in (5, 6)
]
"""A run of two at the same time stops at these, until it is cut off: when it goes on, they are quick."""
_ASSISTANTS = 11
FIXTURES: list[dict[str, Any]] = [
    *STUCK,
    {"match": {"userMessage": "for eternity"}, "response": {"content": "no verdict"}},
    {"match": {"userMessage": '"answer": "You have 25'}, "response": {"content": '{"score": 1, "reason": "right"}'}},
    {"match": {"userMessage": '"answer":'}, "response": {"content": 'Well. {"reason": "wrong", "score": 0.25}'}},
    {
        "match": {"userMessage": '"passage":'},
        "response": {"content": '{"questions": [{"question": "How long?", "phrase": "fourteen characters"}]}'},
    },
    {"match": {"userMessage": "vacation"}, "response": {"content": "You have 25 vacation days[^1]."}},
    {"match": {"userMessage": "slow"}, "response": {"content": "You have 25 slow days, and some more."}},
    {"match": {"userMessage": "?"}, "response": {"content": "I cannot say."}},
]
ITEMS = [
    {"id": "days", "question": "How many vacation days?", "contains": ["25 vacation days"], "expected": "25 days"},
    {"id": "other", "question": "Who?", "contains": ["nobody"], "expected": "Nobody.", "documents": []},
]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model() -> Iterator[AimockServer]:
    """Give the emulator."""
    with aimock(FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def settings(model: AimockServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the settings that commands and servers share."""
    folder = tmp_path_factory.mktemp("evaluation")
    places = {"DATA_DIR": str(folder / "var"), "DOCUMENTS_URL": str(folder / "documents")}
    return {**SETTINGS, **places, "OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "sk-a-key-of-the-tests"}


@pytest.fixture(scope="module")
def assistants(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give an iterator of the ids of assistants with a document, in a store that no server runs on any more."""
    with running_server(tmp_path_factory.mktemp("server"), settings) as server, Api(server.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        made = [api.new_assistant() for _ in range(_ASSISTANTS)]
        for one in made:
            assert api.upload(one, "policy.md", POLICY).status_code == 201
    return iter([str(one["_id"]) for one in made])


@pytest.fixture
def assistant(assistants: Iterator[str]) -> str:
    """Give the id of an assistant that no other test uses."""
    return next(assistants)


@pytest.fixture
def command(settings: dict[str, str], tmp_path: Path) -> Command:
    """Give what runs `python main.py eval` to its end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _line(*arguments), env=_env(settings), cwd=tmp_path, capture_output=True, text=True, timeout=100
        )

    return run


def _line(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "main.py"), "eval", *arguments]


def _env(settings: dict[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **settings}


def write(path: Path, items: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def run_id(output: str) -> str:
    found = re.search(r"^run +([0-9a-f]{24})", output, re.MULTILINE)
    assert found, output
    return found[1]


def asked(model: AimockServer, text: str) -> list[str]:
    """Return the questions with this text that the assistant's model was asked."""
    bodies = [entry["body"] or {} for entry in model.journal()]
    questions = [body["messages"][-1]["content"] for body in bodies if "messages" in body]
    return [question for question in questions if text in question and '"answer":' not in question]


def test_exit_codes_tell_whether_an_assistant_is_good_enough(
    command: Command, settings: dict[str, str], assistant: str, tmp_path: Path, model: AimockServer
) -> None:
    file = write(tmp_path / "d.jsonl", ITEMS)
    judged = ("--metrics", "contains,cited,judge", "--judge-model", "judge-1")
    plain = command("run", str(file), "--assistant", assistant, *judged, "--report", str(tmp_path / "r.html"))
    assert plain.returncode == 0, plain.stderr
    assert re.search(r"contains +0\.500 +\(2 items\)", plain.stdout)
    assert re.search(r"judge +0\.625 +\(2 items\)", plain.stdout) and re.search(r"cited +1\.000", plain.stdout)
    assert "100%" in plain.stderr, "there is a progress bar"
    page = (tmp_path / "r.html").read_text()
    assert "<svg" in page and "wrong" in page and "You have 25 vacation days." in page
    bodies = [entry["body"] or {"messages": [{"content": ""}]} for entry in model.journal()]
    judges = [body for body in bodies if '"answer":' in body["messages"][-1]["content"]]
    assert {(body["model"], body["temperature"]) for body in judges} == {("judge-1", 0)}
    first = run_id(plain.stdout)
    limits = ("--fail-under", "contains=0.5", "--min-score", "0.5", "--baseline", first, "--max-drop", "0.01")
    worse = write(tmp_path / "w.jsonl", [{**ITEMS[0], "contains": ["99"]}, ITEMS[1]])
    run = ("eval", "run", "--assistant", assistant)
    good, below, dropped = one_after_another(
        _env(settings),
        tmp_path,
        (*run, file, *judged, *limits),
        (*run, file, "--fail-under", "contains=0.6"),
        (*run, worse, "--baseline", first),
    )
    assert good.returncode == 0, good.stdout
    assert (below.returncode, "not good enough: contains is 0.500" in below.stdout) == (1, True)
    assert (dropped.returncode, "contains fell by 0.500" in dropped.stdout) == (1, True)
    compared, listed, shown = one_after_another(
        _env(settings),
        tmp_path,
        ("eval", "compare", first, run_id(dropped.stdout)),
        ("eval", "list", "--assistant", assistant),
        ("eval", "show", first, "--report", tmp_path / "s.html"),
    )
    assert compared.returncode == 0 and "worse: " in compared.stdout and "days" in compared.stdout
    assert first in listed.stdout and listed.stdout.count("done") == 4
    assert "judge" in shown.stdout and (tmp_path / "s.html").read_text() == page


def test_what_cannot_be_run_ends_with_2(settings: dict[str, str], assistant: str, tmp_path: Path) -> None:
    file = str(write(tmp_path / "d.jsonl", ITEMS))
    broken = str(write(tmp_path / "b.jsonl", [{"question": "a", "expect": "b"}]))
    refused = {
        (file, "--metrics", "beauty"): "there is no 'beauty'",
        (file, "--resume", "0" * 24): "There is no evaluation",
        (file, "--fail-under", "contains=7"): "no least score",
        (file, "--baseline", "0" * 24): "There is no evaluation",
        (file, "--resume", "auto"): "lacks items",
        (broken,): "line 1: expect",
        (file, "--report", str(tmp_path / "no" / "r.html")): "There is no folder",
        (file, "--resume", "auto", "--metrics", "exact"): "that --resume goes on with",
        (file, "--assistant", "0" * 24): "There is no assistant",
    }
    commands = [("eval", "run", "--assistant", assistant, *arguments) for arguments in refused]
    for ended, what in zip(one_after_another(_env(settings), tmp_path, *commands), refused.values(), strict=True):
        assert (ended.returncode, what in ended.stderr) == (2, True), ended


def test_items_without_a_score_end_with_2_and_are_tried_again(
    command: Command, assistant: str, tmp_path: Path, model: AimockServer
) -> None:
    items = [{**ITEMS[0], "question": f"vacation {number} for eternity?"} for number in range(1)]
    file = write(tmp_path / "d.jsonl", [{**items[0], "id": "e", "criteria": "eternity"}, ITEMS[0]])
    cut = command("run", str(file), "--assistant", assistant, "--judge-model", "j")
    assert cut.returncode == 2 and "failed: e: The judge gave no verdict" in cut.stdout, cut.stdout + cut.stderr
    run = run_id(cut.stdout)
    before = len(asked(model, "vacation"))
    again = command("run", str(file), "--assistant", assistant, "--resume", run)
    assert again.returncode == 2 and run in again.stdout
    assert len(asked(model, "vacation")) == before + 1, "only what failed is asked again"


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["ctrl-c", "end", "kill-9"])
def test_a_run_that_was_cut_off_goes_on(
    command: Command, settings: dict[str, str], assistant: str, tmp_path: Path, model: AimockServer, sign: int
) -> None:
    name = signal.Signals(sign).name
    items = [{"question": f"slow {name} {number}?", "contains": ["25 slow days"]} for number in range(12)]
    file = write(tmp_path / "d.jsonl", items)
    arguments = ("run", str(file), "--assistant", assistant, "--parallel", "2")
    with subprocess.Popen(
        _line(*arguments), env=_env(settings), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 60
        while len(asked(model, name)) < 7:
            assert time.monotonic() < until and process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(sign)
        _, stderr = process.communicate(timeout=30)
    run = run_id(stderr)
    assert process.returncode == (-signal.SIGKILL if sign == signal.SIGKILL else 130)
    if sign != signal.SIGKILL:
        assert f"--resume {run}" in stderr
    gone_on = command(*arguments, "--resume", "auto", "--min-score", "1")
    assert gone_on.returncode == 0, gone_on.stdout + gone_on.stderr
    assert run_id(gone_on.stdout) == run
    questions = asked(model, name)
    assert {question.partition("?")[0] for question in questions} == {f"slow {name} {number}" for number in range(12)}
    assert len(questions) <= 12 + 2, "only what was on its way is asked twice"
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.login(ADMIN["email"], ADMIN["password"])
        assert api.get("/conversations/list").json() == [] == api.get("/chats/list").json(), "nothing is left"


def test_a_server_that_is_killed_leaves_its_run_to_the_next(
    settings: dict[str, str], assistant: str, tmp_path: Path, model: AimockServer
) -> None:
    items = [{"question": f"slow server {number}?", "contains": ["25 slow days"]} for number in range(12)]
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.login(ADMIN["email"], ADMIN["password"])
        body = {"assistant_id": assistant, "name": "d", "items": items}
        dataset = api.post("/evaluations/datasets/add", json=body).json()
        order = {"assistant_id": assistant, "dataset_id": dataset["_id"], "parallel": 2}
        run = api.post("/evaluations/run", json=order).json()
        until = time.monotonic() + 60
        while len(asked(model, "slow server")) < 7:
            assert time.monotonic() < until
            time.sleep(0.05)
        server.kill()
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.login(ADMIN["email"], ADMIN["password"])
        until = time.monotonic() + 90
        while (found := api.get(f"/evaluations/get/{run['_id']}").json())["status"] == "running":
            assert time.monotonic() < until, found
            time.sleep(0.2)
        assert (found["status"], found["progress"]["done"], found["summary"]["score"]) == ("done", 12, 1.0)
        assert len(asked(model, "slow server")) <= 12 + 2
        assert api.get("/conversations/list").json() == [] == api.get("/chats/list").json()


def test_a_run_of_the_servers_is_cancelled(settings: dict[str, str], assistant: str, tmp_path: Path) -> None:
    items = [{"question": f"slow cancelled {number}?", "contains": ["25 slow days"]} for number in range(200)]
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.login(ADMIN["email"], ADMIN["password"])
        body = {"assistant_id": assistant, "name": "d", "items": items}
        dataset = api.post("/evaluations/datasets/add", json=body).json()
        run = api.post("/evaluations/run", json={"assistant_id": assistant, "dataset_id": dataset["_id"]}).json()
        until = time.monotonic() + 60
        while not api.get(f"/evaluations/get/{run['_id']}").json()["progress"]["done"]:
            assert time.monotonic() < until
            time.sleep(0.1)
        cancelled = api.post(f"/evaluations/cancel/{run['_id']}").json()
        assert cancelled["status"] == "cancelled" and cancelled["summary"]["done"] >= 1
        while api.get("/conversations/list").json():
            assert time.monotonic() < until, "what was on its way is erased"
            time.sleep(0.2)
        assert api.get(f"/evaluations/get/{run['_id']}").json()["progress"]["waiting"] > 100


def test_datasets_are_made_by_a_model_and_without_one(
    command: Command, settings: dict[str, str], assistant: str, tmp_path: Path
) -> None:
    written, offline = tmp_path / "w.jsonl", tmp_path / "o.jsonl"
    made = command("make-dataset", "--assistant", assistant, "--from", "documents", "-o", str(written))
    assert made.returncode == 0, made.stderr
    (item,) = [json.loads(line) for line in written.read_text().splitlines()]
    assert (item["question"], item["contains"], item["documents"]) == (
        "How long?",
        ["fourteen characters"],
        ["policy.md"],
    )
    made = command("make-dataset", "--assistant", assistant, "--from", "documents", "--offline", "-o", str(offline))
    assert made.returncode == 0 and json.loads(offline.read_text().splitlines()[0])["documents"] == ["policy.md"]
    make = ("eval", "make-dataset", "--assistant", assistant, "-o", "x", "--from")
    refused = (*make, "documents", "--feedback", "up"), (*make, "chats")
    mixed, nothing = one_after_another(_env(settings), tmp_path, *refused)
    assert (mixed.returncode, "--from chats only" in mixed.stderr) == (2, True)
    assert (nothing.returncode, "Nothing was found" in nothing.stderr) == (2, True)
