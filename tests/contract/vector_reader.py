"""A process that searches an assistant's vectors until its input ends; each hit is checked against its build's name.

Run as `python -m tests.contract.vector_reader DIRECTORY ASSISTANT_ID DIMENSIONS`.
"""

import sys
import threading
from pathlib import Path

from tests.contract.semantic import Foreseen


def main() -> None:
    """Search and count. The assistant's version is never beyond the files', so nothing is written."""
    directory, assistant_id, dimensions = sys.argv[1:]
    foreseen = Foreseen(Path(directory), assistant_id, int(dimensions))
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    searches = 0
    builds: set[str] = set()
    while not ended.is_set():
        hits = foreseen.search(10)
        assert len(hits) == 10
        builds |= {hit.revision for hit in hits}
        searches += 1
        if searches == 1:
            _say("reading")
    _say(f"{searches} {len(builds)}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
