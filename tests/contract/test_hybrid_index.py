"""Search by meaning: the vector files follow the store and survive anything; the words do alone when they must."""

import fcntl
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy
import pytest

from models.deadline import Deadline
from models.errors import ProviderFailed, Unavailable
from models.ids import new_id
from services.knowledge.hybrid_index import HybridIndex
from services.knowledge.vector_files import read_snapshot
from tests.contract.semantic import ConceptEmbedder, Foreseen, Semantics, unit_vector
from tests.unit.memory_knowledge import an_assistant

ROOT = Path(__file__).parents[2]
_DIMENSIONS = 64


@pytest.fixture
def semantics(tmp_path: Path) -> Iterator[Semantics]:
    made = Semantics(tmp_path / "vectors")
    yield made
    made.hybrid.close()


@pytest.fixture
def foreseen(tmp_path: Path) -> Foreseen:
    return Foreseen(tmp_path / "vectors", new_id(), _DIMENSIONS)


def _child(module: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "-m", f"tests.contract.{module}", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _files(directory: Path) -> list[str]:
    return sorted(path.suffix for path in directory.iterdir() if not path.name.startswith(".lock"))


# the vector index


def test_the_nearest_come_first_and_exactly(foreseen: Foreseen) -> None:
    for number in range(20):
        foreseen.put(new_id(), f"build {number}", 25)
    query = unit_vector("query", _DIMENSIONS)
    cosines = {
        (f"build {number}", position): float(unit_vector(f"build {number}:{position}", _DIMENSIONS) @ query)
        for number in range(20)
        for position in range(25)
    }
    expected = sorted(cosines, key=lambda place: -cosines[place])
    for limit in (1, 10, 499, 500, 1000):
        assert [(hit.revision, hit.position) for hit in foreseen.search(limit)] == expected[:limit]


def test_nothing_is_found_in_nothing(semantics: Semantics) -> None:
    assert semantics.nearest("car") == []
    assert not semantics.index.holds_vectors(semantics.assistant)
    semantics.put("a.md", "A car.", embedded=False)
    assert semantics.nearest("car") == []
    assert not semantics.index.holds_vectors(semantics.assistant)


def test_the_index_follows_the_store(semantics: Semantics) -> None:
    cars = semantics.put("a.md", "# One\n\nThe car.\n\n# Two\n\nThe automobile.")
    refunds = semantics.put("b.md", "A refund.")
    assert [hit.document_id for hit in semantics.nearest("car")] == [cars.id, cars.id, refunds.id]
    reads = semantics.passages.reads
    refunds = semantics.revise(refunds, "Another car.")
    assert {hit.revision for hit in semantics.nearest("car", 3) if hit.cosine > 0.9} == {cars.build, refunds.build}
    assert semantics.passages.reads == reads + 1
    semantics.delete(cars)
    assert [hit.document_id for hit in semantics.nearest("car")] == [refunds.id]
    semantics.delete(refunds)
    assert semantics.nearest("car") == []


def test_nothing_is_read_while_the_version_stays(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    semantics.nearest("car")
    semantics.documents.held.clear()
    assert len(semantics.nearest("car")) == 1
    semantics.version += 1
    assert semantics.nearest("car") == []


def test_an_older_version_is_served_by_newer_files(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    semantics.nearest("car")
    reads = semantics.documents.reads
    semantics.version -= 1
    assert len(semantics.nearest("car")) == 1
    assert semantics.documents.reads == reads


def test_a_document_whose_vectors_come_later_is_found_then(semantics: Semantics) -> None:
    document = semantics.put("a.md", "The car.")
    semantics.documents.held[document.id] = replace(document, embeddings_model="")
    assert semantics.nearest("car") == []
    semantics.documents.held[document.id] = document
    semantics.version += 1
    assert len(semantics.nearest("car")) == 1


def test_a_passage_whose_vector_comes_later_is_found_then(semantics: Semantics) -> None:
    document = semantics.put("a.md", "# One\n\nThe car.\n\n# Two\n\nThe automobile.")
    key = (semantics.assistant_id, document.id, semantics.embedder.model)
    whole = dict(semantics.vectors.held[key])
    lost = next(iter(whole))
    del semantics.vectors.held[key][lost]
    assert [hit.position for hit in semantics.nearest("car")] == [1]
    semantics.vectors.held[key] = whole
    semantics.version += 1
    assert sorted(hit.position for hit in semantics.nearest("car")) == [0, 1]


def test_assistants_are_apart(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    semantics.nearest("car")
    other = an_assistant(new_id(), 1)
    assert semantics.index.search(other, unit_vector("car", 4), 5) == []


def test_another_process_finds_the_work_done(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    semantics.nearest("car")
    reads = semantics.documents.reads
    assert len(semantics.nearest("car", index=semantics.vector_index())) == 1
    assert semantics.documents.reads == reads


def test_another_model_starts_over(semantics: Semantics) -> None:
    document = semantics.put("a.md", "The car.")
    semantics.nearest("car")
    other = semantics.vector_index("another")
    assert semantics.nearest("car", index=other) == []
    assert _files(semantics.directory) == [".map"]
    named = semantics.vectors.of_document(semantics.assistant_id, document.id, "concepts")
    semantics.vectors.add(semantics.assistant_id, document.id, "another", named)
    semantics.documents.held[document.id] = replace(document, embeddings_model="another")
    semantics.version += 1
    assert len(semantics.nearest("car", index=other)) == 1
    assert semantics.nearest("car") == []


def test_a_question_of_other_dimensions_starts_over(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    semantics.nearest("car")
    semantics.embedder.dimensions = 9
    assert semantics.nearest("car") == []
    found = semantics.put("b.md", "The automobile.")
    assert [hit.document_id for hit in semantics.nearest("car")] == [found.id]


@pytest.mark.parametrize(
    "junk", [b"", b"\xff" * 15, b"rubbish" * 1000, b"0" * 16 + msgspec.msgpack.encode({"format": 1})]
)
def test_a_broken_map_is_built_again(semantics: Semantics, junk: bytes) -> None:
    semantics.put("a.md", "The car.")
    semantics.nearest("car")
    (semantics.directory / f"{semantics.assistant_id}.map").write_bytes(junk)
    assert len(semantics.nearest("car")) == 1
    assert _files(semantics.directory) == [".f32", ".map"]


@pytest.mark.parametrize("damage", ["missing", "short", "noise", "nan"])
def test_a_broken_matrix_is_built_again(semantics: Semantics, damage: str) -> None:
    semantics.put("a.md", "# One\n\nThe car.\n\n# Two\n\nThe vacation.")
    semantics.nearest("car")
    (matrix,) = semantics.directory.glob("*.f32")
    content = matrix.read_bytes()
    matrix.unlink()
    if damage != "missing":
        nan = numpy.full(len(content) // 4, numpy.nan, numpy.float32).tobytes()
        matrix.write_bytes({"short": content[:-1], "noise": b"\x5a" * len(content), "nan": nan}[damage])
    hits = semantics.nearest("car", index=semantics.vector_index())
    assert [(hit.position, hit.cosine) for hit in hits] == [(0, 1.0), (1, 0.0)]


def test_a_lost_folder_is_made_again(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    semantics.nearest("car")
    shutil.rmtree(semantics.directory)
    assert len(semantics.nearest("car")) == 1


def test_a_forgotten_assistant_leaves_no_file(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    semantics.nearest("car")
    semantics.index.forget(semantics.assistant_id)
    semantics.index.forget(semantics.assistant_id)
    assert _files(semantics.directory) == []
    assert len(semantics.nearest("car")) == 1


@pytest.mark.parametrize("wrong", ["", "../x", "a" * 23, "A" * 24, "0" * 23 + "/"])
def test_an_id_that_is_none_names_no_file(semantics: Semantics, wrong: str) -> None:
    with pytest.raises(ValueError):
        semantics.index.forget(wrong)
    with pytest.raises(ValueError):
        semantics.index.search(an_assistant(wrong, 1), unit_vector("car", 4), 5)


def test_a_folder_that_cannot_be_written_is_unavailable(semantics: Semantics) -> None:
    semantics.directory.write_text("a file")
    with pytest.raises(Unavailable):
        semantics.nearest("car")


def test_dead_rows_do_not_pile_up(foreseen: Foreseen, tmp_path: Path) -> None:
    document, other = new_id(), new_id()
    foreseen.put(other, "stays", 10)
    for number in range(30):
        foreseen.put(document, f"build {number}", 10)
        hits = foreseen.search(100)
        assert sorted(hit.position for hit in hits) == sorted([*range(10), *range(10)])
        assert {hit.revision for hit in hits} == {"stays", f"build {number}"}
        (matrix,) = (tmp_path / "vectors").glob("*.f32")
        assert matrix.stat().st_size <= 50 * _DIMENSIONS * 4


def test_many_threads_bring_it_up_to_date_at_once(semantics: Semantics) -> None:
    for number in range(20):
        semantics.put(f"{number}.md", "The car.")
    semantics.passages.pause = 0.01
    semantics.passages.reads = 0
    found: list[int] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        found.append(len(semantics.nearest("car", 50)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [20] * 8
    assert (semantics.documents.reads, semantics.passages.reads) == (1, 20)


def test_readers_of_other_processes_see_whole_rows_while_one_writes(foreseen: Foreseen, tmp_path: Path) -> None:
    documents = [new_id() for _ in range(4)]
    for document in documents:
        foreseen.put(document, f"{document} first", 200)
    foreseen.refresh()
    arguments = (str(tmp_path / "vectors"), foreseen.assistant_id, str(_DIMENSIONS))
    readers = [_child("vector_reader", *arguments) for _ in range(2)]
    for reader in readers:
        assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
    matrices: set[str] = set()
    for number in range(120):
        foreseen.put(documents[number % 4], f"build {number}", 200)
        foreseen.refresh()
        matrices |= {path.name for path in (tmp_path / "vectors").glob("*.f32")}
    for reader in readers:
        output, _ = reader.communicate(timeout=60)
        searches, builds = map(int, output.split())
        assert reader.returncode == 0 and searches > 20 and builds > 10
    assert len(matrices) > 5  # rows were moved, too


def test_a_writer_killed_in_the_middle_leaves_nothing_wrong(foreseen: Foreseen, tmp_path: Path) -> None:
    first = "1" * 24
    foreseen.put(first, "first", 100)
    before = foreseen.search(500)
    (matrix,) = (tmp_path / "vectors").glob("*.f32")
    arguments = (str(tmp_path / "vectors"), foreseen.assistant_id, str(_DIMENSIONS), first, "first")
    victim = _child("vector_victim", *arguments)
    assert victim.stdout is not None and victim.stdout.readline() == "hanging\n"
    victim.kill()
    victim.communicate(timeout=20)
    assert matrix.stat().st_size > 2000 * _DIMENSIONS * 4  # most of the victim's rows are in the file
    assert foreseen.search(500) == before
    foreseen.put("2" * 24, "second", 50)
    assert {(hit.revision, hit.position) for hit in foreseen.search(500)} == {
        *(("first", position) for position in range(100)),
        *(("second", position) for position in range(50)),
    }
    assert list((tmp_path / "vectors").glob("*.f32")) == [matrix]


def test_while_another_process_writes_the_state_before_is_searched(semantics: Semantics) -> None:
    document = semantics.put("a.md", "The car.")
    lock = semantics.directory / f".lock-{semantics.assistant_id[-2:]}"
    semantics.directory.mkdir(exist_ok=True)
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unavailable):
            semantics.nearest("car")
    assert len(semantics.nearest("car")) == 1
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        semantics.revise(document, "The vacation of the driver.")
        assert [hit.revision for hit in semantics.nearest("car")] == [document.build]
        assert semantics.texts("car") == []  # what stands in that place now is about something else
        assert semantics.texts("driver") == ["The vacation of the driver."]


# both together


def test_meaning_finds_what_words_cannot(semantics: Semantics) -> None:
    for name, text, language in [
        ("carro.md", "O automóvel da empresa fica na garagem.", "pt"),
        ("qiche.md", "公司的汽车停在车库里。", "zh"),
        ("other.md", "Lunch is served at noon.", "en"),
    ]:
        semantics.put(name, text, language)
    found = semantics.search("Where is the car?")
    assert {scored.passage.filename for scored in found} == {"carro.md", "qiche.md"}
    assert {scored.coverage for scored in found} == {0.0}
    assert list(semantics.words.search(semantics.assistant, "Where is the car?", 5)) == []


def test_both_rankings_are_fused_by_their_reciprocal_ranks(semantics: Semantics) -> None:
    semantics.put("both.md", "The car is a car.")
    semantics.put("meaning.md", "O automóvel e o reembolso.", "pt")
    semantics.put("words.md", "Lunch for a car-less refund, the vacation of a car.", embedded=False)
    both, *rest = semantics.search("car")
    assert both.passage.filename == "both.md"
    assert both.score == pytest.approx(1 / 61 + 1 / 61)
    assert {scored.passage.filename: scored.score for scored in rest} == pytest.approx(
        {"meaning.md": 1 / 62, "words.md": 1 / 62}
    )
    assert {scored.passage.filename: scored.coverage for scored in rest} == {"meaning.md": 0.0, "words.md": 1.0}


def test_a_passage_comes_back_whole_and_once(semantics: Semantics) -> None:
    document = semantics.put("a.md", "# Cars\n\nThe car.")
    (scored,) = semantics.search("car")
    assert [scored.passage] == semantics.passages.of_document(semantics.assistant_id, document.id, document.build)


def test_no_more_than_asked_for(semantics: Semantics) -> None:
    for number in range(60):
        semantics.put(f"{number}.md", f"The car number {number}.")
    assert [len(semantics.search("car", limit)) for limit in (1, 5, 50)] == [1, 5, 50]
    scores = [scored.score for scored in semantics.search("car", 50)]
    assert scores == sorted(scores, reverse=True)


def test_a_question_about_nothing_here_finds_nothing(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    assert semantics.search("volcano") == []


def test_a_question_is_embedded_once(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    for _ in range(3):
        semantics.search("automobile")
    assert semantics.embedder.texts == ["automobile"]


def test_without_vectors_nothing_is_embedded(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.", embedded=False)
    assert semantics.texts("car") == ["The car."]
    semantics.put("b.md", "The car.")
    assert semantics.search(" \n") == []
    assert semantics.embedder.calls == 0


def test_a_deleted_document_is_never_found_again(semantics: Semantics) -> None:
    document = semantics.put("a.md", "O automóvel.", "pt")
    assert semantics.texts("car") == ["O automóvel."]
    semantics.delete(document)
    assert semantics.texts("car") == []
    assert semantics.texts("automóvel") == []


def test_a_dead_endpoint_leaves_the_words(semantics: Semantics, caplog: pytest.LogCaptureFixture) -> None:
    semantics.put("a.md", "The car.")
    semantics.put("b.md", "O automóvel.", "pt")

    def fail(deadline: Deadline) -> None:
        raise ProviderFailed("down", code="provider_unreachable")

    semantics.embedder.before = fail
    with caplog.at_level(logging.DEBUG):
        assert [semantics.texts(f"the secret car {number}") for number in range(5)] == [["The car."]] * 5
    assert semantics.embedder.calls == 1  # then it is left alone
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "secret" not in str([vars(record) for record in caplog.records])


def test_a_mended_endpoint_is_asked_again(semantics: Semantics) -> None:
    semantics.put("a.md", "O automóvel.", "pt")

    def fail(deadline: Deadline) -> None:
        raise ProviderFailed("down", code="provider_unreachable")

    semantics.embedder.before = fail
    hybrid = HybridIndex(semantics.words, semantics.index, semantics.embedder, pause_seconds=0.05)
    assert list(hybrid.search(semantics.assistant, "car", 5)) == []
    semantics.embedder.before = Deadline.check
    threading.Event().wait(0.1)
    assert len(hybrid.search(semantics.assistant, "car", 5)) == 1


def test_a_refused_question_leaves_the_next_one_its_meaning(
    semantics: Semantics, caplog: pytest.LogCaptureFixture
) -> None:
    semantics.put("a.md", "O automóvel.", "pt")

    semantics.embedder.refuses = {"stranger"}
    assert semantics.texts("a stranger's car") == []
    assert semantics.texts("a stranger's car") == []
    assert semantics.embedder.calls == 1, "what was refused is not asked for again"
    assert [record.getMessage()[:41] for record in caplog.records] == ["the embeddings model refuses a question; "]
    assert semantics.texts("car") == ["O automóvel."]


def test_a_refused_passage_is_near_to_no_question(semantics: Semantics) -> None:
    semantics.embedder.refuses = {"stranger"}
    semantics.put("a.md", "# A\n\nO automóvel.\n\n# B\n\nThe stranger.", "pt")
    assert semantics.texts("car") == ["# A\n\nO automóvel."]
    assert semantics.texts("stranger"), "words find it"


def test_a_slow_endpoint_does_not_hold_up_an_answer(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    asked: list[float] = []

    def stall(deadline: Deadline) -> None:
        asked.append(deadline.seconds)
        deadline.sleep(60)

    semantics.embedder.before = stall
    assert semantics.texts("car") == ["The car."]
    assert semantics.texts("a car") == ["The car."]
    assert asked == [2.0]


def test_a_vector_index_that_cannot_be_used_leaves_the_words(semantics: Semantics) -> None:
    semantics.directory.write_text("a file")
    semantics.put("a.md", "The car.")
    semantics.hybrid.refresh(semantics.assistant)
    assert semantics.texts("car") == ["The car."]


def test_refreshing_and_forgetting_do_both(semantics: Semantics) -> None:
    semantics.put("a.md", "The car.")
    semantics.hybrid.refresh(semantics.assistant)
    reads = semantics.documents.reads
    semantics.search("car")
    assert semantics.documents.reads == reads
    semantics.hybrid.forget(semantics.assistant_id)
    assert _files(semantics.directory) == []
    assert [path.name for path in semantics.directory.with_name("words").iterdir()] == [".lock"]


def test_a_model_change_is_answered_by_words_meanwhile(tmp_path: Path) -> None:
    semantics = Semantics(tmp_path / "vectors", ConceptEmbedder("old"))
    document = semantics.put("a.md", "The car.")
    semantics.search("car")
    renewed = Semantics(tmp_path / "vectors", ConceptEmbedder("new", 7))
    renewed.assistant_id, renewed.version = semantics.assistant_id, semantics.version
    renewed.documents.held, renewed.passages.held = semantics.documents.held, semantics.passages.held
    renewed.vectors.held = semantics.vectors.held
    assert renewed.texts("car") == ["The car."] and renewed.texts("automóvel") == []
    assert renewed.embedder.calls == 0
    renewed.revise(document, "The car.")
    assert renewed.texts("automóvel") == ["The car."]


def test_a_snapshot_outlives_its_files(foreseen: Foreseen, tmp_path: Path) -> None:
    document = new_id()
    foreseen.put(document, "first", 10)
    foreseen.refresh()
    path = tmp_path / "vectors" / f"{foreseen.assistant_id}.map"
    snapshot = read_snapshot(path, None)
    assert snapshot is not None
    for number in range(5):
        foreseen.put(document, f"build {number}", 10)
        foreseen.refresh()
    assert {hit.revision for hit in snapshot.best(unit_vector("query", _DIMENSIONS), 10)} == {"first"}
    assert read_snapshot(path, snapshot) is not snapshot
