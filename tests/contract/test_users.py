"""What every `UserRepository` does."""

from dataclasses import replace

import pytest

from models.errors import Conflict, OrquestraError
from models.users import Role
from tests.contract.stores import Stores, at_once, later, make_user


def test_a_stored_user_is_found_by_id_and_address(stores: Stores) -> None:
    user = make_user("joao@exemplo.com.br", tokens_valid_after=later(1), kept_session="s")
    stores.users.add(user)
    assert stores.users.get(user.id) == user
    assert stores.users.find_by_email("joao@exemplo.com.br") == user
    assert stores.users.count() == 1


@pytest.mark.parametrize("absent", ["0" * 24, "F" * 24, "", "no id"])
def test_an_absent_user_is_none(stores: Stores, absent: str) -> None:
    assert stores.users.get(absent) is None
    assert stores.users.find_by_email(absent) is None
    assert stores.users.count() == 0


def test_an_address_is_taken_once(stores: Stores) -> None:
    stores.users.add(make_user("a@example.com"))
    with pytest.raises(Conflict) as raised:
        stores.users.add(make_user("a@example.com", founder=True))
    assert raised.value.code == "email_taken"
    assert stores.users.count() == 1


def test_there_is_one_founder(stores: Stores) -> None:
    stores.users.add(make_user("a@example.com", founder=True))
    with pytest.raises(Conflict) as raised:
        stores.users.add(make_user("b@example.com", founder=True))
    assert raised.value.code == "founder_exists"
    stores.users.add(make_user("b@example.com"))
    stores.users.add(make_user("c@example.com"))
    assert stores.users.count() == 3


def test_of_founders_at_once_one_is_stored(stores: Stores) -> None:
    def add(number: int) -> str:
        try:
            stores.users.add(make_user(f"{number}@example.com", founder=True))
        except OrquestraError as error:
            return error.code
        return "stored"

    assert sorted(at_once(16, add)) == ["founder_exists"] * 15 + ["stored"]
    assert stores.users.count() == 1


def test_a_new_password_ends_the_other_logins(stores: Stores) -> None:
    user, other = make_user("a@example.com"), make_user("b@example.com")
    stores.users.add(user)
    stores.users.add(other)
    stores.users.set_password(user.id, "new hash", later(5), "session")
    changed = replace(user, password_hash="new hash", tokens_valid_after=later(5), kept_session="session")
    assert stores.users.get(user.id) == changed
    assert stores.users.get(other.id) == other


def test_the_probe_names_the_store(stores: Stores) -> None:
    assert stores.probe.ping().split()[0] in {"sqlite", "mongodb"}


def test_admins_are_found(stores: Stores) -> None:
    admin = replace(make_user("a@example.com"), role=Role.ADMIN)
    stores.users.add(make_user("b@example.com"))
    assert stores.users.admins() == []
    stores.users.add(admin)
    assert stores.users.admins() == [admin]
