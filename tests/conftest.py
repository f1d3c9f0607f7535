"""The order of the tests."""

from itertools import chain, zip_longest
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take files with served instances, which work, by turns with those of contracts, which wait; the quick ones last.

    Several run at the same time, so none of the machine's cores is idle for long.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    served, contracts = ([file for file in files if file.parent.name == kind] for kind in ("e2e", "contract"))
    mixed = [file for file in chain.from_iterable(zip_longest(served, contracts)) if file is not None]
    order = mixed + [file for file in files if file not in mixed]
    items[:] = [item for file in order for item in files[file]]
