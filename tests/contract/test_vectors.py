"""What every `VectorRepository` does."""

import numpy

from models.ids import new_id
from tests.contract.stores import Stores, at_once


def vectors(count: int, start: int = 0) -> dict[str, bytes]:
    """Return vectors by digests, every byte value among them."""
    every_byte = numpy.arange(256, dtype="u1").tobytes()
    return {f"{number:064x}": numpy.float32(number).tobytes() + every_byte for number in range(start, start + count)}


def test_vectors_come_back_by_model(stores: Stores) -> None:
    assistant_id, document_id = new_id(), new_id()
    one, two = vectors(3), vectors(3, 2)
    stores.vectors.add(assistant_id, document_id, "one", one)
    stores.vectors.add(assistant_id, document_id, "two", two)
    found = stores.vectors.of_document(assistant_id, document_id, "one")
    assert found == one
    assert all(type(vector) is bytes for vector in found.values())
    assert stores.vectors.of_document(assistant_id, document_id, "two") == two
    assert stores.vectors.of_document(assistant_id, document_id, "three") == {}
    assert stores.vectors.of_document(assistant_id, new_id(), "one") == {}
    assert stores.vectors.of_document(new_id(), document_id, "one") == {}


def test_vectors_that_are_there_already_are_no_error(stores: Stores) -> None:
    assistant_id, document_id = new_id(), new_id()
    stores.vectors.add(assistant_id, document_id, "m", {})
    stores.vectors.add(assistant_id, document_id, "m", vectors(3))
    stores.vectors.add(assistant_id, document_id, "m", vectors(1202, 1))
    assert stores.vectors.of_document(assistant_id, document_id, "m") == vectors(1203)
    at_once(8, lambda number: stores.vectors.add(assistant_id, document_id, "m", vectors(300, 1100 + number)))
    assert stores.vectors.of_document(assistant_id, document_id, "m") == vectors(1407)


def test_only_what_is_kept_stays(stores: Stores) -> None:
    assistant_id, document_id, other_id = new_id(), new_id(), new_id()
    stores.vectors.add(assistant_id, document_id, "old", vectors(3))
    stores.vectors.add(assistant_id, document_id, "m", vectors(1203))
    stores.vectors.add(assistant_id, other_id, "m", vectors(3))
    stores.vectors.keep(assistant_id, document_id, "m", [*vectors(600), "absent"])
    assert stores.vectors.of_document(assistant_id, document_id, "m") == vectors(600)
    assert stores.vectors.of_document(assistant_id, document_id, "old") == {}
    assert stores.vectors.of_document(assistant_id, other_id, "m") == vectors(3)
    stores.vectors.keep(assistant_id, document_id, "m", ())
    assert stores.vectors.of_document(assistant_id, document_id, "m") == {}


def test_some_vectors_of_a_document_are_deleted(stores: Stores) -> None:
    assistant_id, document_id, other_id = new_id(), new_id(), new_id()
    for place in ((assistant_id, document_id, "m"), (assistant_id, document_id, "n"), (assistant_id, other_id, "m")):
        stores.vectors.add(*place, vectors(1203))
    stores.vectors.delete(assistant_id, document_id, "m", [*vectors(600), "absent"])
    stores.vectors.delete(assistant_id, document_id, "n", ())
    assert stores.vectors.of_document(assistant_id, document_id, "m") == vectors(603, 600)
    assert stores.vectors.of_document(assistant_id, document_id, "n") == vectors(1203)
    assert stores.vectors.of_document(assistant_id, other_id, "m") == vectors(1203)
    again = {digest: bytes(4) for digest in vectors(1)}
    stores.vectors.add(assistant_id, document_id, "m", again)
    assert stores.vectors.of_document(assistant_id, document_id, "m") == {**vectors(603, 600), **again}


def test_vectors_are_deleted(stores: Stores) -> None:
    one, two, document_id, other_id = new_id(), new_id(), new_id(), new_id()
    for assistant_id, document in ((one, document_id), (one, other_id), (two, document_id)):
        stores.vectors.add(assistant_id, document, "m", vectors(502))
        stores.vectors.add(assistant_id, document, "n", vectors(2))
    stores.vectors.delete_of_document(one, document_id)
    assert stores.vectors.of_document(one, document_id, "m") == stores.vectors.of_document(one, document_id, "n") == {}
    assert len(stores.vectors.of_document(one, other_id, "m")) == 502
    stores.vectors.delete_of_assistant(one)
    assert stores.vectors.of_document(one, other_id, "m") == {}
    assert len(stores.vectors.of_document(two, document_id, "m")) == 502
    assert len(stores.vectors.of_document(two, document_id, "n")) == 2
