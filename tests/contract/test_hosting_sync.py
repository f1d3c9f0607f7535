"""What is at the provider follows our documents: registered first, swapped, removed when no answer can use it."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import pytest

from models.clock import now
from models.deadline import Deadline
from models.documents import DocumentStatus, DocumentType
from models.errors import NotFound, ProviderFailed
from models.hosting import SyncReport
from models.ids import new_id
from models.users import Principal, Role
from repositories.embedded_redis import EmbeddedRedis
from services.hosting.names import build_of, store_name, upload_name
from services.hosting.nudges import CHECK_ASSISTANT, SYNC_ASSISTANT
from tests.contract.hosting_world import ADMIN, Server, World, opened_world
from tests.contract.stores import at_once
from tests.emulators.provider import DROP, Asked, Fault, FaultRule, Moment, Status


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server for the module."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def world(tmp_path: Path, redis_url: str) -> Iterator[World]:
    """Give an assistant without documents."""
    with opened_world(tmp_path, redis_url) as world:
        yield world


def _on(operation: str, fault: Fault, moment: Moment = Moment.BEFORE, times: int = 1000) -> FaultRule:
    """Return a rule for so many requests of an operation."""
    left = [fault] * times

    def rule(at: Moment, asked: Asked) -> Fault | None:
        return left.pop() if left and at is moment and asked.operation.startswith(operation) else None

    return rule


def _down(world: World) -> None:
    """Let the provider refuse everything, at once."""
    world.openai.rule = _on("", Status(400))


def _up(world: World) -> None:
    world.openai.rule = lambda moment, asked: None


def _survey(world: World) -> SyncReport:
    return world.server().service.survey(ADMIN, world.assistant.id, _deadline())


def test_names_tell_the_assistant_and_the_build() -> None:
    assistant, build = new_id(), new_id()
    name = upload_name("férias.2026.pdf", assistant, build)
    assert name == f"férias.2026.{assistant}.{build}.md"
    assert build_of(name, assistant) == build
    assert build_of(name, new_id()) is None
    assert build_of("notes.md", assistant) is None
    assert len(upload_name("x" * 250 + ".pdf", assistant, build)) < 160


def test_a_document_is_hosted_before_it_is_ready(world: World) -> None:
    progress: list[float] = []
    documents = world.stores.documents
    world.openai.rule = lambda moment, asked: progress.extend(
        one.progress for one in [documents.find(world.assistant.id, DocumentType.RAG, "a.md")] if one and not one.build
    )
    assert world.add("Only text.").status is DocumentStatus.READY
    world.require_order("Only text.")
    assert progress
    assert 0.4 < min(progress) <= max(progress) <= 0.95


def test_a_prompt_and_documents_of_others_are_not_hosted(world: World) -> None:
    server = world.server()
    server.documents.add(ADMIN, world.assistant.id, DocumentType.PROMPT, "prompt.txt", b"Be kind.")
    server.run()
    world.use("openai_chat")
    world.add("For our own index.")
    assert world.openai.journal == []
    assert world.add("For our own index, again.").status is DocumentStatus.READY


def test_the_old_text_stays_as_long_as_answers_may_last(world: World) -> None:
    world.grace = 3600.0
    world.add("Old text.")
    server = world.server()
    server.documents.add(ADMIN, world.assistant.id, DocumentType.RAG, "a.md", b"New text.")
    server.indexing.index(server.queue.waiting.pop(0)[1])
    assert server.queue.waiting == [(SYNC_ASSISTANT, world.assistant.id)]
    assert server.queue.delays[-1] > 3600
    assert world.texts_there() == ["New text.", "Old text."]
    view = server.library.view(world.assistant.id)
    assert view.search is not None
    assert view.search.without == (1,)
    server.sync.sync(world.assistant.id)
    assert world.texts_there() == ["New text.", "Old text."]
    assert 3590 < server.queue.delays[-1] <= 3600  # it comes back when the old text may go
    world.grace = 0.0
    world.server().sync.sync(world.assistant.id)
    world.require_order("New text.")


def test_a_text_that_was_retired_is_not_used_again_but_brought_anew(world: World) -> None:
    world.add("Only text.")
    world.grace = 3600.0
    server = world.server()
    world.use("openai_chat")
    server.sync.sync(world.assistant.id)
    world.use("openai")
    assert server.library.view(world.assistant.id).search is None  # it may be removed while the answer lasts
    server.sync.sync(world.assistant.id)
    view = server.library.view(world.assistant.id)
    assert view.search is not None
    assert (view.search.last, view.search.without) == (2, (1,))
    assert world.texts_there() == ["Only text.", "Only text."]
    world.grace = 0.0
    world.server().sync.sync(world.assistant.id)
    world.require_order("Only text.")


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
def test_an_upload_whose_reply_is_lost_is_found_again(world: World, moment: Moment) -> None:
    world.openai.rule = _on("files.create", DROP, moment, times=1)
    world.add("Only text.")
    world.require_order("Only text.")
    assert sum(asked.executed for asked in world.openai.asked("files.create")) == 1


@pytest.mark.parametrize(
    "operation",
    [
        "files.create",
        "vector_stores.create",
        "vector_stores.list",
        "vector_stores.files.create",
        "vector_stores.files.retrieve",
    ],
)
def test_a_document_is_ready_though_the_provider_fails_and_is_hosted_later(world: World, operation: str) -> None:
    world.openai.rule = _on(operation, Status(400))
    server = world.server()
    added = server.documents.add(ADMIN, world.assistant.id, DocumentType.RAG, "a.md", b"Only text.")
    server.indexing.index(added.id)
    assert world.document(added.id).status is DocumentStatus.READY
    assert server.library.view(world.assistant.id).search is None
    with pytest.raises(ProviderFailed):  # the queue tries again
        server.sync.sync(world.assistant.id)
    _up(world)
    server.sync.sync(world.assistant.id)
    world.require_order("Only text.")


def test_after_a_failure_the_provider_is_left_alone_for_a_while(world: World) -> None:
    _down(world)
    server = world.server()
    for name in ("a.md", "b.md"):
        added = server.documents.add(ADMIN, world.assistant.id, DocumentType.RAG, name, b"Text.")
        server.indexing.index(added.id)
        asked = len(world.openai.journal)
    assert asked == len(world.openai.journal) > 0
    assert [asked.operation for asked in world.openai.journal].count("vector_stores.list") == 1


def test_what_the_provider_cannot_process_is_tried_again_by_a_check_only(world: World) -> None:
    world.openai.account.unreadable = lambda filename: filename.startswith("b.")
    world.add("Good text.")
    bad = world.add("Bad text.", "b.md")
    assert bad.status is DocumentStatus.READY
    server = world.server()
    assert server.library.view(world.assistant.id).search is None
    assert _survey(world).missing == ("b.md",)
    uploads = len(world.openai.asked("files.create"))
    server.sync.sync(world.assistant.id)
    assert len(world.openai.asked("files.create")) == uploads
    world.openai.account.unreadable = lambda filename: False
    server.sync.check(world.assistant.id)
    server.run()
    world.require_order("Good text.", "Bad text.")


def test_a_text_that_is_being_indexed_is_left_alone(world: World) -> None:
    world.add("Old text.")
    server = world.server()
    waiting = server.documents.add(ADMIN, world.assistant.id, DocumentType.RAG, "a.md", b"New text.")
    claimed = world.stores.documents.claim(waiting.id, "me", server.indexing._leases.end_of_lease(), waiting.updated_at)
    assert claimed is not None
    world.texts.stage(claimed.filepath, build := new_id(claimed.build), b"New text.")
    server.uploads.bring(claimed, build, _deadline())
    server.sync.check(world.assistant.id)
    assert world.texts_there() == ["New text.", "Old text."]
    world.stores.documents.change(waiting.id, waiting.revision, "me", {"lease_owner": None, "lease_until": None})
    server.sync.sync(world.assistant.id)  # the attempt has died
    server.sync.sync(world.assistant.id)
    world.require_order("Old text.")


def test_two_at_once_do_it_once(world: World) -> None:
    world.use("offline")
    for number in range(3):
        world.add(f"Text {number}.", f"{number}.md")
    world.use("openai")
    servers = [world.server() for _ in range(4)]
    threads = [Thread(target=_sync, args=(server, world.assistant.id)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.require_order(*(f"Text {number}." for number in range(3)))
    assert len(world.openai.asked("files.create")) == 3
    assert len(world.openai.asked("vector_stores.create")) == 1


def _sync(server: Server, assistant_id: str) -> None:
    """Do the job, again when it asks for that because another one is at it."""
    server.sync.sync(assistant_id)
    while server.queue.waiting:
        server.queue.waiting.clear()
        time.sleep(0.05)
        server.sync.sync(assistant_id)


def test_of_several_uploads_of_a_text_one_stays(world: World) -> None:
    world.use("offline")
    document = world.add("Only text.")
    world.use("openai")
    both = Barrier(2, timeout=30)

    def meet(moment: Moment, asked: Asked) -> Fault | None:
        if asked.operation == "files.create" and moment is Moment.BEFORE:
            both.wait()
        return None

    world.openai.rule = meet
    servers = [world.server() for _ in range(2)]
    at_once(2, lambda number: servers[number].uploads.bring(document, document.build, _deadline()))
    assert len(world.openai.asked("files.create")) == 2
    _up(world)
    world.server().sync.sync(world.assistant.id)
    world.require_order("Only text.")


def test_an_upload_that_nobody_noted_is_taken_for_the_file_that_waits_for_it(world: World) -> None:
    world.use("offline")
    document = world.add("Only text.")
    world.use("openai")
    world.registry.register(world.assistant.id, document.id, "a.md", document.build)
    name = upload_name("a.md", world.assistant.id, document.build)
    uploaded = world.openai.account.create_file(name, "assistants", b"Only text.")["id"]
    world.server().sync.check(world.assistant.id)
    assert [file.file_id for file in world.shelf().files] == [uploaded]
    world.require_order("Only text.")


def test_in_a_new_vector_store_nothing_counts_as_found(world: World) -> None:
    world.add("Only text.")
    world.registry.set_store(world.assistant.id, "")
    server = world.server()
    server.uploads.open_store(world.assistant.id, _deadline())
    assert not world.shelf().files[0].searchable
    server.run()
    world.server().sync.sync(world.assistant.id)
    world.require_order("Only text.")


def test_the_text_of_an_attempt_that_failed_goes(world: World) -> None:
    current = world.add("Only text.")
    world.grace = 3600.0
    world.texts.stage(current.filepath, build := new_id(current.build), b"Text of a failed attempt.")
    server = world.server()
    server.uploads.bring(current, build, _deadline())
    server.hosted.dropped(current, build)
    assert [file.retired_at is not None for file in world.shelf().files] == [False, True]
    assert server.queue.waiting == [(SYNC_ASSISTANT, world.assistant.id)]
    server.hosted.removed(current)
    assert all(file.retired_at is not None for file in world.shelf().files)


def test_what_was_removed_is_kept_out_of_searches_for_a_while(world: World) -> None:
    """A deletion may take effect late at the provider."""
    world.add("Only text.")
    world.registry.change(world.assistant.id, 1, {"retired_at": now()})
    world.linger = 3600.0
    server = world.server()
    server.sync.sync(world.assistant.id)
    old, new = world.shelf().files
    assert (old.removed, new.removed) == (True, False)
    assert set(world.openai.account.files) == {new.file_id}
    search = server.library.view(world.assistant.id).search
    assert search is not None and search.without == (old.number,)
    assert world.registry.note_upload(world.assistant.id, old.number, "file-late") == ""
    assert _survey(world).outdated == ()
    asked = len(world.openai.asked("files.delete"))
    server.sync.sync(world.assistant.id)
    assert len(world.openai.asked("files.delete")) == asked, "once is enough"
    world.registry.change(world.assistant.id, old.number, {"retired_at": now() - timedelta(hours=2)})
    server.sync.sync(world.assistant.id)
    assert world.shelf().files == (new,)


def test_strangers_go_before_a_number_is_given_that_one_of_them_has(world: World) -> None:
    """Redis has lost its last seconds: the provider holds a number that is going to be given again."""
    world.add("Known text.")
    shelf = world.shelf()
    account = world.openai.account
    stranger = account.create_file("b.md", "assistants", b"Forgotten.")["id"]
    account.attach(shelf.store_id, {"file_id": stranger, "attributes": {"number": 2, "document": new_id()}})
    foreign = account.create_file("manual.pdf", "assistants", b"Not ours.")["id"]
    account.attach(shelf.store_id, {"file_id": foreign})
    report = _survey(world)
    assert set(report.unregistered) == {stranger, foreign}
    world.server().sync.sync(world.assistant.id)
    assert set(account.store(shelf.store_id).files) == {world.shelf().files[0].file_id}
    assert stranger not in account.files
    assert foreign in account.files  # somebody put it there by hand: it is not ours to delete


def test_a_check_finds_what_has_our_name_and_leaves_what_others_have(world: World) -> None:
    world.add("Known text.")
    account, shelf = world.openai.account, world.shelf()
    again = account.create_file(upload_name("a.md", world.assistant.id, shelf.files[0].build), "assistants", b"Twice.")
    old = account.create_file(upload_name("a.md", world.assistant.id, new_id()), "assistants", b"Old.")
    other = account.create_file(upload_name("a.md", new_id(), new_id()), "assistants", b"Another assistant's.")
    account.create_store({"name": store_name(world.assistant.id)})
    account.stores = dict(reversed(account.stores.items()))  # an older one, as a server leaves it that lost its lock
    server = world.server()
    server.sync.sync(world.assistant.id)
    assert len(account.files) == 4
    assert set(_survey(world).unregistered) == {again["id"], old["id"]}
    server.sync.check(world.assistant.id)
    assert set(account.files) == {shelf.files[0].file_id, other["id"]}
    assert list(account.stores) == [shelf.store_id]


def test_a_lost_registry_is_made_anew_from_the_documents(world: World) -> None:
    world.add("First text.")
    world.add("Another text.", "b.md")
    world.redis.client.flushdb()
    server = world.server()
    assert server.library.view(world.assistant.id).search is None
    assert server.queue.waiting == [(SYNC_ASSISTANT, world.assistant.id)]
    server.run()
    world.require_order("First text.", "Another text.")


def test_an_endpoint_that_holds_no_documents_is_not_asked_for_ever(world: World) -> None:
    world.openai.rule = _on("", Status(404))
    document = world.add("Only text.")
    assert document.status is DocumentStatus.READY
    server = world.server()
    server.sync.sync(world.assistant.id)
    assert server.queue.waiting == []


def test_a_document_without_its_text_does_not_hold_the_others_up(world: World) -> None:
    world.use("offline")
    lost = world.add("Lost text.")
    world.add("Kept text.", "b.md")
    world.texts.discard(lost.filepath, lost.build)
    world.use("openai")
    world.server().sync.sync(world.assistant.id)
    assert world.texts_there() == ["Kept text."]
    assert _survey(world).missing == ("a.md",)


def test_the_survey_tells_what_differs_and_has_it_mended(world: World) -> None:
    world.add("Second text.", "b.md")
    world.grace = 3600.0
    server = world.server()
    replaced = server.documents.add(ADMIN, world.assistant.id, DocumentType.RAG, "b.md", b"Second text, replaced.")
    server.indexing.index(replaced.id)
    server.queue.waiting.clear()
    world.use("offline")
    added = server.documents.add(ADMIN, world.assistant.id, DocumentType.RAG, "a.md", b"First text.")
    server.indexing.index(added.id)
    world.use("openai")
    server.queue.waiting.clear()
    report = server.service.survey(ADMIN, world.assistant.id, _deadline())
    assert report == SyncReport(hosted=True, missing=("a.md",), outdated=("b.md",), in_order=1)
    assert server.queue.waiting == [(CHECK_ASSISTANT, world.assistant.id)]
    world.use("offline")
    assert _survey(world) == SyncReport(hosted=False, outdated=("b.md", "b.md"), in_order=0)


def test_the_survey_waits_until_all_is_in_order(world: World) -> None:
    world.use("offline")
    world.add("First text.")
    world.use("openai")
    assert _survey(world).missing == ("a.md",)
    server = world.server()
    mending = Thread(target=_mend_soon, args=(server.run, server.queue.waiting))
    mending.start()
    report = server.service.survey(ADMIN, world.assistant.id, _deadline(), wait=True)
    mending.join()
    assert report == SyncReport(hosted=True, in_order=1, found=SyncReport(hosted=True, missing=("a.md",)))


def _mend_soon(run: Callable[[], None], waiting: list[tuple[str, str]]) -> None:
    while not waiting:
        time.sleep(0.01)
    time.sleep(0.3)
    run()


def test_the_survey_is_for_owners_and_says_when_the_provider_fails(world: World) -> None:
    with pytest.raises(NotFound):
        world.server().service.survey(Principal(new_id(), Role.USER), world.assistant.id, _deadline())
    world.add("Only text.")
    _down(world)
    with pytest.raises(ProviderFailed):
        _survey(world)


def test_an_incomplete_view_asks_for_a_synchronization_once_a_minute(world: World) -> None:
    world.use("offline")
    server = world.server()
    server.library.view(world.assistant.id)  # no document, nothing to ask for
    assert server.queue.waiting == []
    world.add("Only text.")
    for _ in range(5):
        assert server.library.view(world.assistant.id).search is None
    assert server.queue.waiting == [(SYNC_ASSISTANT, world.assistant.id)]


def _deadline() -> Deadline:
    return Deadline(30)
