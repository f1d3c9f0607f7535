"""What is done to the processes of a chaos run, and when: decided by the seed."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from random import Random

from bench.chaos.backends import redis_process, wait_until
from bench.chaos.fleet import Slot
from bench.chaos.records import Fault, Kind

FAULTS_PER_SECOND = 1 / 7
_QUIET_SECONDS = 2.0
_SHARES = (
    (Kind.KILL_SERVER, 45),
    (Kind.KILL_WORKER, 12),
    (Kind.STOP_SERVER, 13),
    (Kind.KILL_REDIS, 18),
    (Kind.KILL_STORE, 12),
)


class Havoc:
    """Break things, one after another, and mend them.

    Args:
        backends: kills Redis, and the store's server if there is one, and returns when its successor answers.

    Attributes:
        faults: those whose damage is mended.
    """

    def __init__(self, seed: str, slots: Sequence[Slot], backends: Mapping[Kind, Callable[[], None]]) -> None:
        self.faults: list[Fault] = []
        self._chance = Random(f"{seed}/havoc")
        self._slots = slots
        self._backends = backends
        self._shares = [(kind, share) for kind, share in _SHARES if kind in backends or _is_a_servers(kind)]
        self._away: set[Kind] = set()

    async def rage(self, seconds: float) -> None:
        """Break something every few seconds, for so long, and return when all is mended."""
        count = round(seconds * FAULTS_PER_SECOND)
        kinds = self._kinds(count)
        pause = (seconds - _QUIET_SECONDS) / count
        async with asyncio.TaskGroup() as tasks:
            for kind in kinds:
                await asyncio.sleep(pause * self._chance.uniform(0.5, 1.5))
                tasks.create_task(self._one(kind))

    def _kinds(self, count: int) -> list[Kind]:
        """Return so many kinds in their shares, and each at least once, in any order."""
        whole = sum(share for _, share in self._shares)
        kinds = [kind for kind, share in self._shares for _ in range(max(1, round(count * share / whole)))]
        self._chance.shuffle(kinds)
        return kinds

    async def _one(self, kind: Kind) -> None:
        if kind in self._backends:
            while kind in self._away:
                await asyncio.sleep(0.1)
            self._away.add(kind)
            at = time.time()
            await asyncio.to_thread(self._backends[kind])
            self._away.discard(kind)
            self.faults.append(Fault(kind, "redis" if kind is Kind.KILL_REDIS else "store", at, time.time()))
            return
        slot = await self._slot(workers=kind is Kind.KILL_WORKER)
        slot.busy = True
        target, at = slot.label, time.time()
        code = await asyncio.to_thread(self._end, kind, slot)
        if kind is not Kind.KILL_WORKER:
            await asyncio.to_thread(slot.start)
        self.faults.append(Fault(kind, target, at, time.time(), code))
        slot.busy = False

    async def _slot(self, workers: bool) -> Slot:
        """Return a server to break, waiting until another one stays."""
        while True:
            idle = [slot for slot in self._slots if not slot.busy]
            fit = [slot for slot in idle if not workers or slot.workers > 1]
            if fit and (len(idle) > 1 or workers):
                return self._chance.choice(fit)
            await asyncio.sleep(0.1)

    def _end(self, kind: Kind, slot: Slot) -> int | None:
        if kind is Kind.STOP_SERVER:
            return slot.stop()
        if kind is Kind.KILL_WORKER:
            slot.kill_worker(self._chance.randrange(slot.workers))
        else:
            slot.kill()
        return None


def kill_embedded_redis(url: str) -> None:
    """Kill the Redis that its users keep, and return when they have another one."""
    pid = redis_process(url)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: redis_process(url) not in (None, pid), "nobody brings the embedded Redis back")


def _is_a_servers(kind: Kind) -> bool:
    return kind in {Kind.KILL_SERVER, Kind.KILL_WORKER, Kind.STOP_SERVER}
