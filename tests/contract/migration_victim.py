"""A migration that is killed as soon as it has come so far.

Run as `python -m tests.contract.migration_victim copying|comparing KIND NAME=VALUE ...`; the values are settings.
"""

import os
import signal
import sys

from repositories.migration.migration import Progress
from settings import Settings
from wiring.migration import open_migration


def _killing(armed: bool, kind: str) -> Progress:
    def show(done: int, of: int, what: str) -> None:
        if armed and what == kind:
            os.kill(os.getpid(), signal.SIGKILL)

    return show


def main() -> None:
    """Migrate until some of the kind is done."""
    phase, kind, *settings = sys.argv[1:]
    with open_migration(Settings.from_env(dict(setting.split("=", 1) for setting in settings))) as migration:
        migration.run(*(_killing(phase == name, kind) for name in ("copying", "comparing")))


if __name__ == "__main__":
    main()
