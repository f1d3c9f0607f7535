"""What every `AssistantRepository` does."""

from dataclasses import replace

import pytest

from models.assistants import Assistant
from models.ids import new_id
from models.paging import Page
from tests.contract.stores import Stores, at_once, later, make_assistant, make_key


def stored(stores: Stores, count: int, owner_id: str) -> list[Assistant]:
    assistants = [make_assistant(owner_id) for _ in range(count)]
    for assistant in assistants:
        stores.assistants.add(assistant)
    return assistants


def test_an_assistant_comes_back_as_it_was(stores: Stores) -> None:
    assistant = make_assistant(temperature=0.5, model="m", provider="offline", language="pt-BR", max_output_tokens=9)
    stores.assistants.add(assistant)
    assert stores.assistants.get(assistant.id) == assistant
    assert stores.assistants.get(new_id()) is None


def test_it_is_found_by_each_of_its_keys(stores: Stores) -> None:
    current, expiring = make_key(), make_key(expires_at=later(-5))
    assistant = replace(make_assistant(), keys=(current, expiring))
    stores.assistants.add(assistant)
    stored(stores, 2, new_id())
    assert stores.assistants.find_by_key_hash(current.sha256) == assistant
    assert stores.assistants.find_by_key_hash(expiring.sha256) == assistant
    assert stores.assistants.find_by_key_hash("0" * 64) is None


def test_an_owner_sees_their_own_newest_first(stores: Stores) -> None:
    owner, other = new_id(), new_id()
    mine = stored(stores, 3, owner)
    theirs = stored(stores, 2, other)
    assert stores.assistants.list(owner, Page()).items == mine[::-1]
    assert stores.assistants.list(None, Page()).items == [*theirs[::-1], *mine[::-1]]
    assert stores.assistants.list(new_id(), Page()).items == []
    assert set(stores.assistants.ids_of_owner(owner)) == {assistant.id for assistant in mine}
    assert stores.assistants.ids_of_owner(new_id()) == ()


def test_a_list_goes_on_after_the_last_item(stores: Stores) -> None:
    owner = new_id()
    mine = stored(stores, 5, owner)[::-1]
    first = stores.assistants.list(owner, Page(limit=2))
    assert (first.items, first.total, first.more) == (mine[:2], 5, True)
    second = stores.assistants.list(owner, Page(limit=3, after=mine[1].id))
    assert (second.items, second.total, second.more) == (mine[2:], 5, False)
    assert stores.assistants.list(None, Page(after=mine[3].id)).items == mine[4:]


def test_changes_count_the_version(stores: Stores) -> None:
    assistant, other = make_assistant(), make_assistant()
    stores.assistants.add(assistant)
    stores.assistants.add(other)
    changed = stores.assistants.update(assistant.id, {"name": 'O "novo"', "temperature": None}, later(9))
    assert changed == replace(assistant, name='O "novo"', version=2, updated_at=later(9))
    assert stores.assistants.get(assistant.id) == changed
    assert stores.assistants.get(other.id) == other
    assert stores.assistants.update(new_id(), {"name": "x"}, later(9)) is None


def test_no_change_at_the_same_time_is_lost(stores: Stores) -> None:
    assistant = make_assistant()
    stores.assistants.add(assistant)
    at_once(16, lambda number: stores.assistants.update(assistant.id, {"history_turns": number}, later(number)))
    at_once(16, lambda number: stores.assistants.bump_index_version(assistant.id))
    after = stores.assistants.get(assistant.id)
    assert after is not None
    assert (after.version, after.index_version) == (17, 16)


def test_keys_change_only_from_the_expected_one(stores: Stores) -> None:
    assistant = make_assistant()
    stores.assistants.add(assistant)
    old, new = assistant.keys[0], make_key()
    grace = replace(old, expires_at=later(60))
    assert not stores.assistants.set_keys(assistant.id, (new, grace), expected_key_id="another")
    assert not stores.assistants.set_keys(new_id(), (new, grace), expected_key_id=old.key_id)
    assert stores.assistants.get(assistant.id) == assistant
    assert stores.assistants.set_keys(assistant.id, (new, grace), expected_key_id=old.key_id)
    assert stores.assistants.find_by_key_hash(new.sha256) == replace(assistant, keys=(new, grace))
    assert stores.assistants.find_by_key_hash(old.sha256) is not None
    assert stores.assistants.set_keys(assistant.id, (new,), expected_key_id=new.key_id)
    assert stores.assistants.find_by_key_hash(old.sha256) is None


def test_of_rotations_at_once_one_wins(stores: Stores) -> None:
    assistant = make_assistant()
    stores.assistants.add(assistant)
    expected = assistant.keys[0].key_id
    rotated = at_once(16, lambda _: stores.assistants.set_keys(assistant.id, (make_key(),), expected))
    assert rotated.count(True) == 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_deleted_assistant_is_gone_with_its_keys(stores: Stores, count: int) -> None:
    assistant = make_assistant()
    stores.assistants.add(assistant)
    other = stored(stores, count, new_id())[-1]
    assert stores.assistants.delete(assistant.id)
    assert not stores.assistants.delete(assistant.id)
    assert stores.assistants.get(assistant.id) is None
    assert stores.assistants.find_by_key_hash(assistant.keys[0].sha256) is None
    assert stores.assistants.find_by_key_hash(other.keys[0].sha256) == other
