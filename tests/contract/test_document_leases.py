"""What every `DocumentRepository` does for the attempts that index documents and the sweeper behind them."""

from dataclasses import replace
from typing import Any

import pytest

from models.documents import Document, DocumentStatus, DocumentType, Version
from models.ids import new_id
from tests.contract.stores import NOW, Stores, at_once, later, make_document


def waiting(stores: Stores, name: str = "a", **given: Any) -> Document:
    """Store a document that waits for its indexing."""
    document = make_document(new_id(), name, **{"status": DocumentStatus.STORED, "build": "", **given})
    assert stores.documents.add(document)
    return document


def test_a_claim_begins_an_attempt(stores: Stores) -> None:
    document, other = waiting(stores), waiting(stores)
    claimed = stores.documents.claim(document.id, "me", later(30), NOW)
    leased = replace(document, status=DocumentStatus.INDEXING, lease_owner="me", lease_until=later(30), attempts=1)
    assert claimed == leased == stores.documents.get(document.id)
    assert stores.documents.get(other.id) == other
    assert stores.documents.claim(new_id(), "me", later(30), NOW) is None


@pytest.mark.parametrize("status", [DocumentStatus.READY, DocumentStatus.FAILED])
def test_what_is_finished_cannot_be_claimed(stores: Stores, status: DocumentStatus) -> None:
    document = waiting(stores, status=status)
    assert stores.documents.claim(document.id, "me", later(30), NOW) is None
    assert stores.documents.get(document.id) == document


def test_a_lease_keeps_others_out_until_it_ends(stores: Stores) -> None:
    document = waiting(stores)
    assert stores.documents.claim(document.id, "one", later(30), NOW)
    assert stores.documents.claim(document.id, "two", later(60), later(29.999)) is None
    assert stores.documents.claim(document.id, "one", later(60), later(29.999)) is None
    taken = stores.documents.claim(document.id, "two", later(60), later(30))
    assert taken is not None and (taken.lease_owner, taken.lease_until, taken.attempts) == ("two", later(60), 2)


def test_a_document_that_waits_for_a_later_nudge_can_be_claimed_before(stores: Stores) -> None:
    document = waiting(stores, lease_until=later(100))
    assert stores.documents.claim(document.id, "me", later(30), NOW)


@pytest.mark.parametrize("dead", [False, True])
def test_of_claims_at_once_one_succeeds(stores: Stores, dead: bool) -> None:
    given: dict[str, Any] = (
        {"status": DocumentStatus.INDEXING, "lease_owner": "dead", "lease_until": NOW} if dead else {}
    )
    document = waiting(stores, **given)
    claims = at_once(16, lambda n: stores.documents.claim(document.id, f"owner {n}", later(30), NOW))
    (won,) = [claim for claim in claims if claim is not None]
    assert won == stores.documents.get(document.id)
    assert won.attempts == 1


def test_a_change_needs_the_revision_and_the_lease(stores: Stores) -> None:
    document = waiting(stores, revision="r2")
    claimed = stores.documents.claim(document.id, "me", later(30), NOW)
    for revision, owner in (("r2", "you"), ("r1", "me"), ("r1", "you")):
        assert not stores.documents.change(document.id, revision, owner, {"progress": 0.5})
    assert not stores.documents.change(new_id(), "r2", "me", {"progress": 0.5})
    assert stores.documents.get(document.id) == claimed
    assert stores.documents.change(document.id, "r2", "me", {"progress": 0.5})
    assert stores.documents.change(document.id, "r2", "me", {"progress": 0.5}), "an equal record is no absence"


def test_a_change_stores_values_of_every_kind(stores: Stores) -> None:
    document = waiting(stores)
    assert stores.documents.claim(document.id, "me", later(30), NOW)
    changes: dict[str, Any] = {
        "status": DocumentStatus.READY,
        "progress": 1.0,
        "build": "b1",
        "error": None,
        "passages": 20_000,
        "language": "pt",
        "versions": (Version("r1", 3, "0", NOW), Version("r0", 2, "1", later(-1))),
        "updated_at": later(5),
        "lease_owner": None,
        "lease_until": None,
    }
    assert stores.documents.change(document.id, "r1", "me", changes)
    assert stores.documents.get(document.id) == replace(document, attempts=1, **changes)
    assert not stores.documents.change(document.id, "r1", "me", {"progress": 0.5}), "the lease is over"


def test_changes_and_a_replacement_at_once_do_not_mix(stores: Stores) -> None:
    """Newer content ends the attempt on the older one, whatever the order."""
    for _ in range(10):
        document = waiting(stores)
        claimed = stores.documents.claim(document.id, "me", later(30), NOW)
        assert claimed is not None
        newer = replace(document, revision="r2", filename="newer")

        def act(number: int, document: Document = document, newer: Document = newer) -> bool:
            if number == 2:
                return stores.documents.replace(newer, document)
            return stores.documents.change(document.id, "r1", "me", {"passages": number + 1})

        done = at_once(6, act)
        assert stores.documents.get(document.id) == newer
        assert done[2]


def test_a_dead_attempt_is_requeued(stores: Stores) -> None:
    document = waiting(stores)
    dead = stores.documents.claim(document.id, "dead", later(30), NOW)
    assert dead is not None
    for other in (replace(dead, lease_owner="x"), replace(dead, lease_until=later(31)), document):
        assert not stores.documents.requeue(other, later(90))
    assert stores.documents.get(document.id) == dead
    assert stores.documents.requeue(dead, later(90))
    assert stores.documents.get(document.id) == replace(dead, lease_owner=None, lease_until=later(90))
    assert not stores.documents.change(document.id, "r1", "dead", {"progress": 0.5})


def test_a_document_that_nobody_ever_claimed_is_requeued(stores: Stores) -> None:
    document = waiting(stores)
    assert at_once(8, lambda n: stores.documents.requeue(document, later(90 + n))).count(True) == 1


def test_what_is_finished_is_not_requeued(stores: Stores) -> None:
    """Between the sweeper's two steps an attempt may begin and end, which leaves owner and lease as they were."""
    document = waiting(stores)
    ready = replace(document, status=DocumentStatus.READY)
    assert stores.documents.replace(ready, document)
    assert not stores.documents.requeue(document, later(90))
    assert stores.documents.get(document.id) == ready


def test_unfinished_documents_are_those_that_nobody_works_on(stores: Stores) -> None:
    found = [
        waiting(stores, "never"),
        waiting(stores, "nudge lost", lease_until=NOW),
        waiting(stores, "dead", status=DocumentStatus.INDEXING, lease_owner="x", lease_until=later(-1)),
        waiting(stores, "no end", status=DocumentStatus.INDEXING, lease_owner="x"),
        waiting(stores, "p", type=DocumentType.PROMPT),
    ]
    waiting(stores, "alive", status=DocumentStatus.INDEXING, lease_owner="x", lease_until=later(0.001))
    waiting(stores, "queued", lease_until=later(1))
    waiting(stores, "ready", status=DocumentStatus.READY)
    waiting(stores, "failed", status=DocumentStatus.FAILED, lease_until=NOW)
    assert list(stores.documents.unfinished(NOW, 100)) == found
    assert list(stores.documents.unfinished(NOW, 2)) == found[:2]
    assert len(stores.documents.unfinished(later(1), 100)) == len(found) + 2


def test_the_oldest_of_each_assistant_waits_for_its_turn(stores: Stores) -> None:
    one, two = new_id(), new_id()
    given: dict[str, Any] = {"status": DocumentStatus.STORED, "build": ""}
    first = make_document(one, "first", **given, lease_until=later(30))
    second, other = make_document(one, "second", **given), make_document(two, "other", **given)
    assert all(stores.documents.add(document) for document in (first, second, other))
    others: dict[str, dict[str, Any]] = {
        "leased": {"lease_owner": "x", "lease_until": later(1)},
        "begun": {"status": DocumentStatus.INDEXING, "lease_until": later(1)},
        "failed before": {"attempts": 1, "lease_until": later(1)},
        "ready": {"status": DocumentStatus.READY},
        "failed": {"status": DocumentStatus.FAILED},
    }
    for name, fields in others.items():
        waiting(stores, name, **fields)
    died = waiting(stores, "died", status=DocumentStatus.INDEXING, lease_owner="x", lease_until=NOW)
    again = waiting(stores, "again", attempts=1, lease_until=NOW)
    expected = [(one, first.id), (two, other.id), (died.assistant_id, died.id), (again.assistant_id, again.id)]
    assert list(stores.documents.waiting(NOW)) == expected


def test_documents_without_a_models_embeddings_are_paged_by_id(stores: Stores) -> None:
    none, old, failed = (
        waiting(stores, "none", status=DocumentStatus.READY, build="b"),
        waiting(stores, "old", status=DocumentStatus.READY, build="b", embeddings_model="old"),
        waiting(stores, "failed", status=DocumentStatus.FAILED, build="b"),
    )
    waiting(stores, "done", status=DocumentStatus.READY, build="b", embeddings_model="new")
    waiting(stores, "unbuilt")
    waiting(stores, "p", type=DocumentType.PROMPT, status=DocumentStatus.READY, build="b")
    assert list(stores.documents.without_embeddings("new", None, 10)) == [none, old, failed]
    assert list(stores.documents.without_embeddings("new", None, 2)) == [none, old]
    assert list(stores.documents.without_embeddings("new", old.id, 2)) == [failed]
    assert list(stores.documents.without_embeddings("new", failed.id, 2)) == []


def test_the_embeddings_model_is_noted_for_the_builds_own(stores: Stores) -> None:
    document = waiting(stores, status=DocumentStatus.READY, build="b2")
    assert not stores.documents.set_embeddings_model(document.id, "b1", "m")
    assert not stores.documents.set_embeddings_model(new_id(), "b2", "m")
    assert stores.documents.get(document.id) == document
    assert stores.documents.set_embeddings_model(document.id, "b2", "m")
    assert stores.documents.set_embeddings_model(document.id, "b2", "m")
    assert stores.documents.get(document.id) == replace(document, embeddings_model="m")
    assert stores.documents.set_embeddings_model(document.id, "b2", "m", 3)
    assert stores.documents.get(document.id) == replace(document, embeddings_model="m", passages_without_vector=3)
