"""What documents must survive: faults between any two steps, servers whose clocks differ, many requests at once."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore
from typing import Any

import pytest

from models.clock import now
from models.documents import Document, DocumentStatus, DocumentType, Passage
from models.errors import Invalid, Unavailable
from services.documents import DocumentService
from services.leases import LeaseKeeper
from services.upkeep import Upkeep
from tests.contract.document_stores import Place
from tests.contract.house import ADMIN, DYING, PAGE, VERSIONS, Breaking, Crash, House, Interrupted, Server
from tests.contract.stores import Stores, make_assistant

OLD = b"# Deadline\n\nThe deadline is ten days.\n"
NEW = b"# Deadline\n\nThe deadline is twenty days.\n"
GONE = Unavailable("The store is gone.")


@pytest.fixture
def house(stores: Stores, place: Place, tmp_path: Path) -> House:
    """Give a house on each store and each place for the bytes."""
    return House(stores, tmp_path, place)


class Recording:
    """Stand before the passages and remember the document and the build of what was to be added."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.added: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def add(self, passages: Sequence[Passage]) -> None:
        """Add them."""
        self.added += {(passage.document_id, passage.revision) for passage in passages}
        self._port.add(passages)


def pieces_of(house: House, document: Document) -> list[str]:
    """Return the texts of the passages that answer."""
    found = house.stores.passages.of_document(house.assistant.id, document.id, document.build)
    return [passage.text for passage in found]


@pytest.mark.parametrize(("port", "method"), [("files", "publish"), ("documents", "replace")])
def test_a_prompt_answers_whatever_fails_after_its_switch(house: House, port: str, method: str) -> None:
    house.add(b"One.", "prompt.txt", DocumentType.PROMPT)
    failing = house.server({port: Breaking(house.real(port), method, GONE, after=True)})
    with pytest.raises(Unavailable):
        failing.documents.add(ADMIN, house.assistant.id, DocumentType.PROMPT, "prompt.txt", b"Two.")
    (document,) = house.documents()
    assert pieces_of(house, document) == ["Two."]
    _, stream = house.main.documents.open(ADMIN, document.id)
    with stream:
        assert stream.read() == b"Two."


@pytest.mark.parametrize(("port", "method"), [("files", "stage"), ("documents", "add"), ("documents", "find")])
def test_prompts_that_a_store_refuses_leave_no_passages(house: House, port: str, method: str) -> None:
    passages = Recording(house.stores.passages)
    failing = house.server({port: Breaking(house.real(port), method, GONE), "passages": passages})
    for _ in range(3):
        with pytest.raises(Unavailable):
            failing.documents.add(ADMIN, house.assistant.id, DocumentType.PROMPT, "prompt.txt", b"One.")
    left = [house.stores.passages.of_document(house.assistant.id, *one) for one in passages.added]
    assert not any(left)
    assert not list(house.place.files.kept())


def test_an_upload_whose_switch_was_made_but_not_confirmed_keeps_its_bytes(house: House) -> None:
    house.add(OLD)
    failing = house.server({"documents": Breaking(house.real("documents"), "replace", GONE, after=True)})
    with pytest.raises(Unavailable):
        house.upload(failing, NEW)
    house.recover()
    (document,) = house.documents()
    assert (document.status, document.error) == (DocumentStatus.READY, None)
    assert house.quoted() == [NEW.decode().strip()]


def test_passages_of_a_server_whose_clock_is_ahead_are_dropped_all_the_same(house: House) -> None:
    first = house.add(OLD)
    ahead = f"{int(first.build[:8], 16) + 2:08x}{first.build[8:]}"
    (passage,) = house.stores.passages.of_document(house.assistant.id, first.id, first.build)
    house.stores.passages.add([replace(passage, id=ahead, revision=ahead)])
    assert house.stores.documents.replace(replace(first, build=ahead), first)
    second = house.add(NEW)
    assert pieces_of(house, second) and not house.stores.passages.of_document(house.assistant.id, first.id, ahead)


def test_a_deletion_that_outlives_its_lock_leaves_an_upload_of_the_name_alone(house: House) -> None:
    first = house.add(OLD)
    slow = house.server({"passages": Interrupted(house.real("passages"), "delete_of_document", lambda: house.add(NEW))})
    slow.documents.delete(ADMIN, first.id)
    (document,) = house.documents()
    assert document.status is DocumentStatus.READY and house.state().contents == [NEW.decode()]
    assert pieces_of(house, document) == [NEW.decode().strip()]


def test_only_so_many_uploads_wait_for_their_outcome(house: House) -> None:
    server = house.server()
    server.jobs.held = True
    documents = DocumentService(server.shelf, server.indexing, house.parser, 2**20, at_once_seconds=60, most_waiting=1)
    answered: SimpleQueue[Document] = SimpleQueue()

    def upload(name: str) -> None:
        answered.put(documents.add(ADMIN, house.assistant.id, DocumentType.RAG, name, OLD))

    threads = [threading.Thread(target=upload, args=(f"{number}.md",), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    at_once = [answered.get(timeout=30).status for _ in range(2)]
    assert at_once == [DocumentStatus.STORED, DocumentStatus.STORED]
    assert answered.empty(), "one waits"
    for document in house.documents():
        server.indexing.index(document.id)
    assert answered.get(timeout=30).status is DocumentStatus.READY


def test_who_asks_to_wait_does(house: House) -> None:
    server = house.server()
    server.jobs.held = True
    documents = DocumentService(server.shelf, server.indexing, house.parser, 2**20, at_once_seconds=0, most_waiting=1)
    answered: SimpleQueue[Document] = SimpleQueue()

    def upload(name: str) -> None:
        answered.put(documents.add(ADMIN, house.assistant.id, DocumentType.RAG, name, OLD, wait=True))

    threads = [threading.Thread(target=upload, args=(f"{number}.md",), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in threads:
        server.indexing.index(wait_for_job(server))
    assert {answered.get(timeout=30).status for _ in threads} == {DocumentStatus.READY}


def wait_for_job(server: Server) -> str:
    """Return the argument of a job as soon as there is one."""
    until = time.monotonic() + 30
    while not server.jobs.waiting:
        assert time.monotonic() < until
        time.sleep(0.01)
    return server.jobs.waiting.pop(0)


def test_the_same_bytes_again_are_no_version_of_their_own(house: House) -> None:
    house.add(OLD)
    for _ in range(2 * VERSIONS):
        document = house.add(NEW)
    assert [version.size for version in document.versions] == [len(NEW), len(OLD)]
    assert house.state().kept == 3, "two contents and one text"


def test_prompts_keep_no_more_versions_than_other_documents(house: House) -> None:
    for number in range(3 * VERSIONS):
        document = house.add(f"Number {number}.".encode(), "prompt.txt", DocumentType.PROMPT)
    assert len(document.versions) == VERSIONS
    assert len(list(house.place.files.kept())) == VERSIONS + 1


def refuse(house: House, content: bytes) -> None:
    """Have an upload refused because of what is in it."""

    def give_up() -> None:
        raise Invalid("Broken inside.", code="unreadable_document")

    house.parser.happens.append(give_up)
    with pytest.raises(Invalid):
        house.add(content)


def test_a_refused_replacement_gives_way_to_the_content_that_was_being_indexed(house: House) -> None:
    server = house.server(at_once=0)
    server.jobs.held = True
    waiting = house.upload(server, OLD)
    house.stores.documents.claim(waiting.id, "somebody", now() + timedelta(hours=1), now())
    refuse(house, NEW)
    server.jobs.waiting.clear()
    server.indexing.sweep()
    assert server.jobs.waiting == [waiting.id]
    server.indexing.index(waiting.id)
    assert house.quoted() == [OLD.decode().strip()]
    assert house.state().contents == [OLD.decode()]


def test_one_assistants_many_files_do_not_hold_up_another(house: House) -> None:
    server = house.server(at_once=0)
    server.jobs.held = True
    for number in range(20):
        house.upload(server, OLD, f"{number}.md")
    other = make_assistant()
    house.stores.assistants.add(other)
    for name in ("x.md", "y.md"):
        late = server.documents.add(ADMIN, other.id, DocumentType.RAG, name, NEW)
    for document_id in server.jobs.waiting[:4]:
        server.indexing.index(document_id)
    assert server.documents.get(ADMIN, late.id).status is DocumentStatus.READY
    for document_id in server.jobs.waiting[4:]:
        server.indexing.index(document_id)
    found = [server.documents.list(ADMIN, owner.id, None, PAGE) for owner in (house.assistant, other)]
    statuses = {one.status for listing in found for one in listing.items}
    assert statuses == {DocumentStatus.READY}, "as many jobs as documents are enough for all"


def test_a_job_whose_document_another_one_took_takes_that_ones(house: House) -> None:
    server = house.server(at_once=0)
    server.jobs.held = True
    first, second = house.upload(server, OLD, "a.md"), house.upload(server, OLD, "b.md")
    house.parser.happens.append(lambda: server.indexing.index(first.id))  # while the other job is at this document
    server.indexing.index(second.id)
    assert {server.documents.get(ADMIN, one.id).status for one in (first, second)} == {DocumentStatus.READY}


def test_what_waits_for_a_worker_is_not_asked_for_without_end(house: House) -> None:
    server = house.server(at_once=0)
    server.jobs.held = True
    waiting = house.upload(server, OLD)
    for _ in range(1000):
        current = house.stores.documents.get(waiting.id)
        assert current is not None
        house.stores.documents.requeue(current, now())  # the time is up at which it is asked for again
        server.indexing.sweep()
    assert server.jobs.waiting == [waiting.id] * 100
    server.jobs.waiting.clear()
    server.indexing.sweep()
    assert server.jobs.waiting == [waiting.id], "its job is lost"


def test_a_refused_replacement_that_answers_already_is_undone_by_another_indexing(house: House) -> None:
    house.add(OLD)
    dying = house.server({"assistants": Breaking(house.real("assistants"), "bump_index_version", Crash())}, lease=DYING)
    waiting = house.server(at_once=0)
    waiting.jobs.held = True
    replaced = house.upload(waiting, NEW)
    with pytest.raises(Crash):
        dying.indexing.index(replaced.id)
    before = replace(
        replaced,
        status=DocumentStatus.READY,
        revision=replaced.versions[1].revision,
        sha256=replaced.versions[1].sha256,
        size=replaced.versions[1].size,
        versions=replaced.versions[1:],
    )
    again = house.main.shelf.take_back(replaced, before)
    assert again is not None and again.status is DocumentStatus.STORED
    house.main.indexing.index(replaced.id)
    assert (house.quoted(), house.state().passages) == ([OLD.decode().strip()], 1)


def test_a_refused_replacement_keeps_what_was_noted_of_the_build_meanwhile(house: House) -> None:
    first = house.add(OLD)

    def embed_then_give_up() -> None:
        house.stores.documents.set_embeddings_model(first.id, first.build, "m", 2)
        raise Invalid("Broken inside.", code="unreadable_document")

    house.parser.happens.append(embed_then_give_up)
    with pytest.raises(Invalid):
        house.add(NEW)
    (document,) = house.documents()
    assert (document.revision, document.embeddings_model) == (first.revision, "m")
    assert document.passages_without_vector == 2


def test_attempts_that_died_leave_no_passages_when_the_document_is_given_up(house: House) -> None:
    first = house.add(OLD)
    server = house.server(at_once=0)
    server.jobs.held = True
    waiting = house.upload(server, NEW)
    passages = Recording(Breaking(house.real("passages"), "add", Crash(), after=True))
    dying = house.server({"passages": passages}, lease=0.0)
    for _ in range(8):
        with pytest.raises(Crash):
            dying.indexing.index(waiting.id)
    dying.indexing.index(waiting.id)
    (document,) = house.documents()
    assert (document.status, document.error_code, document.build) == (
        DocumentStatus.FAILED,
        "indexing_failed",
        first.build,
    )
    left = [house.stores.passages.of_document(house.assistant.id, *one) for one in passages.added]
    assert len(passages.added) == 8 and not any(left)
    assert house.quoted() == [OLD.decode().strip()]


def test_a_fault_of_ours_ends_neither_upkeep_nor_the_renewal_of_leases() -> None:
    turns, renewals = Semaphore(0), Semaphore(0)

    def fail(ticks: Semaphore) -> None:
        ticks.release()
        raise RuntimeError

    keeper, upkeep = LeaseKeeper(0.03), Upkeep(lambda: fail(turns), 0.01)
    with keeper.keep(lambda until: fail(renewals)):
        assert all(ticks.acquire(timeout=30) for ticks in (turns, turns, renewals, renewals))
    upkeep.close()
    keeper.close()


def test_recovery_goes_on_behind_a_name_that_no_store_can_hold(stores: Stores, tmp_path: Path) -> None:
    house = House(stores, tmp_path)
    versions = tmp_path / "documents" / house.assistant.id / ".versions"
    for revision, name in ((b"a", b"\xff.md"), (b"b", b"b.md")):
        folder = bytes(versions) + b"/" + revision + b"/knowledge"
        os.makedirs(folder)
        with open(folder + b"/" + name, "wb") as file:
            file.write(OLD)
        os.utime(folder + b"/" + name, (0, 0))
    house.main.shelf.recover()
    assert [one.revision for one in house.place.files.kept()] == []
    assert (versions / "a" / "knowledge").exists(), "it was put there by hand, and stays"


def test_a_job_whose_document_is_worked_on_serves_another_one(house: House) -> None:
    server = house.server(at_once=0)
    server.jobs.held = True
    other = make_assistant()
    house.stores.assistants.add(other)
    for name in ("1.md", "2.md"):
        house.upload(server, OLD, name)
    last = server.documents.add(ADMIN, other.id, DocumentType.RAG, "x.md", NEW)
    first_job, second_job, third_job = server.jobs.waiting

    def third_job_runs() -> None:
        current = house.stores.documents.get(last.id)
        assert current is not None
        assert current.lease_owner, "the second job took it: it was the other assistant's turn"
        server.indexing.index(third_job)

    server.indexing.index(first_job)
    house.parser.happens.append(third_job_runs)
    server.indexing.index(second_job)
    found = [server.documents.list(ADMIN, owner.id, None, PAGE) for owner in (house.assistant, other)]
    assert {one.status for listing in found for one in listing.items} == {DocumentStatus.READY}


def test_a_job_that_somebody_is_quicker_than_serves_another_document(house: House) -> None:
    main = house.server(at_once=0)
    main.jobs.held = True
    for name in ("1.md", "2.md", "3.md"):
        house.upload(main, OLD, name)
    first, second, _ = main.jobs.waiting
    main.indexing.index(first)
    quicker = Interrupted(house.real("documents"), "claim", lambda: main.indexing.index(second))
    house.server({"documents": quicker}).indexing.index(first)
    assert {document.status for document in house.documents()} == {DocumentStatus.READY}
