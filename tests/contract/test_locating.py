"""Places in our own documents for texts that a provider found in its copies."""

from pathlib import Path

import pytest

from services.locating import PassageLocator
from tests.contract.house import House
from tests.contract.stores import Stores

_POLICY = """# Vacation

Every employee has 25 vacation days a year, and asks the manager for them two weeks before.

# Travel

Trips by plane are booked by the travel desk, in the cheapest class that the airline offers.
"""


@pytest.fixture
def house(stores: Stores, tmp_path: Path) -> House:
    """Give an assistant with one document."""
    house = House(stores, tmp_path)
    house.add(_POLICY.encode(), "policy.md")
    return house


def _locator(house: House) -> PassageLocator:
    return PassageLocator(house.stores.documents, house.stores.passages)


def test_a_chunk_over_several_passages_is_placed_where_the_answers_words_are(house: House) -> None:
    answer = "Trips by plane are booked by the travel desk."
    found = _locator(house).locate(house.documents()[0].id, _POLICY, answer)
    assert found is not None
    assert "travel desk" in found.passage
    assert _POLICY[found.start : found.end] == found.passage
    assert found.document_id == house.documents()[0].id


def test_without_the_answers_words_it_is_the_passage_that_the_text_holds_most_of(house: House) -> None:
    chunk = "Every employee has 25 vacation days a year, and asks the manager for them two weeks before. # Travel Trips"
    found = _locator(house).locate(house.documents()[0].id, chunk, "Sim.")
    assert found is not None
    assert "25 vacation days" in found.passage


def test_what_is_not_there_any_more_has_no_place(house: House) -> None:
    locator = _locator(house)
    assert locator.locate(house.assistant.id, _POLICY, "plane") is None
    assert locator.locate("", _POLICY, "plane") is None
    assert locator.locate(house.documents()[0].id, "Something else entirely stands here.", "plane") is None
