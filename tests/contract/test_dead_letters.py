"""What every `DeadLetterRepository` does."""

from contextlib import closing
from dataclasses import replace

import pytest
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError

from models.ids import new_id
from models.jobs import DeadLetter
from models.paging import Page
from repositories.codec import DEAD_LETTERS
from repositories.mongo.database import MongoDatabase
from tests.contract.stores import Stores, at_once, later, make_letter


def added(stores: Stores, letter: DeadLetter) -> DeadLetter:
    stores.dead_letters.add(letter)
    return letter


def listed(stores: Stores) -> list[DeadLetter]:
    page = stores.dead_letters.list(Page())
    assert page.total == len(page.items)
    return list(page.items)


def test_a_letter_comes_back_as_it_was(stores: Stores) -> None:
    letter = added(stores, make_letter(detail="Não deu. 好", tries=8))
    assert stores.dead_letters.get(letter.id) == letter
    assert stores.dead_letters.get(new_id()) is None


def test_a_job_has_one_letter(stores: Stores) -> None:
    job, chat = "answer_chat", new_id()
    first = added(stores, make_letter(job, chat))
    other_argument, other_job = added(stores, make_letter(job)), added(stores, make_letter("send_callback", chat))
    again = added(stores, make_letter(job, chat, tries=9, code="other", died_at=later(99)))
    assert stores.dead_letters.get(first.id) is None
    assert stores.dead_letters.get(again.id) == again
    assert listed(stores) == [again, other_job, other_argument]


def test_a_letter_may_be_added_again(stores: Stores) -> None:
    letter = added(stores, make_letter())
    changed = added(stores, replace(letter, tries=9))
    assert listed(stores) == [changed]


def test_of_letters_at_once_one_is_kept(stores: Stores) -> None:
    for _ in range(5):
        added_at_once = at_once(8, lambda _: added(stores, make_letter(argument="same")))
        (kept,) = listed(stores)
        assert kept in added_at_once
        assert stores.dead_letters.delete(kept.id)


def test_mongodb_itself_refuses_a_second_letter_of_a_job(mongo_uri: str) -> None:
    """Its upserts alone may insert two that come at once."""
    name, letter = f"orquestra_test_{new_id()}", make_letter()
    with closing(MongoDatabase(mongo_uri, name)) as database, MongoClient[dict[str, object]](mongo_uri) as client:
        database.ensure_indexes()
        try:
            client[name]["dead_letters"].insert_one(DEAD_LETTERS.plain(letter))
            with pytest.raises(DuplicateKeyError):
                client[name]["dead_letters"].insert_one(DEAD_LETTERS.plain(replace(letter, id=new_id())))
        finally:
            client.drop_database(name)


def test_letters_are_listed_newest_first_in_pages(stores: Stores) -> None:
    assert listed(stores) == []
    letters = [added(stores, make_letter()) for _ in range(5)][::-1]
    page = stores.dead_letters.list(Page(limit=2))
    assert (list(page.items), page.total, page.more) == (letters[:2], 5, True)
    page = stores.dead_letters.list(Page(limit=3, after=letters[1].id))
    assert (list(page.items), page.total, page.more) == (letters[2:], 5, False)


def test_a_letter_is_deleted_once(stores: Stores) -> None:
    letter, other = added(stores, make_letter()), added(stores, make_letter())
    assert at_once(8, lambda _: stores.dead_letters.delete(letter.id)).count(True) == 1
    assert listed(stores) == [other]
