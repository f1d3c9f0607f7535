"""`python main.py import-folder`, as an operator runs it beside a server."""

import os
import subprocess
import sys
from pathlib import Path

from bench.running import ROOT, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api


def import_folder(folder: Path, assistant_id: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, str(ROOT / "main.py"), "import-folder", str(folder), "--assistant", assistant_id]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)


def test_a_folder_is_imported_and_a_second_run_takes_in_what_changed(stores: dict[str, str], tmp_path: Path) -> None:
    places = {"DATA_DIR": str(tmp_path / "var"), "DOCUMENTS_URL": str(tmp_path / "documents")}
    settings = {**SETTINGS, **places, **stores, "MONGODB_DATABASE": "e2e_import"}
    folder = tmp_path / "folder"
    (folder / "contracts").mkdir(parents=True)
    (folder / "a.md").write_text("# Deadline\n\nThe deadline is ten days.")
    (folder / "contracts" / "b.txt").write_text("The warranty lasts three years.")
    (folder / "prompt.txt").write_text("You are {{ assistant }}.")
    (folder / "movie.mp4").write_bytes(b"x")
    env = {"PATH": os.environ["PATH"], **settings}
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        assistant = api.new_assistant()
        first = import_folder(folder, assistant["_id"], env)
        assert first.returncode == 0, first.stderr
        assert "3 added, 0 unchanged, 1 skipped, 0 failed" in first.stdout
        assert "skipped: movie.mp4" in first.stdout
        listed = api.get(f"/documents/list?assistant_id={assistant['_id']}").json()
        assert {one["filename"]: one["status"] for one in listed} == {
            "a.md": "ready",
            "contracts - b.txt": "ready",
            "prompt.txt": "ready",
        }
        (folder / "a.md").write_text("# Deadline\n\nThe deadline is twenty days.")
        (folder / "broken.json").write_text("{")
        second = import_folder(folder, assistant["_id"], env)
        assert (second.returncode, "1 added, 2 unchanged, 1 skipped, 1 failed" in second.stdout) == (1, True)
        query = {"assistant_id": assistant["_id"], "query": "deadline"}
        assert "twenty" in api.post("/documents/search", json=query).json()[0]["passage"]
        nobody = import_folder(folder, "0" * 24, env)
        assert (nobody.returncode, "There is no assistant" in nobody.stderr) == (2, True)
