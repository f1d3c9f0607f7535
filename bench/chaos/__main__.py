"""`make chaos`: exactly one answer, in order, whatever breaks.

Three servers (one of them with two processes) on one store answer conversations whose messages are delivered one to
three times at once, while their processes, Redis and the store's server are killed and started again, and the model
fails. In the end nothing may be lost, doubled, swapped, invented or left over; bench/chaos/check.py says it exactly.
Everything runs on this machine's loopback, and stops by itself after about four minutes a store.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random, SystemRandom

import httpx2

from bench.chaos.backends import free_port
from bench.chaos.check import check
from bench.chaos.faults import Havoc
from bench.chaos.fleet import Slot
from bench.chaos.load import Crowd, World
from bench.chaos.manager import Manager
from bench.chaos.plan import MESSAGES_PER_SECOND, scripts
from bench.chaos.receiver import Receiver
from bench.chaos.records import Fault, Kind, Record, Violation
from bench.chaos.report import details, kills, rows, table
from bench.chaos.stage import Stage, model, stage
from bench.chaos.store import is_under_way

STORES = ("embedded", "servers")
_GRACE_SECONDS = 60.0
_SETTLE_SECONDS = 60.0
_ENOUGH = 0.9
_KILLS_PER_SECOND = 20 / 180
_SERVERS = ((1, 1), (2, 1), (3, 2))
"""The number of each server, and how many processes it has."""

_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=60)


def main() -> int:
    """Run on each store that is asked for, print the table, and return 0 if every promise was kept."""
    arguments = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    arguments.add_argument("--store", choices=STORES, action="append", help="both, unless one is named")
    arguments.add_argument(
        "--seconds", type=float, default=180.0, help="how long it goes on, without the end (%(default)s)"
    )
    arguments.add_argument(
        "--seed", default=str(SystemRandom().randrange(10**6)), help="what decides who does what when"
    )
    arguments.add_argument("--keep", type=Path, help="a folder to leave data, logs and records in")
    given = arguments.parse_args()
    columns, broken = [], 0
    for store in given.store or STORES:
        sys.stderr.write(f"{store}: seed {given.seed}, {given.seconds:.0f} s and up to two minutes more\n")
        with _folder(given.keep, store) as folder:
            record, settled = asyncio.run(run(store, given.seed, given.seconds, folder))
        if given.keep:
            (folder / "record.json").write_text(json.dumps(asdict(record)))
        violations = [*check(record), *too_little(record, given.seconds)]
        columns.append((store, rows(record, settled, violations)))
        sys.stdout.writelines(f"{line}\n" for line in details(record, violations))
        broken += len(violations)
    sys.stdout.write(f"\n{table(columns)}\nSeed {given.seed}, {given.seconds:.0f} s.\n")
    return 1 if broken else 0


async def run(store: str, seed: str, seconds: float, folder: Path) -> tuple[Record, float]:
    """Run once; return what is left behind, and how long it took to settle."""
    chance = Random(f"{seed}/ports")
    receiver = Receiver(seed)
    with model(seed, folder) as (address, calls), stage(store, folder, chance) as here:
        settings = {**here.settings, "OPENAI_BASE_URL": address}
        slots = [Slot(f"s{number}", folder, free_port(chance), settings, workers) for number, workers in _SERVERS]
        async with receiver.running(), httpx2.AsyncClient(timeout=None, trust_env=False, limits=_LIMITS) as client:
            for slot in slots:
                await asyncio.to_thread(slot.start)
            try:
                manager = Manager(client, [slot.url for slot in slots])
                keys = await manager.prepare(receiver)
                began = time.time()
                world = World(slots, client, keys, receiver, manager, began, began + seconds + _GRACE_SECONDS)
                crowd, havoc = Crowd(world), Havoc(seed, slots, here.backends)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(crowd.play(scripts(seed, seconds)))
                    tasks.create_task(havoc.rage(seconds))
                settled = await asyncio.to_thread(_settle, here)
                faults = [*havoc.faults, *await asyncio.gather(*(_end(slot) for slot in slots))]
            finally:
                for slot in slots:
                    slot.kill()
                    (folder / f"{slot.label.split('.')[0]}.log").write_text(_log(slot))
        chats = here.chats()
    return Record(crowd.messages, crowd.deliveries, calls(), chats, receiver.posts, faults, crowd.pauses), settled


def too_little(record: Record, seconds: float) -> Iterator[Violation]:
    """A run that broke little, or said little, shows little."""
    wanted = seconds * MESSAGES_PER_SECOND * _ENOUGH
    if len(record.messages) < wanted:
        yield Violation("too little", "the run", f"{len(record.messages)} messages, and not {wanted:.0f}")
    wanted = seconds * _KILLS_PER_SECOND
    if kills(record) < wanted:
        yield Violation("too little", "the run", f"{kills(record)} kills, and not {wanted:.0f}")


def _settle(here: Stage) -> float:
    """Wait until nothing is under way, but not for ever; return how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < _SETTLE_SECONDS:
        if not any(is_under_way(chat) for chat in here.chats()):
            break
        time.sleep(1.0)
    return time.monotonic() - began


async def _end(slot: Slot) -> Fault:
    target, at = slot.label, time.time()
    code = await asyncio.to_thread(slot.stop)
    return Fault(Kind.STOP_SERVER, target, at, time.time(), code)


def _log(slot: Slot) -> str:
    return "".join(f"=== {label}\n{''.join(lines)}" for label, lines in slot.logs.items())


@contextlib.contextmanager
def _folder(kept: Path | None, store: str) -> Iterator[Path]:
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="orquestra-chaos-") as folder:
            yield Path(folder)
    else:
        place = kept.resolve() / store
        place.mkdir(parents=True)
        yield place


if __name__ == "__main__":
    sys.exit(main())
