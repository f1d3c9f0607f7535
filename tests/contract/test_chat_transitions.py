"""The life of a chat, on every store: each status under everything that may change one, and callers at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from models.callbacks import Delivery, DeliveryStatus
from models.chats import Burst, Chat, ChatOutcome, ChatStatus
from models.ids import new_id
from tests.contract.stores import NOW, Stores, at_once, later, make_working_chat

BURST = Burst(NOW, later(5))
WAITING = Delivery("https://a.example/")
PENDING = replace(WAITING, status=DeliveryStatus.PENDING, event_id="evt", next_at=NOW)
UNLEASED: dict[str, Any] = {"lease_owner": None, "lease_until": None}
ROUNDS = 5
"""So often callers race: most races are over before the second caller comes."""


@dataclass(frozen=True)
class Change:
    """A change that only `received` chats take: how to ask for it, and the fields that it leaves."""

    ask: Callable[[Stores, Chat], object]
    leaves: dict[str, Any]


def finishing(status: ChatStatus) -> Change:
    """Return the change that an attempt's outcome is."""
    outcome = ChatOutcome(status, response="Olá", delivery=PENDING)
    leaves = {"status": status, "response": "Olá", "delivery": PENDING, "failures": 0, **UNLEASED}
    if status is ChatStatus.FAILED:
        leaves["failures"] = 1
    return Change(lambda stores, chat: stores.chats.finish(chat.id, "me", outcome), leaves)


CHANGES = {
    **{f"finish as {status}": finishing(status) for status in ChatStatus if status is not ChatStatus.RECEIVED},
    "merge": Change(
        lambda stores, chat: stores.chats.merge(chat, "later", PENDING),
        {"status": ChatStatus.MERGED, "merged_into": "later", "delivery": PENDING, **UNLEASED},
    ),
    "leave": Change(lambda stores, chat: stores.chats.leave_burst(chat.id, "me"), {"burst": None}),
    "renew": Change(lambda stores, chat: stores.chats.renew([chat.id], "me", later(90)), {"lease_until": later(90)}),
}


def added(stores: Stores, **fields: Any) -> Chat:
    chat = make_working_chat(**{"burst": BURST, "delivery": WAITING, **fields})
    assert stores.chats.add(chat)
    return chat


def stored(stores: Stores, chat: Chat) -> Chat:
    found = stores.chats.get(chat.id)
    assert found is not None
    return found


@pytest.mark.parametrize("status", ChatStatus)
@pytest.mark.parametrize("name", CHANGES)
def test_only_a_received_chat_is_changed(stores: Stores, name: str, status: ChatStatus) -> None:
    chat = added(stores, status=status)
    done = CHANGES[name].ask(stores, chat)
    if status is ChatStatus.RECEIVED:
        assert done is (None if name == "renew" else True)
        assert stored(stores, chat) == replace(chat, **CHANGES[name].leaves)
    else:
        assert not done
        assert stored(stores, chat) == chat, "the lease alone gives no right"


@pytest.mark.parametrize("status", ChatStatus)
def test_a_claim_makes_any_chat_received(stores: Stores, status: ChatStatus) -> None:
    chat = added(stores, status=status, lease_until=NOW)
    assert stores.chats.claim(chat, "next", later(30), NOW)
    burst = BURST if status is ChatStatus.RECEIVED else None
    lease: dict[str, Any] = {
        "status": ChatStatus.RECEIVED,
        "lease_owner": "next",
        "lease_until": later(30),
        "attempts": 2,
    }
    assert stored(stores, chat) == replace(chat, **lease, burst=burst)


@pytest.mark.parametrize("seen", ChatStatus)
@pytest.mark.parametrize("status", ChatStatus)
def test_a_claim_fails_when_the_chat_is_not_what_was_seen(stores: Stores, status: ChatStatus, seen: ChatStatus) -> None:
    chat = added(stores, status=status, lease_until=NOW)
    assert not stores.chats.claim(replace(chat, attempts=2), "next", later(30), NOW)
    if seen is not status:
        assert not stores.chats.claim(replace(chat, status=seen), "next", later(30), NOW)
    assert stored(stores, chat) == chat


@pytest.mark.parametrize("status", ChatStatus)
def test_only_a_received_chat_has_an_owner_who_is_in_the_way(stores: Stores, status: ChatStatus) -> None:
    chat = added(stores, status=status)
    if status is ChatStatus.RECEIVED:
        assert not stores.chats.claim(replace(chat, **UNLEASED), "next", later(30), NOW), "the stored lease counts"
    assert stores.chats.claim(chat, "next", later(30), NOW) is (status is not ChatStatus.RECEIVED)


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "merge"])
def test_who_has_lost_the_lease_changes_nothing(stores: Stores, name: str) -> None:
    taken_over, handed_back = added(stores, lease_until=NOW), added(stores)
    assert stores.chats.claim(taken_over, "next", later(30), NOW)
    assert stores.chats.requeue(handed_back, later(30))
    for chat in (taken_over, handed_back):
        before = stored(stores, chat)
        assert not CHANGES[name].ask(stores, chat)
        assert stored(stores, chat) == before


def test_an_attempt_whose_lease_ran_out_may_finish_while_nobody_came(stores: Stores) -> None:
    chat = added(stores, lease_until=later(-99))
    assert CHANGES["finish as answered"].ask(stores, chat)


@pytest.mark.parametrize("status", ChatStatus)
def test_a_dead_lease_is_taken_away_as_it_was_seen(stores: Stores, status: ChatStatus) -> None:
    chat = added(stores, status=status)
    other = ChatStatus.FAILED if status is ChatStatus.RECEIVED else ChatStatus.RECEIVED
    unlike = [replace(chat, status=other), replace(chat, lease_owner="x"), replace(chat, lease_owner=None)]
    for seen in (*unlike, replace(chat, lease_until=later(30.001)), replace(chat, lease_until=None)):
        assert not stores.chats.requeue(seen, later(60))
    assert stored(stores, chat) == chat
    assert stores.chats.requeue(chat, later(60))
    assert stored(stores, chat) == replace(chat, lease_owner=None, lease_until=later(60))


def test_a_lease_that_was_never_there_is_seen_too(stores: Stores) -> None:
    chat = added(stores, **UNLEASED)
    assert stores.chats.requeue(chat, later(60))
    assert not stores.chats.requeue(chat, later(60))
    assert stores.chats.requeue(stored(stores, chat), later(90))
    assert stores.chats.claim(chat, "me", later(30), NOW), "it is free, whenever the sweeper looks again"


def test_a_lease_that_was_renewed_is_not_taken_away(stores: Stores) -> None:
    chat = added(stores)
    stores.chats.renew([chat.id], "me", later(90))
    assert not stores.chats.requeue(chat, later(60))
    assert stored(stores, chat).lease_owner == "me"


def race(stores: Stores, chat: Chat, names: list[str]) -> list[str]:
    """Ask for these changes at once, in both orders; return those that were made."""
    asked = [*names, *names[::-1]]
    done = at_once(len(asked), lambda number: CHANGES[asked[number]].ask(stores, chat))
    return [name for name, made in zip(asked, done, strict=True) if made]


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in {"leave", "renew"}])
def test_of_changes_at_once_one_is_made(stores: Stores, name: str) -> None:
    for _ in range(ROUNDS):
        chat = added(stores)
        assert race(stores, chat, [name] * 4) == [name]
        assert stored(stores, chat) == replace(chat, **CHANGES[name].leaves)


def test_of_sweepers_at_once_one_requeues(stores: Stores) -> None:
    for _ in range(ROUNDS):
        chat = added(stores)

        def requeue(number: int, chat: Chat = chat) -> bool:
            return stores.chats.requeue(chat, later(60 + number))

        assert at_once(8, requeue).count(True) == 1


@pytest.mark.parametrize("ends", ["finish as answered", "finish as failed", "leave"])
def test_a_chat_is_merged_or_goes_on_alone(stores: Stores, ends: str) -> None:
    for _ in range(ROUNDS):
        chat = added(stores)
        made = set(race(stores, chat, ["merge", ends] * 2))
        assert len(made) == 1
        assert stored(stores, chat) == replace(chat, **CHANGES[made.pop()].leaves)


def test_a_take_over_and_its_late_owner_never_both_win(stores: Stores) -> None:
    for _ in range(ROUNDS):
        chat = added(stores, lease_until=NOW)

        def act(number: int, chat: Chat = chat) -> bool:
            if number % 2:
                return stores.chats.claim(chat, "next", later(30), NOW)
            return stores.chats.finish(chat.id, "me", ChatOutcome(ChatStatus.ANSWERED))

        assert at_once(8, act).count(True) == 1
        after = stored(stores, chat)
        assert (after.status, after.lease_owner) in {(ChatStatus.ANSWERED, None), (ChatStatus.RECEIVED, "next")}


def test_nothing_comes_of_a_chat_that_is_gone(stores: Stores) -> None:
    chat = make_working_chat(burst=BURST, delivery=WAITING)
    for change in CHANGES.values():
        assert not change.ask(stores, chat)
    assert not stores.chats.claim(chat, "me", later(30), NOW)
    assert not stores.chats.requeue(chat, later(30))
    assert not stores.chats.change_delivery(new_id(), WAITING, PENDING)
    assert stores.chats.get(chat.id) is None


@pytest.mark.parametrize(
    "since",
    [
        {"status": ChatStatus.ANSWERED},
        {"lease_owner": "other"},
        {"lease_owner": None},
        {"attempts": 2},
    ],
)
def test_only_a_chat_that_nobody_has_touched_is_withdrawn(stores: Stores, since: dict[str, Any]) -> None:
    added = make_working_chat()
    touched = replace(added, **since)
    assert stores.chats.add(touched)
    assert not stores.chats.withdraw(added)
    assert stores.chats.get(added.id) == touched
    assert stores.chats.withdraw(touched) and stores.chats.get(added.id) is None
    assert not stores.chats.withdraw(touched)
    assert stores.chats.add(added)  # its dedupe key is free again
