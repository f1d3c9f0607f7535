"""What stands around the servers of a chaos run: the model, and the stores below them."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.chaos.backends import free_port, redis_backend, store_backend
from bench.chaos.faults import kill_embedded_redis
from bench.chaos.records import Call, Ending, Kind, Stored
from bench.chaos.store import stored_chats
from bench.running import ROOT

_DATABASE = "chaos"
_SETTINGS = {
    "MESSAGES_PER_MINUTE": "0",
    "LOGINS_PER_MINUTE": "0",
    "ANSWER_DEADLINE_SECONDS": "20",
    "HISTORY_TOKENS": "1000000",
    "CALLBACK_NETWORKS": "127.0.0.0/8",
}


@dataclass(frozen=True)
class Stage:
    """Where a run takes place.

    Attributes:
        uri: of the store; empty for the embedded one.
        settings: of all servers.
        backends: kill what is below them, and bring it back.
    """

    folder: Path
    uri: str
    settings: Mapping[str, str]
    backends: Mapping[Kind, Callable[[], None]]

    def chats(self) -> list[Stored]:
        """Return what the store holds."""
        return stored_chats(self.folder / "var", self.uri, _DATABASE)


@contextlib.contextmanager
def model(seed: str, folder: Path) -> Iterator[tuple[str, Callable[[], list[Call]]]]:
    """Run the model; give its address and what reads its calls once it has ended."""
    file = folder / "calls.jsonl"
    command = [sys.executable, "-m", "bench.chaos.model", seed, str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        port = process.stdout.readline().strip()

        def calls() -> list[Call]:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(30)
            return [_call(line) for line in file.read_text().splitlines()]

        try:
            yield f"http://127.0.0.1:{port}", calls
        finally:
            process.stdin.close()


def _call(line: str) -> Call:
    fields = json.loads(line)
    return Call(**{**fields, "ending": Ending(fields["ending"])})


@contextlib.contextmanager
def stage(store: str, folder: Path, chance: Random) -> Iterator[Stage]:
    """Start what is below the servers."""
    if store == "embedded":
        url = f"unix://{folder}/var/valkey/valkey.sock"
        yield Stage(folder, "", _SETTINGS, {Kind.KILL_REDIS: lambda: kill_embedded_redis(url)})
        return
    mongo, cache = free_port(chance), free_port(chance)
    uri = f"mongodb://127.0.0.1:{mongo}/?w=1&journal=true"
    with store_backend(folder / "mongo", mongo) as below, redis_backend(folder / "redis", cache) as beside:
        own = {"MONGODB_URI": uri, "MONGODB_DATABASE": _DATABASE, "REDIS_URL": f"redis://127.0.0.1:{cache}/0"}
        yield Stage(folder, uri, {**_SETTINGS, **own}, {Kind.KILL_REDIS: beside.bounce, Kind.KILL_STORE: below.bounce})
