"""Embedding documents: each text once, resumed after any stop, brought later when the endpoint fails."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from models.assistants import Assistant
from models.deadline import Deadline
from models.documents import Document, DocumentStatus, DocumentType, Passage
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed, Unavailable
from models.ids import new_id
from services.embedding import EMBED_DOCUMENT, EmbeddingService, EmbeddingStores
from services.knowledge.embedded_text import digest_of, embedded_text
from services.knowledge.fts_index import FtsIndex
from services.knowledge.hybrid_index import HybridIndex
from services.knowledge.vector_index import VectorIndex
from services.ports import Embedder
from services.providers.embedding_form import EmbeddingForm
from services.providers.openai_chat import build_client
from services.providers.openai_embeddings import OpenAIEmbedder
from tests.contract.semantic import ConceptEmbedder
from tests.contract.stores import Stores, make_assistant
from tests.emulators.aimock import aimock
from tests.emulators.openai_wire import document as wire_document
from tests.emulators.openai_wire import wire
from tests.unit.memory_knowledge import a_document, passages_of

_FAR = 60.0


class Locks:
    """Implement `Locks`: all are free but for those in `taken`."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    @contextmanager
    def hold(self, name: str, seconds: float, wait: float) -> Iterator[bool]:
        """Hold the lock unless it is taken."""
        if name in self.taken:
            yield False
            return
        self.taken.add(name)
        try:
            yield True
        finally:
            self.taken.remove(name)


class Jobs:
    """Implement `JobQueue`: keep what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_down = False

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Keep the document's id."""
        if self.is_down:
            raise Unavailable("down")
        assert job == EMBED_DOCUMENT
        self.asked.append(argument)


class Desk:
    """An assistant of a store, and services that embed its documents."""

    def __init__(self, stores: Stores, folder: Path) -> None:
        self.stores = EmbeddingStores(stores.assistants, stores.documents, stores.passages, stores.vectors)
        self.folder = folder
        made = make_assistant()
        self.stores.assistants.add(made)
        self.assistant_id = made.id
        self.embedder = ConceptEmbedder()
        self.locks, self.jobs = Locks(), Jobs()
        self.service = self.a_service()

    @property
    def assistant(self) -> Assistant:
        """Return the assistant as stored."""
        found = self.stores.assistants.get(self.assistant_id)
        assert found is not None
        return found

    def index(self, embedder: Embedder | None = None) -> HybridIndex:
        """Return an index over the desk's files."""
        embedder = embedder or self.embedder
        stores = self.stores
        words = FtsIndex(self.folder / "words", stores.documents, stores.passages)
        vectors = VectorIndex(
            self.folder / "vectors", stores.documents, stores.passages, stores.vectors, embedder.model
        )
        return HybridIndex(words, vectors, embedder)

    def a_service(self, embedder: Embedder | None = None, page: int = 200) -> EmbeddingService:
        """Return a service, as of another server with this embedder."""
        embedder = embedder or self.embedder
        return EmbeddingService(self.stores, embedder, self.index(embedder), self.locks, self.jobs, page=page)

    def add(self, text: str, name: str = "a.md", language: str = "en", **fields: Any) -> Document:
        """Store a ready document and its passages, without vectors."""
        document = replace(a_document(self.assistant_id, name, new_id(), language), **fields)
        self.stores.passages.add(passages_of(document, text))
        assert self.stores.documents.add(document)
        self.stores.assistants.bump_index_version(self.assistant_id)
        return document

    def switch(self, document: Document, text: str, **fields: Any) -> Document:
        """Make another build of a document the one that answers, as the indexing does."""
        after = replace(self.get(document), build=new_id(), **fields)
        self.stores.passages.add(passages_of(after, text))
        assert self.stores.documents.replace(after, self.get(document))
        self.stores.passages.delete_of_document(self.assistant_id, document.id, before=after.build)
        self.stores.assistants.bump_index_version(self.assistant_id)
        return after

    def get(self, document: Document) -> Document:
        """Return the record as stored."""
        found = self.stores.documents.get(document.id)
        assert found is not None
        return found

    def passages(self, document: Document) -> list[Passage]:
        """Return the passages of the build that answers."""
        current = self.get(document)
        return list(self.stores.passages.of_document(self.assistant_id, document.id, current.build))

    def digests(self, document: Document, model: str = "concepts") -> set[str]:
        """Return what has a vector."""
        return set(self.stores.vectors.of_document(self.assistant_id, document.id, model))

    def texts(self, query: str, embedder: Embedder | None = None) -> list[str]:
        """Return the last lines of what a search finds."""
        found = self.index(embedder).search(self.assistant, query, 5)
        return [scored.passage.text.splitlines()[-1] for scored in found]

    def fail_after(self, calls: int, error: BaseException) -> None:
        """Let so many batches pass, then fail."""
        last = self.embedder.calls + calls

        def before(deadline: Deadline) -> None:
            if self.embedder.calls > last:
                raise error

        self.embedder.before = before

    def mend(self) -> None:
        """Let everything pass again."""
        self.embedder.before = Deadline.check

    def meanwhile(self, happens: Callable[[], object]) -> None:
        """Let something happen during the next batch."""

        def before(deadline: Deadline) -> None:
            self.mend()
            happens()

        self.embedder.before = before


@pytest.fixture
def desk(stores: Stores, tmp_path: Path) -> Desk:
    return Desk(stores, tmp_path)


def _long(sections: int, words: str = "The car") -> str:
    return "\n\n".join(f"# Part {number}\n\n{words} number {number}." for number in range(sections))


_DOWN = ProviderFailed("down", code="provider_unreachable")


def test_each_passage_gets_the_vector_of_its_text(desk: Desk) -> None:
    document = desk.add("# Fleet\n\nThe car.\n\n# Leave\n\nThe vacation.")
    passages = desk.passages(document)
    desk.service.embed_passages(document, passages, Deadline(_FAR))
    held = desk.stores.vectors.of_document(desk.assistant_id, document.id, "concepts")
    assert held.keys() == {digest_of(passage) for passage in passages}
    for passage in passages:
        row = numpy.frombuffer(held[digest_of(passage)], "<f4")
        assert row.tolist() == desk.embedder.embed([embedded_text(passage)], Deadline(1))[0].tolist()
    assert desk.get(document).embeddings_model == ""  # the record is the caller's business


def test_the_embedded_text_holds_name_headings_and_table_header() -> None:
    document = a_document(new_id(), "travel.policy.md", new_id())
    passage = replace(passages_of(document, "# A\n\n## B\n\nbody")[0], header="| x |", text="| 1 |")
    assert embedded_text(passage) == "travel.policy > A > B\n| x |\n| 1 |"
    assert digest_of(passage) != digest_of(replace(passage, filename="other.md"))
    assert digest_of(passage) == digest_of(replace(passage, id=new_id(), revision=new_id(), position=7))


def test_nothing_is_embedded_twice(desk: Desk) -> None:
    document = desk.add(_long(150))
    passages = desk.passages(document)
    desk.service.embed_passages(document, passages, Deadline(_FAR))
    desk.service.embed_passages(document, passages, Deadline(_FAR))
    assert len(desk.embedder.texts) == len(set(desk.embedder.texts)) == 150
    desk.service.embed_passages(document, passages, Deadline(_FAR))
    assert desk.embedder.calls == 3


def test_equal_passages_share_a_vector(desk: Desk) -> None:
    document = desk.add("# Same\n\nThe car.\n\n# Same\n\nThe car.")
    assert len(desk.passages(document)) == 2
    desk.service.embed_document(document.id)
    assert len(desk.embedder.texts) == len(desk.digests(document)) == 1


@pytest.mark.parametrize("error", [_DOWN, KeyboardInterrupt(), DeadlineExceeded("late"), CallCancelled("gone")])
def test_work_goes_on_where_it_was_cut_off(desk: Desk, error: BaseException) -> None:
    document = desk.add(_long(300))
    passages = desk.passages(document)
    desk.fail_after(2, error)
    with pytest.raises(type(error)):
        desk.service.embed_passages(document, passages, Deadline(_FAR))
    assert len(desk.digests(document)) == 128
    desk.mend()
    desk.a_service().embed_passages(document, passages, Deadline(_FAR))  # another process
    assert desk.digests(document) == {digest_of(passage) for passage in passages}
    assert len(desk.embedder.texts) == len(set(desk.embedder.texts)) == 300


def test_progress_is_told(desk: Desk) -> None:
    document = desk.add(_long(130))
    told: list[float] = []
    desk.service.embed_passages(document, desk.passages(document), Deadline(_FAR), told.append)
    assert told == [pytest.approx(64 / 130), pytest.approx(128 / 130), 1.0]


def test_a_prompt_gets_no_vectors(desk: Desk) -> None:
    document = desk.add("You are kind.", type=DocumentType.PROMPT)
    desk.service.embed_passages(document, desk.passages(document), Deadline(_FAR))
    desk.service.embed_document(document.id)
    desk.service.settle(document.id)
    assert desk.embedder.calls == 0 and desk.jobs.asked == []


def test_the_job_makes_a_document_findable_by_meaning(desk: Desk) -> None:
    document = desk.add("O automóvel da empresa.", language="pt")
    assert desk.texts("car") == []
    version = desk.assistant.index_version
    desk.service.embed_document(document.id)
    assert desk.get(document).embeddings_model == "concepts"
    assert desk.assistant.index_version > version
    assert desk.texts("car") == ["O automóvel da empresa."]
    calls = desk.embedder.calls
    desk.a_service().embed_document(document.id)
    assert desk.embedder.calls == calls


def test_the_job_refreshes_the_local_index(desk: Desk) -> None:
    document = desk.add("The car.")
    desk.service.embed_document(document.id)
    (matrix,) = (desk.folder / "vectors").glob("*.f32")
    assert matrix.stat().st_size == 4 * desk.embedder.dimensions


def test_a_changed_model_re_embeds_while_words_answer(desk: Desk) -> None:
    document = desk.add("# Fleet\n\nThe car.")
    desk.service.embed_document(document.id)
    newer = ConceptEmbedder("newer", 8)
    assert desk.texts("car", newer) == ["The car."]
    assert desk.texts("automóvel", newer) == []
    service = desk.a_service(newer)
    service.sweep()
    assert desk.jobs.asked == [document.id]
    service.embed_document(document.id)
    assert desk.get(document).embeddings_model == "newer"
    assert desk.texts("automóvel", newer) == ["The car."]
    assert desk.digests(document) == set() and len(desk.digests(document, "newer")) == 1


def test_a_dead_endpoint_is_left_alone_and_asked_again(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    documents = [desk.add(_long(3), f"{number}.md") for number in range(5)]
    service = desk.service
    desk.fail_after(0, _DOWN)
    with caplog.at_level(logging.INFO):
        for document in documents:
            service.embed_document(document.id)
    assert desk.embedder.calls == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(ProviderFailed) as paused:
        service.embed_passages(documents[0], desk.passages(documents[0]), Deadline(_FAR))
    assert paused.value.code == "embeddings_paused"
    assert desk.texts("car")  # by the words
    service.sweep()
    assert desk.jobs.asked == []
    desk.mend()
    service = desk.a_service()  # as after the pause
    service.sweep()
    assert sorted(desk.jobs.asked) == sorted(document.id for document in documents)
    for document in documents:
        service.embed_document(document.id)
        assert desk.get(document).embeddings_model == "concepts"


def test_a_dead_endpoint_does_not_matter_to_what_is_embedded_already(desk: Desk) -> None:
    done, fresh = desk.add("The car.", "a.md"), desk.add("The vacation.", "b.md")
    desk.service.embed_document(done.id)
    desk.fail_after(0, _DOWN)
    desk.service.embed_document(fresh.id)
    desk.service.embed_passages(done, desk.passages(done), Deadline(_FAR))


def test_the_sweep_does_not_repeat_itself(desk: Desk) -> None:
    documents = [desk.add("The car.", f"{number}.md") for number in range(3)]
    desk.service.embed_document(documents[0].id)
    for _ in range(3):
        desk.service.sweep()
    assert sorted(desk.jobs.asked) == sorted(document.id for document in documents[1:])
    switched = desk.switch(documents[1], "The vacation.")
    desk.service.sweep()
    assert desk.jobs.asked[2:] == [switched.id]


def test_the_sweep_goes_through_all_pages(desk: Desk) -> None:
    documents = [desk.add("The car.", f"{number}.md") for number in range(11)]
    service = desk.a_service(page=2)
    service.sweep()
    assert len(desk.jobs.asked) == 10
    service.sweep()
    assert sorted(desk.jobs.asked) == sorted(document.id for document in documents)


def test_a_queue_that_is_down_is_asked_by_the_next_sweep(desk: Desk) -> None:
    document = desk.add("The car.")
    desk.jobs.is_down = True
    with pytest.raises(Unavailable):
        desk.service.sweep()
    desk.jobs.is_down = False
    desk.service.sweep()
    assert desk.jobs.asked == [document.id]


def test_only_one_works_on_a_document(desk: Desk) -> None:
    document = desk.add("The car.")
    desk.locks.taken.add(f"embeddings:{document.id}")
    desk.service.embed_document(document.id)
    assert desk.embedder.calls == 0


def test_a_job_that_takes_too_long_asks_for_another(desk: Desk) -> None:
    document = desk.add(_long(100))
    desk.fail_after(1, DeadlineExceeded("late"))
    desk.service.embed_document(document.id)
    assert desk.jobs.asked == [document.id]
    assert desk.get(document).embeddings_model == ""
    desk.mend()
    desk.service.embed_document(document.id)
    assert desk.get(document).embeddings_model == "concepts"
    assert len(desk.embedder.texts) == 100


def test_an_endpoint_that_hangs_holds_the_next_document_up_no_more(desk: Desk) -> None:
    desk.embedder.before = lambda deadline: deadline.sleep(60)
    document, other = desk.add("The car."), desk.add("The vacation.", "b.md")
    with pytest.raises(DeadlineExceeded):
        desk.service.embed_passages(document, desk.passages(document), Deadline(_FAR), silent_seconds=0.05)
    with pytest.raises(ProviderFailed) as caught:
        desk.service.embed_passages(other, desk.passages(other), Deadline(_FAR), silent_seconds=0.05)
    assert caught.value.code == "embeddings_paused"


def _refusing(desk: Desk) -> Document:
    """Return a document of four passages, two of which have the same text, that the model refuses."""
    desk.embedder.refuses = {"stranger"}
    return desk.add("# A\n\nO automóvel.\n\n# B\n\nThe stranger.\n\n# B\n\nThe stranger.\n\n# C\n\nThe refund.")


def test_a_refused_text_costs_its_own_passages_their_vectors(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    document = _refusing(desk)
    with caplog.at_level(logging.INFO):
        desk.service.embed_document(document.id)
    noted = desk.get(document)
    assert (noted.embeddings_model, noted.passages_without_vector) == ("concepts", 2)
    assert desk.texts("car") == ["O automóvel."]
    assert "The stranger." in desk.texts("stranger"), "words find it"
    (told,) = [vars(record) for record in caplog.records if hasattr(record, "texts")]
    assert (told["texts"], told["document_id"]) == (1, document.id)
    assert "stranger" not in str([vars(record) for record in caplog.records])


def test_a_refused_text_is_not_asked_for_again(desk: Desk) -> None:
    document = _refusing(desk)
    desk.service.embed_document(document.id)
    asked = len(desk.embedder.texts)
    for service in (desk.service, desk.a_service()):
        service.settle(document.id)
        service.sweep()
        service.embed_document(document.id)
        assert service.embed_passages(document, desk.passages(document), Deadline(_FAR)) == 2
    assert len(desk.embedder.texts) == asked and desk.jobs.asked == []
    assert desk.get(document).passages_without_vector == 2


def test_what_was_refused_is_asked_for_again_when_the_document_is_indexed(desk: Desk) -> None:
    document = _refusing(desk)
    desk.service.embed_document(document.id)
    del desk.embedder.texts[:]
    passages = desk.passages(document)
    assert desk.service.embed_passages(document, passages, Deadline(_FAR), asks_again=True) == 2
    desk.embedder.refuses = set()
    assert desk.service.embed_passages(document, passages, Deadline(_FAR), asks_again=True) == 0
    assert desk.embedder.texts == [embedded_text(passages[1])] * 2
    held = desk.stores.vectors.of_document(desk.assistant_id, document.id, "concepts")
    assert all(any(vector) for vector in held.values()) and len(held) == 3


def test_another_model_is_asked_for_what_one_has_refused(desk: Desk) -> None:
    document, newer = _refusing(desk), ConceptEmbedder("newer", 8)
    desk.service.embed_document(document.id)
    desk.a_service(newer).embed_document(document.id)
    assert (desk.get(document).embeddings_model, desk.get(document).passages_without_vector) == ("newer", 0)
    assert len(newer.texts) == 3


def test_the_form_of_requests_makes_vectors_of_another_name(desk: Desk) -> None:
    document = desk.add("# Fleet\n\nThe car.")
    plain, wide = {"embedding": [1.0, 0.0]}, {"embedding": [0.0, 1.0, 0.0]}
    with aimock() as server, contextlib.closing(build_client("", server.base_url, 4)) as client:
        server.add_fixtures(
            {"match": {"inputText": "query: "}, "response": wide},
            {"match": {"inputText": "passage: "}, "response": wide},
            {"match": {"inputText": "Fleet"}, "response": plain},
        )
        desk.a_service(OpenAIEmbedder(client, "m")).embed_document(document.id)
        assert desk.get(document).embeddings_model == "m", "as it was before there were forms"
        form = EmbeddingForm("query: ", "passage: ", 3)
        formed = OpenAIEmbedder(client, "m", form=form)
        service = desk.a_service(formed)
        service.sweep()
        assert desk.jobs.asked == [document.id]
        service.embed_document(document.id)
        assert desk.get(document).embeddings_model == formed.model
        assert desk.texts("automobile", formed) == ["The car."]
        desk.a_service(OpenAIEmbedder(client, "m", form=replace(form, query_prefix="question: "))).sweep()
        assert desk.jobs.asked == [document.id], "a question's prefix changes no vector of a passage"
        asked = [entry["body"]["embeddingInput"] for entry in server.journal()]
    assert asked == ["a > Fleet\n# Fleet\n\nThe car.", "passage: a > Fleet\n# Fleet\n\nThe car.", "query: automobile"]


def test_an_endpoint_that_refuses_everything_is_left_alone(desk: Desk) -> None:
    documents = [desk.add(_long(64), f"{number}.md") for number in range(3)]
    refusal = wire_document(400, {"error": {"message": "no such model", "type": "invalid_request_error"}})
    with wire(*[refusal] * 9) as server, contextlib.closing(build_client("", server.base_url, 4)) as client:
        service = desk.a_service(OpenAIEmbedder(client, "m"))
        for document in documents:
            service.embed_document(document.id)
        service.sweep()
        sizes = [len(request.body["input"]) for request in server.requests]
    assert sizes == [64, 32, 16, 8, 4, 2, 1, 1]
    assert desk.jobs.asked == []
    for document in documents:
        assert (desk.get(document).embeddings_model, desk.digests(document, "m")) == ("", set())


def test_a_document_that_changes_meanwhile_is_embedded_as_it_is_then(desk: Desk) -> None:
    document = desk.add("The car.")
    desk.meanwhile(lambda: desk.switch(document, "The vacation."))
    desk.service.embed_document(document.id)
    assert desk.get(document).embeddings_model == "concepts"
    assert desk.texts("férias") == ["The vacation."] and desk.texts("automóvel") == []
    assert len(desk.digests(document)) == 1


def test_a_document_deleted_meanwhile_leaves_no_vectors(desk: Desk) -> None:
    document = desk.add(_long(100))

    def delete() -> None:
        desk.stores.vectors.delete_of_document(desk.assistant_id, document.id)
        desk.stores.documents.delete(document.id)

    desk.meanwhile(delete)
    desk.service.embed_document(document.id)
    assert desk.digests(document) == set()
    desk.service.embed_document(document.id)
    desk.service.settle(document.id)


def test_an_assistant_deleted_meanwhile_is_no_error(desk: Desk) -> None:
    document = desk.add("The car.")
    desk.meanwhile(lambda: desk.stores.assistants.delete(desk.assistant_id))
    desk.service.embed_document(document.id)


def test_the_old_build_keeps_its_vectors_until_the_new_one_answers(desk: Desk) -> None:
    document = desk.add("# A\n\nThe car.\n\n# B\n\nThe refund.")
    desk.service.embed_document(document.id)
    old = desk.digests(document)
    coming = replace(document, build=new_id())
    passages = passages_of(coming, "# A\n\nThe car.\n\n# C\n\nThe vacation.")
    desk.service.embed_passages(document, passages, Deadline(_FAR))
    assert desk.digests(document) > old
    assert len(desk.embedder.texts) == 3  # the first passage is the same
    after = desk.switch(document, "# A\n\nThe car.\n\n# C\n\nThe vacation.")
    desk.service.settle(document.id)
    assert desk.digests(document) == {digest_of(passage) for passage in desk.passages(after)}
    assert desk.texts("férias")[0] == "The vacation."


def test_settling_leaves_the_vectors_of_a_build_in_the_making(desk: Desk) -> None:
    document = desk.add("The car.")
    desk.service.embed_document(document.id)
    desk.switch(document, "The refund.", status=DocumentStatus.INDEXING)
    desk.service.embed_passages(document, desk.passages(document), Deadline(_FAR))
    desk.service.settle(document.id)
    assert len(desk.digests(document)) == 2


def test_settling_notices_what_is_missing(desk: Desk) -> None:
    document = desk.add("The car.")
    desk.service.embed_document(document.id)
    desk.stores.vectors.delete_of_document(desk.assistant_id, document.id)
    version = desk.assistant.index_version
    desk.service.settle(document.id)
    assert desk.get(document).embeddings_model == "" and desk.jobs.asked == [document.id]
    assert desk.assistant.index_version > version
    desk.service.embed_document(document.id)
    assert desk.texts("automóvel") == ["The car."]


def test_with_a_real_client_and_an_emulator(desk: Desk) -> None:
    limited = {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429, "retryAfter": 1}
    document = desk.add(_long(130))
    with aimock() as server, contextlib.closing(build_client("", server.base_url, 4)) as client:
        server.add_fixtures({"match": {"inputText": "Part 70", "sequenceIndex": 0}, "response": limited})
        embedder = OpenAIEmbedder(client, "text-embedding-any")
        desk.a_service(embedder).embed_document(document.id)
        assert desk.get(document).embeddings_model == "text-embedding-any"
        assert sorted(entry["response"]["status"] for entry in server.journal()) == [200, 200, 200, 429]
        exact = embedded_text(desk.passages(document)[77])  # its vector is the question's
        assert desk.index(embedder).search(desk.assistant, exact, 1)[0].passage.position == 77
        vectors = VectorIndex(
            desk.folder / "vectors",
            desk.stores.documents,
            desk.stores.passages,
            desk.stores.vectors,
            "text-embedding-any",
        )
        hit = vectors.search(desk.assistant, embedder.embed([exact], Deadline(10))[0], 1)[0]
        assert hit.position == 77 and hit.cosine == pytest.approx(1.0, abs=1e-5)
