"""The generated secret."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repositories.secret_file import load_or_create_secret

ROOT = Path(__file__).parents[2]


def test_it_is_made_once_and_private(tmp_path: Path) -> None:
    directory = tmp_path / "var"
    secret = load_or_create_secret(directory)
    assert len(secret) >= 86
    assert load_or_create_secret(directory) == secret
    assert [path.name for path in directory.iterdir()] == ["jwt_secret"]
    assert stat.S_IMODE((directory / "jwt_secret").stat().st_mode) == 0o600
    assert load_or_create_secret(tmp_path / "else") != secret


def test_all_who_start_at_once_get_the_same(tmp_path: Path) -> None:
    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            secrets = set(pool.map(load_or_create_secret, [tmp_path / str(number)] * 8))
        assert len(secrets) == 1


def test_processes_that_start_at_once_get_the_same(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from repositories.secret_file import load_or_create_secret; "
        "sys.stdin.readline(); print(load_or_create_secret(Path(sys.argv[1])))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert len({process.communicate(timeout=20)[0] for process in started}) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    load_or_create_secret(tmp_path)
    (tmp_path / "jwt_secret").chmod(mode)
    with pytest.raises(ValueError, match="chmod 600"):
        load_or_create_secret(tmp_path)


@pytest.mark.parametrize("content", ["", "\n", "short", "  " * 100])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "jwt_secret"
    path.touch(0o600)
    path.write_text(content)
    with pytest.raises(ValueError, match="holds no secret"):
        load_or_create_secret(tmp_path)
    assert path.read_text() == content


def test_a_secret_of_the_operators_own_is_used(tmp_path: Path) -> None:
    path = tmp_path / "jwt_secret"
    path.touch(0o600)
    path.write_text("k" * 40 + os.linesep)
    assert load_or_create_secret(tmp_path) == "k" * 40
