"""Documents as a use case, on both stores and a real folder: whole or not at all, whatever comes between."""

import os
from pathlib import Path

import pytest

from models.documents import Document, DocumentStatus, DocumentType, Drift
from models.errors import Conflict, Invalid, NotFound, OrquestraError, TooLarge, Unavailable, UnsupportedFormat
from tests.contract.document_stores import Place, content_of
from tests.contract.house import ADMIN, DYING, PAGE, VERSIONS, Breaking, Crash, FreeLocks, House, Interrupted, Server
from tests.contract.stores import Stores

OLD = b"# Deadline\n\nThe deadline is ten days.\n"
NEW = b"# Deadline\n\nThe deadline is twenty days.\n"
BROKEN = b"%PDF-1.7\nthe deadline of a file that is no PDF"


@pytest.fixture
def house(stores: Stores, place: Place, tmp_path: Path) -> House:
    """Give a house on each store and each place for the bytes."""
    return House(stores, tmp_path, place)


def quoted(content: bytes) -> list[str]:
    """Return what a search quotes of a document with this content."""
    return [content.decode().strip()]


def index_of(house: House, server: Server, content: bytes) -> Document:
    """Upload with a server whose jobs wait, and return the record."""
    server.jobs.held = True
    return house.upload(server, content)


def test_an_upload_is_ready_and_a_replacement_keeps_the_document(house: House) -> None:
    first = house.add(OLD)
    assert (first.status, first.progress, first.passages, first.attempts) == (DocumentStatus.READY, 1.0, 1, 1)
    second = house.add(NEW)
    assert (second.id, second.created_at) == (first.id, first.created_at)
    assert second.revision != first.revision and second.build != first.build
    state = house.state()
    assert (state.quoted, state.contents, state.files) == (quoted(NEW), [NEW.decode()], ["a.md"])
    assert state.passages == 1
    assert state.kept == 3, "two contents and one text"


def test_the_text_that_answers_quote_is_kept(house: House) -> None:
    document = house.add(OLD)
    _, stream = house.main.documents.open_text(ADMIN, document.id)
    with stream:
        text = stream.read().decode()
    (found,) = house.main.documents.search(ADMIN, house.assistant.id, "deadline", 10)
    assert text[found.passage.start : found.passage.end] == found.passage.text


def test_until_it_is_indexed_a_document_is_stored_and_the_old_content_answers(house: House) -> None:
    house.add(OLD)
    server = house.server(at_once=0)
    waiting = index_of(house, server, NEW)
    assert (waiting.status, waiting.progress) == (DocumentStatus.STORED, 0.0)
    assert (waiting.size, house.quoted()) == (len(NEW), quoted(OLD))
    server.indexing.index(waiting.id)
    assert house.quoted() == quoted(NEW)
    server.indexing.index(waiting.id)  # a job may come twice
    assert house.state().passages == 1


UPLOAD_STEPS = [
    ("files", "stage", False, OLD),
    ("files", "stage", True, OLD),
    ("documents", "replace", False, OLD),
    ("documents", "replace", True, NEW),
    ("files", "publish", False, NEW),
    ("files", "publish", True, NEW),
]


@pytest.mark.parametrize(("port", "method", "after", "expected"), UPLOAD_STEPS)
def test_an_upload_that_a_crash_cuts_off_is_finished_or_undone(
    house: House, port: str, method: str, after: bool, expected: bytes
) -> None:
    house.add(OLD)
    dying = house.server({port: Breaking(house.real(port), method, Crash(), after=after)}, lease=DYING)
    with pytest.raises(Crash):
        house.upload(dying, NEW)
    assert house.quoted() == quoted(OLD)
    house.recover()
    state = house.state()
    assert (state.quoted, state.contents, state.files) == (quoted(expected), [expected.decode()], ["a.md"])
    assert state.passages == 1
    house.add(NEW)  # and it can be replaced again
    assert house.state().contents == [NEW.decode()]


JOB_STEPS = [
    ("documents", "claim", True, OLD),
    ("files", "publish", True, OLD),
    ("parser", "parse", False, OLD),
    ("files", "stage", True, OLD),
    ("passages", "add", False, OLD),
    ("passages", "add", True, OLD),
    ("assistants", "bump_index_version", False, OLD),
    ("assistants", "bump_index_version", True, NEW),
    ("index", "refresh", False, NEW),
    ("index", "refresh", True, NEW),
    ("passages", "delete_of_document", False, NEW),
    ("files", "discard", False, NEW),
]


@pytest.mark.parametrize(("port", "method", "after", "meanwhile"), JOB_STEPS)
def test_a_job_that_a_crash_cuts_off_is_done_by_the_next(
    house: House, port: str, method: str, after: bool, meanwhile: bytes
) -> None:
    house.add(OLD)
    waiting = index_of(house, house.server(at_once=0), NEW)
    dying = house.server({port: Breaking(house.real(port), method, Crash(), after=after)}, lease=DYING)
    with pytest.raises(Crash):
        dying.indexing.index(waiting.id)
    assert house.quoted() == quoted(meanwhile)
    house.recover()
    (document,) = house.documents()
    assert (document.status, document.lease_owner, document.error) == (DocumentStatus.READY, None, None)
    state = house.state()
    assert (state.quoted, state.contents) == (quoted(NEW), [NEW.decode()])
    assert state.passages == 1, "each passage once"


@pytest.mark.parametrize(("port", "method"), [("documents", "replace"), ("files", "stage")])
def test_an_upload_that_a_store_refuses_changes_nothing(house: House, port: str, method: str) -> None:
    house.add(OLD)
    before = house.state()
    failing = house.server({port: Breaking(house.real(port), method, Unavailable("The disk is full."))})
    with pytest.raises(Unavailable):
        house.upload(failing, NEW)
    assert house.state() == before


def test_an_unreadable_file_leaves_nothing(house: House) -> None:
    with pytest.raises(Invalid) as refused:
        house.add(BROKEN, "a.pdf")
    assert refused.value.code == "unreadable_document"
    state = house.state()
    assert (house.documents(), state.files, state.kept, state.passages) == ([], [], 0, 0)


def test_an_unreadable_replacement_leaves_the_old_one(house: House) -> None:
    first = house.add(OLD)
    before = house.state()
    house.parser.happens.append(lambda: _raise(Invalid("Broken inside.", code="unreadable_document")))
    with pytest.raises(Invalid):
        house.add(NEW)
    assert house.state() == before
    (document,) = house.documents()
    assert (document.revision, document.status, document.versions) == (first.revision, first.status, first.versions)


def test_what_proves_unreadable_later_is_failed_and_the_old_content_answers(house: House) -> None:
    house.add(OLD)
    server = house.server(at_once=0)
    waiting = index_of(house, server, NEW)
    house.parser.happens.append(lambda: _raise(Invalid("Broken inside. Save it again.", code="unreadable_document")))
    server.indexing.index(waiting.id)
    (document,) = house.documents()
    assert (document.status, document.error) == (DocumentStatus.FAILED, "Broken inside. Save it again.")
    assert document.error_code == "unreadable_document"
    assert house.quoted() == quoted(OLD)
    assert house.main.documents.reindex(ADMIN, document.id).status is DocumentStatus.READY
    assert house.quoted() == quoted(NEW)


def _raise(error: Exception) -> None:
    raise error


def test_a_store_that_fails_is_tried_again_and_in_the_end_the_document_fails(house: House) -> None:
    server = house.server(
        {"passages": Breaking(house.real("passages"), "add", Unavailable("The disk is full."))}, at_once=0
    )
    waiting = index_of(house, server, OLD)
    attempts = []
    for _ in range(20):
        server.indexing.index(waiting.id)
        (document,) = house.documents()
        attempts.append((document.attempts, document.status, document.error))
    assert attempts[0] == (1, DocumentStatus.STORED, "The disk is full.")
    assert document.lease_until is None and document.status is DocumentStatus.FAILED
    assert document.error_code == "indexing_failed" and document.attempts == attempts[-2][0]
    assert house.state().passages == 0


def test_a_failed_attempt_waits_longer_each_time(house: House) -> None:
    server = house.server(
        {"passages": Breaking(house.real("passages"), "add", Unavailable("The disk is full."))}, at_once=0
    )
    waiting = index_of(house, server, OLD)
    pauses = []
    for _ in range(3):
        server.indexing.index(waiting.id)
        (document,) = house.documents()
        assert document.lease_until is not None
        pauses.append((document.lease_until - document.updated_at).total_seconds())
    assert [round(pause) for pause in pauses] == [5, 10, 20]


def test_the_sweeper_asks_again_for_what_nobody_works_on(house: House) -> None:
    server = house.server(at_once=0)
    waiting = index_of(house, server, OLD)
    server.jobs.waiting.clear()  # the queue lost it
    server.indexing.sweep()
    assert server.jobs.waiting == [], "it may still wait its turn in the queue"
    (document,) = house.documents()
    assert house.stores.documents.requeue(document, document.created_at)
    server.indexing.sweep()
    server.indexing.sweep()
    assert server.jobs.waiting == [waiting.id], "once, however many sweep"


def test_a_queue_that_cannot_be_reached_does_not_fail_the_upload(house: House) -> None:
    server = house.server(at_once=0)

    def unreachable(_document_id: str) -> None:
        raise Unavailable("Redis does not answer.")

    server.jobs.handler = unreachable
    assert house.upload(server, OLD).status is DocumentStatus.STORED


def test_an_upload_during_the_indexing_of_another_stands(house: House) -> None:
    server = house.server(at_once=0)
    waiting = index_of(house, server, OLD)
    house.parser.happens.append(lambda: house.add(NEW))
    server.indexing.index(waiting.id)
    state = house.state()
    assert (state.quoted, state.contents, state.passages) == (quoted(NEW), [NEW.decode()], 1)
    assert state.kept == 3, "two contents and one text"


def test_a_deletion_during_the_indexing_stands(house: House) -> None:
    server = house.server(at_once=0)
    waiting = index_of(house, server, OLD)
    house.parser.happens.append(lambda: house.main.documents.delete(ADMIN, waiting.id))
    server.indexing.index(waiting.id)
    state = house.state()
    assert (house.documents(), state.quoted, state.files, state.kept) == ([], [], [], 0)
    assert house.stores.passages.of_document(house.assistant.id, waiting.id, waiting.build) == []


def test_a_second_worker_leaves_a_document_alone_that_is_worked_on(house: House) -> None:
    server = house.server(at_once=0)
    waiting = index_of(house, server, OLD)
    house.parser.happens.append(lambda: house.main.indexing.index(waiting.id))
    server.indexing.index(waiting.id)
    assert house.parser.parsed == 1
    assert house.state().passages == 1


def test_a_worker_that_lost_its_lease_changes_nothing(house: House) -> None:
    server = house.server(at_once=0)
    waiting = index_of(house, server, OLD)

    def taken_over() -> None:
        (document,) = house.documents()
        assert house.stores.documents.requeue(document, document.created_at)
        house.main.indexing.index(waiting.id)

    house.parser.happens.append(taken_over)
    server.indexing.index(waiting.id)
    (document,) = house.documents()
    assert (document.status, document.attempts) == (DocumentStatus.READY, 2)
    assert house.state().passages == 1
    assert house.state().kept == 2


@pytest.mark.parametrize("method", ["add", "delete_of_document"])
def test_a_slow_worker_leaves_the_passages_of_newer_content_alone(house: House, method: str) -> None:
    slow = house.server({"passages": Interrupted(house.real("passages"), method, lambda: house.add(NEW))}, at_once=0)
    waiting = index_of(house, slow, OLD)
    slow.indexing.index(waiting.id)
    state = house.state()
    assert (state.quoted, state.passages, state.kept) == (quoted(NEW), 1, 3)


def test_a_deletion_that_is_cut_off_is_out_of_answers_and_can_be_repeated(house: House) -> None:
    document = house.add(OLD)
    dying = house.server({"passages": Breaking(house.real("passages"), "delete_of_document", Crash())})
    with pytest.raises(Crash):
        dying.documents.delete(ADMIN, document.id)
    assert house.quoted() == []
    left = house.main.documents.get(ADMIN, document.id)
    assert left.status is DocumentStatus.FAILED and left.error
    house.main.documents.delete(ADMIN, document.id)
    state = house.state()
    assert (house.documents(), state.files, state.kept) == ([], [], 0)
    with pytest.raises(NotFound):
        house.main.documents.delete(ADMIN, document.id)


def test_an_upload_into_an_assistant_that_is_deleted_meanwhile_leaves_nothing(house: House) -> None:
    house.parser.happens.append(lambda: house.stores.assistants.delete(house.assistant.id))
    with pytest.raises(NotFound):
        house.add(OLD)
    assert house.stores.documents.list([house.assistant.id], None, PAGE).items == []
    assert house.place.everything() == []


def test_the_index_of_an_assistant_that_another_server_deleted_is_forgotten(house: House) -> None:
    house.add(OLD)
    index = house.real("index")
    assert list(index.held()) == [house.assistant.id]
    house.main.shelf.recover()
    assert list(index.held()) == [house.assistant.id]
    house.stores.assistants.delete(house.assistant.id)
    house.main.shelf.recover()
    assert list(index.held()) == []


def test_without_the_lock_nothing_is_changed(house: House) -> None:
    document = house.add(OLD)
    before = house.state()
    unlocked = house.server({"locks": FreeLocks(free=False)}).documents
    for change in (
        lambda: unlocked.add(ADMIN, house.assistant.id, DocumentType.RAG, "a.md", NEW),
        lambda: unlocked.delete(ADMIN, document.id),
        lambda: unlocked.reindex(ADMIN, document.id),
    ):
        with pytest.raises(OrquestraError) as refused:
            change()
        assert refused.value.code == "documents_busy"
    assert house.state() == before


def drift_of(house: House) -> Drift | None:
    """Return how the only document's file differs."""
    (document,) = house.main.documents.list(ADMIN, house.assistant.id, None, PAGE).items
    return document.drift


def test_a_file_that_was_changed_by_hand_is_shown_and_not_taken_for_the_uploaded_one(house: House) -> None:
    document = house.add(OLD)
    assert drift_of(house) is None
    house.place.take(document.filepath)
    assert drift_of(house) is Drift.MISSING
    house.place.put(document.filepath, NEW)
    assert drift_of(house) is Drift.CHANGED
    with pytest.raises(Conflict) as refused:
        house.main.documents.reindex(ADMIN, document.id)
    assert refused.value.code == "file_changed"
    assert house.quoted() == quoted(OLD)
    restored = house.main.documents.restore(ADMIN, document.id, document.revision)
    assert (restored.status, drift_of(house)) == (DocumentStatus.READY, None)
    assert content_of(house.place.files, document.filepath) == OLD


def test_a_file_that_was_only_touched_has_not_drifted(stores: Stores, tmp_path: Path) -> None:
    house = House(stores, tmp_path)
    document = house.add(OLD)
    file = tmp_path / "documents" / document.filepath
    file.unlink()
    file.write_bytes(OLD)
    os.utime(file, (2_000_000_000, 2_000_000_000))
    assert drift_of(house) is None
    file.write_bytes(OLD.replace(b"ten", b"six"))
    os.utime(file, (2_000_000_001, 2_000_000_001))
    assert drift_of(house) is Drift.CHANGED


def test_a_missing_file_is_put_back_by_indexing_it_again(house: House) -> None:
    document = house.add(OLD)
    house.place.take(document.filepath)
    assert house.main.documents.reindex(ADMIN, document.id).status is DocumentStatus.READY
    assert drift_of(house) is None


def test_versions_are_kept_restorable_and_bounded(house: House) -> None:
    texts = [f"The deadline is {number} days.".encode() for number in range(5)]
    for text in texts:
        document = house.add(text)
    assert [version.size for version in document.versions] == [len(text) for text in texts[: -VERSIONS - 1 : -1]]
    assert house.state().kept == VERSIONS + 1
    oldest = document.versions[-1]
    restored = house.main.documents.restore(ADMIN, document.id, oldest.revision)
    assert (restored.sha256, restored.versions[0].revision) == (oldest.sha256, restored.revision)
    assert house.quoted() == quoted(texts[2])
    with pytest.raises(NotFound):
        house.main.documents.restore(ADMIN, document.id, oldest.revision)  # it was the oldest: gone


def test_a_prompt_is_bounded_checked_and_kept_out_of_search(house: House) -> None:
    prompt = house.add(b"Mind the deadline, {{ username }}.", "anything.txt", DocumentType.PROMPT)
    assert (prompt.filename, prompt.passages, prompt.status) == ("prompt.txt", 1, DocumentStatus.READY)
    assert house.quoted() == []
    for wrong, error in (
        (b"x" * 100_001, TooLarge),
        (b"Hello {{ nobody }}", Invalid),
        (b"Hello {{ username", Invalid),
        (b"  \n", Invalid),
    ):
        with pytest.raises(error):
            house.add(wrong, "prompt.txt", DocumentType.PROMPT)
    with pytest.raises(UnsupportedFormat):
        house.add(b"x", "prompt.pdf", DocumentType.PROMPT)
    assert house.state().contents == ["Mind the deadline, {{ username }}."]


def test_prompts_have_versions_too(house: House) -> None:
    first = house.add(b"One.", "prompt.txt", DocumentType.PROMPT)
    second = house.add(b"Two.", "prompt.txt", DocumentType.PROMPT)
    assert second.id == first.id
    back = house.main.documents.restore(ADMIN, first.id, first.revision)
    (piece,) = house.stores.passages.of_document(house.assistant.id, back.id, back.build)
    assert piece.text == "One."
    assert [version.size for version in back.versions] == [4, 4, 4]
    assert house.state().kept == VERSIONS + 1
    assert house.main.documents.reindex(ADMIN, first.id).status is DocumentStatus.READY
