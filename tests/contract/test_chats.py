"""What every `ChatRepository` does with single chats."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from models.callbacks import Delivery, DeliveryStatus, DeliveryTry
from models.chats import Burst, Chat, ChatFailure, ChatOutcome, ChatStatus, Citation, Feedback, Timings, Tokens
from models.ids import new_id
from tests.contract.stores import NOW, Stores, at_once, later, make_chat, make_working_chat

FAILURE = ChatFailure("provider_failed", "Tente de novo.", NOW, "Meia resp")
OUTCOME = ChatOutcome(
    ChatStatus.ANSWERED,
    response="Só em março. 好",
    tokens=Tokens(12, 5),
    citations=(Citation("d", "política.pdf", "trecho", 3, 9),),
    provider="offline",
    model="m",
    timings=Timings(1, None, 3, 4),
    answered_at=later(3),
)


def added(stores: Stores, chat: Chat) -> Chat:
    assert stores.chats.add(chat)
    return chat


def working(stores: Stores, **fields: Any) -> Chat:
    """Store a chat that the attempt `me` works on for 30 s more."""
    return added(stores, make_working_chat(**fields))


def test_a_chat_comes_back_as_it_was(stores: Stores) -> None:
    metadata = {"$a.b": [1, {"x": None}], "big": 10**30, "né": "é\x00\ud800", "": True, "tempo": "2026-11-21T00:00:00Z"}
    feedback = Feedback(-1, "u", later(9), "não")
    chat = make_chat(
        message="Olá", username="Zé", error=FAILURE, feedback=feedback, metadata=metadata, paused_until=NOW
    )
    tried = DeliveryTry(later(1), "evt", 503, None, 12)
    delivery = Delivery("https://é.example/", DeliveryStatus.PENDING, "evt", 1, later(6), NOW, (tried, tried))
    waiting: dict[str, Any] = {"burst": Burst(NOW, later(5)), "delivery": delivery, "merged_into": "c", "failures": 2}
    chat = replace(chat, citations=OUTCOME.citations, tokens=OUTCOME.tokens, timings=OUTCOME.timings, **waiting)
    added(stores, chat)
    assert stores.chats.get(chat.id) == chat
    assert stores.chats.get(new_id()) is None


def test_times_are_kept_in_utc_and_milliseconds(stores: Stores) -> None:
    east = timezone(timedelta(hours=8))
    chat = replace(make_chat(), created_at=datetime(2026, 11, 21, 8, 0, 0, 999_999, tzinfo=east))
    added(stores, chat)
    kept = stores.chats.get(chat.id)
    assert kept is not None
    assert kept.created_at == datetime(2026, 11, 21, 0, 0, 0, 999_000, tzinfo=UTC)
    assert kept.created_at.utcoffset() == timedelta(0)


def test_a_message_is_stored_once(stores: Stores) -> None:
    chat = added(stores, make_chat(dedupe_key="k"))
    assert not stores.chats.add(make_chat(chat.assistant_id, dedupe_key="k"))
    added(stores, make_chat(chat.assistant_id, dedupe_key="l"))
    added(stores, make_chat(dedupe_key="k"))
    assert stores.chats.find_by_dedupe_key(chat.assistant_id, "k") == chat
    assert stores.chats.find_by_dedupe_key(chat.assistant_id, "m") is None


def test_of_deliveries_at_once_one_is_stored(stores: Stores) -> None:
    assistant_id = new_id()
    results = at_once(16, lambda _: stores.chats.add(make_chat(assistant_id, dedupe_key="k")))
    assert results.count(True) == 1


@pytest.mark.parametrize(
    ("owner", "lease_until", "claimable"),
    [
        (None, None, True),
        (None, later(30), True),
        ("old", None, True),
        ("old", later(-0.001), True),
        ("old", NOW, True),
        ("old", later(0.001), False),
    ],
)
def test_a_claim_needs_a_chat_nobody_works_on(
    stores: Stores, owner: str | None, lease_until: datetime | None, claimable: bool
) -> None:
    lease: dict[str, Any] = {"status": ChatStatus.RECEIVED, "lease_owner": owner, "lease_until": lease_until}
    past: dict[str, Any] = {"error": FAILURE, "attempts": 1, "active": False, "burst": Burst(NOW, later(5))}
    chat = added(stores, make_chat(paused_until=NOW, **past, **lease))
    assert stores.chats.claim(chat, "me", later(30), NOW) is claimable
    claimed: dict[str, Any] = {
        "active": True,
        "paused_until": None,
        "lease_owner": "me",
        "lease_until": later(30),
        "attempts": 2,
    }
    assert stores.chats.get(chat.id) == (replace(chat, **claimed) if claimable else chat)


def test_a_claim_needs_the_chat_as_it_was_seen(stores: Stores) -> None:
    chat = added(stores, make_chat(status=ChatStatus.FAILED, attempts=2))
    assert not stores.chats.claim(replace(chat, status=ChatStatus.RECEIVED), "me", later(30), NOW)
    assert not stores.chats.claim(replace(chat, attempts=1), "me", later(30), NOW)
    assert not stores.chats.claim(replace(chat, id=new_id()), "me", later(30), NOW)
    assert stores.chats.get(chat.id) == chat
    assert stores.chats.claim(chat, "me", later(30), NOW)
    assert not stores.chats.claim(chat, "again", later(30), NOW)


def test_of_claims_at_once_one_wins(stores: Stores) -> None:
    failed = added(stores, make_chat(status=ChatStatus.FAILED))
    won = at_once(16, lambda number: stores.chats.claim(failed, f"owner {number}", later(30), NOW))
    assert won.count(True) == 1
    claimed = stores.chats.get(failed.id)
    assert claimed is not None
    assert (claimed.lease_owner, claimed.attempts) == (f"owner {won.index(True)}", 1)


def test_a_holder_prolongs_its_leases_only(stores: Stores) -> None:
    mine = working(stores)
    theirs = working(stores, lease_owner="another")
    over = working(stores, status=ChatStatus.FAILED)
    unnamed = working(stores)
    stores.chats.renew(iter([mine.id, theirs.id, over.id]), "me", later(90))
    assert stores.chats.get(mine.id) == replace(mine, lease_until=later(90))
    for untouched in (theirs, over, unnamed):
        assert stores.chats.get(untouched.id) == untouched
    stores.chats.renew([], "me", later(90))


def test_an_outcome_is_written_by_the_holder(stores: Stores) -> None:
    chat = working(stores, error=FAILURE, metadata={"a": 1}, message="Olá")
    assert not stores.chats.finish(chat.id, "another", OUTCOME)
    assert stores.chats.get(chat.id) == chat
    assert stores.chats.finish(chat.id, "me", OUTCOME)
    unwritten = {"active", "delivery"}
    written = {name: getattr(OUTCOME, name) for name in OUTCOME.__dataclass_fields__ if name not in unwritten}
    assert stores.chats.get(chat.id) == replace(chat, **written, lease_owner=None, lease_until=None)
    assert not stores.chats.finish(chat.id, "me", OUTCOME), "its lease is over"


def test_a_late_attempt_writes_nothing(stores: Stores) -> None:
    chat = working(stores, lease_until=later(-1))
    assert stores.chats.claim(chat, "next", later(30), NOW)
    assert not stores.chats.finish(chat.id, "me", OUTCOME)
    assert stores.chats.finish(chat.id, "next", replace(OUTCOME, status=ChatStatus.FAILED, error=FAILURE))
    after = stores.chats.get(chat.id)
    assert after is not None and after.error == FAILURE
    assert not stores.chats.finish(new_id(), "me", OUTCOME)


def test_failures_are_counted(stores: Stores) -> None:
    chat = working(stores)
    failed = replace(OUTCOME, status=ChatStatus.FAILED, error=FAILURE)
    for times in (1, 2):
        assert stores.chats.finish(chat.id, "me", failed)
        after = stores.chats.get(chat.id)
        assert after is not None
        assert (after.failures, after.attempts) == (times, times)
        assert stores.chats.claim(after, "me", later(30), NOW)
    assert stores.chats.finish(chat.id, "me", OUTCOME)
    after = stores.chats.get(chat.id)
    assert after is not None
    assert (after.failures, after.attempts) == (2, 3)


def test_an_outcome_settles_the_delivery_at_once(stores: Stores) -> None:
    tried = DeliveryTry(NOW, "evt-1", None, "callback_timeout", 10_000)
    waiting = Delivery("https://a.example/", next_at=later(5), log=(tried,))
    chat = working(stores, delivery=waiting)
    pending = Delivery("https://a.example/", DeliveryStatus.PENDING, "evt-2", 0, NOW, NOW)
    assert not stores.chats.finish(chat.id, "another", replace(OUTCOME, delivery=pending))
    assert stores.chats.get(chat.id) == chat
    assert stores.chats.finish(chat.id, "me", replace(OUTCOME, delivery=pending))
    after = stores.chats.get(chat.id)
    assert after is not None
    assert (after.status, after.delivery) == (ChatStatus.ANSWERED, pending), "the delivery is replaced whole"
    kept = working(stores, delivery=waiting)
    assert stores.chats.finish(kept.id, "me", OUTCOME)
    after = stores.chats.get(kept.id)
    assert after is not None and after.delivery == waiting


def test_a_take_over_wins_against_an_answer(stores: Stores) -> None:
    chat = working(stores)
    stores.chats.set_active(chat.conversation_id, False, None)
    assert not stores.chats.finish(chat.id, "me", OUTCOME)
    suppressed = replace(OUTCOME, status=ChatStatus.SUPPRESSED, response=None, active=False)
    assert stores.chats.finish(chat.id, "me", suppressed)
    after = stores.chats.get(chat.id)
    assert after is not None and after.status is ChatStatus.SUPPRESSED and not after.active


def test_feedback_is_kept(stores: Stores) -> None:
    chat = added(stores, make_chat())
    assert stores.chats.set_feedback(chat.id, Feedback(1, "u", NOW))
    assert stores.chats.set_feedback(chat.id, Feedback(-1, "u", later(1), "ruim"))
    assert stores.chats.get(chat.id) == replace(chat, feedback=Feedback(-1, "u", later(1), "ruim"))
    assert not stores.chats.set_feedback(new_id(), Feedback(1, "u", NOW))


def test_chats_are_deleted(stores: Stores) -> None:
    one = added(stores, make_chat())
    same_assistant = added(stores, make_chat(one.assistant_id))
    other = added(stores, make_chat())
    stores.chats.delete_of_conversation(one.conversation_id)
    assert [stores.chats.get(chat.id) for chat in (one, same_assistant, other)] == [None, same_assistant, other]
    stores.chats.delete_of_assistant(one.assistant_id)
    assert [stores.chats.get(chat.id) for chat in (same_assistant, other)] == [None, other]
