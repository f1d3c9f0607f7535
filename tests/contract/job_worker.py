"""A process that runs jobs until its input ends or it is killed, and notes in Redis what became of them."""

import contextlib
import sys
import time

from models.jobs import DeadLetter
from repositories.redis.database import RedisDatabase
from repositories.redis.job_retries import RetryPolicy
from repositories.redis.jobs import RedisJobs

QUICK = RetryPolicy(pauses=(0.1, 0.1, 0.1), unknown_pause=0.1, most_unknown=5, burial_pause=0.1)
"""Four tries within a second."""


def main() -> None:
    """Run as `python -m tests.contract.job_worker NAMESPACE THREADS HEARTBEAT`, with the URL as the first input line.

    The job `work` takes an argument `<name>:<seconds>`; `fail_once` fails at its first try and takes as long at others.
    Names go to the sets `began`, `failed` and `finished`, codes of dead letters to the list `buried`.
    """
    namespace, threads, heartbeat = sys.argv[1:]
    url = sys.stdin.readline().strip()
    with (
        contextlib.closing(RedisDatabase(url)) as database,
        contextlib.closing(
            RedisJobs(url, namespace=namespace, heartbeat_seconds=float(heartbeat), retries=QUICK)
        ) as jobs,
    ):
        client = database.client

        def work(argument: str) -> None:
            name, seconds = argument.split(":")
            client.sadd(f"{namespace}:began", name)
            time.sleep(float(seconds))
            client.sadd(f"{namespace}:finished", name)

        def fail_once(argument: str) -> None:
            if client.sadd(f"{namespace}:failed", argument.split(":")[0]):
                raise ValueError
            work(argument)

        def bury(letter: DeadLetter) -> None:
            client.rpush(f"{namespace}:buried", letter.code)

        jobs.start({"work": work, "fail_once": fail_once}, int(threads), bury)
        sys.stdout.write("started\n")
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    main()
