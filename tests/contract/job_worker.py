"""A process that runs jobs until its input ends or it is killed, and notes in Redis which it began and finished."""

import contextlib
import sys
import time

from repositories.redis.database import RedisDatabase
from repositories.redis.jobs import RedisJobs


def main() -> None:
    """Run as `python -m tests.contract.job_worker NAMESPACE THREADS HEARTBEAT`, with the URL as the first input line.

    The job `work` takes an argument `<name>:<seconds>`.
    """
    namespace, threads, heartbeat = sys.argv[1:]
    url = sys.stdin.readline().strip()
    with (
        contextlib.closing(RedisDatabase(url)) as database,
        contextlib.closing(RedisJobs(url, namespace=namespace, heartbeat_seconds=float(heartbeat))) as jobs,
    ):

        def work(argument: str) -> None:
            name, seconds = argument.split(":")
            database.client.sadd(f"{namespace}:began", name)
            time.sleep(float(seconds))
            database.client.sadd(f"{namespace}:finished", name)

        jobs.start({"work": work}, int(threads))
        sys.stdout.write("started\n")
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    main()
