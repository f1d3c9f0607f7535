"""What several unit tests share."""

from collections.abc import Iterator

import pytest

from tests.unit.speech import ours, until


@pytest.fixture
def no_speech_goes_on() -> Iterator[None]:
    """Wait behind a test for the threads of its spoken answers."""
    yield
    until(lambda: ours() == 0)
