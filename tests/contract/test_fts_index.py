"""The full-text index: it follows the store, survives its own loss, and finds what is asked for."""

import json
import math
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from models.documents import DocumentStatus
from models.errors import Unavailable
from models.ids import new_id
from services.knowledge.analysis import ANALYSER
from services.knowledge.fts_file import LEVELS
from services.knowledge.parsing import DocumentParser
from tests.unit.memory_knowledge import Knowledge, a_document, an_assistant, passages_of

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "assets" / "samples"


@pytest.fixture
def knowledge(tmp_path: Path) -> Iterator[Knowledge]:
    made = Knowledge(tmp_path / "index")
    yield made
    made.index.close()


def test_nothing_is_found_in_nothing(knowledge: Knowledge) -> None:
    assert knowledge.search("vacation") == []
    knowledge.put("a.md", "Twenty days of vacation.")
    assert [knowledge.search(query) for query in ("", "  ", "?!", "🎉", "unheardof")] == [[]] * 5


def test_a_passage_comes_back_whole(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "# Leave\n\nTwenty days of vacation.")
    (scored,) = knowledge.search("vacations")
    assert [scored.passage] == knowledge.passages.of_document(knowledge.assistant_id, document.id, document.build)


def test_the_index_follows_the_store(knowledge: Knowledge) -> None:
    first = knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.put("b.md", "Refunds take a week.")
    assert knowledge.texts("vacation") == ["Twenty days of vacation."]
    reads = knowledge.passages.reads
    first = knowledge.revise(first, "Thirty days of vacation.")
    assert knowledge.texts("vacation") == ["Thirty days of vacation."]
    assert knowledge.passages.reads == reads + 1
    knowledge.documents.delete(first.id)
    knowledge.version += 1
    assert knowledge.texts("vacation") == []
    assert knowledge.texts("refund") == ["Refunds take a week."]


def test_nothing_is_read_while_the_version_stays(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.search("vacation")
    knowledge.documents.held.clear()
    assert len(knowledge.search("vacation")) == 1
    knowledge.version += 1
    assert knowledge.search("vacation") == []


def test_documents_without_a_build_are_not_found(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.documents.held[document.id] = replace(document, build="")
    assert knowledge.search("vacation") == []


def test_a_document_answers_from_its_build_while_newer_content_is_indexed(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "Twenty days of vacation.")
    newer = replace(document, revision=new_id(), status=DocumentStatus.INDEXING)
    assert knowledge.documents.replace(newer, document)
    assert knowledge.texts("vacation") == ["Twenty days of vacation."]


def test_a_request_that_read_its_assistant_earlier_gets_the_newer_file(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "Twenty days of vacation.")
    earlier = an_assistant(knowledge.assistant_id, knowledge.version)
    knowledge.revise(document, "Thirty days of vacation.")
    assert knowledge.texts("vacation") == ["Thirty days of vacation."]
    reads = knowledge.documents.reads
    (found,) = knowledge.index.search(earlier, "vacation", 5)
    assert found.passage.text == "Thirty days of vacation."
    assert knowledge.texts("vacation") == ["Thirty days of vacation."]
    assert knowledge.documents.reads == reads


def test_assistants_are_apart(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    assert knowledge.index.search(an_assistant(new_id(), 1), "vacation", 5) == []


@pytest.mark.parametrize("junk", [b"", b"rubbish" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_file_is_built_again(knowledge: Knowledge, junk: bytes) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.search("vacation")
    knowledge.file.write_bytes(junk)
    assert len(knowledge.search("vacation")) == 1


def test_a_file_broken_in_the_middle_is_built_again(knowledge: Knowledge) -> None:
    for number in range(30):
        knowledge.put(f"{number}.md", f"Twenty days of vacation in year {number}. " * 40)
    assert knowledge.search("vacation year")
    content = bytearray(knowledge.file.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    knowledge.file.write_bytes(content)
    assert len(knowledge.search("vacation year")) == 5


def test_a_file_of_another_format_is_built_again(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.search("vacation")
    with closing(sqlite3.connect(knowledge.file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert len(knowledge.search("vacation")) == 1
    with closing(sqlite3.connect(knowledge.file)) as connection:
        connection.execute("DROP TABLE passages")
        connection.commit()
    assert len(knowledge.search("vacation")) == 1


def test_a_lost_folder_is_made_again(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.search("vacation")
    shutil.rmtree(knowledge.directory)
    assert len(knowledge.search("vacation")) == 1


def test_a_forgotten_assistant_leaves_no_file(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.search("vacation")
    assert knowledge.file.exists()
    knowledge.index.forget(knowledge.assistant_id)
    knowledge.index.forget(knowledge.assistant_id)
    assert [path.name for path in knowledge.directory.iterdir()] == [".lock"]


@pytest.mark.parametrize("wrong", ["", "../x", "a" * 23, "A" * 24, "0" * 23 + "/"])
def test_an_id_that_is_none_names_no_file(knowledge: Knowledge, wrong: str) -> None:
    with pytest.raises(ValueError):
        knowledge.index.forget(wrong)
    with pytest.raises(ValueError):
        knowledge.index.search(an_assistant(wrong, 1), "vacation", 5)


def test_a_folder_that_cannot_be_written_is_unavailable(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.file.mkdir()
    with pytest.raises(Unavailable):
        knowledge.search("vacation")


def test_an_assistant_that_never_had_a_document_needs_no_file(knowledge: Knowledge) -> None:
    assert not knowledge.search("vacation")
    assert not knowledge.file.exists()
    knowledge.put("a.md", "Twenty days of vacation.")
    assert len(knowledge.search("vacation")) == 1


@pytest.mark.parametrize(
    "query",
    ['"', 'vacation" OR "x', "vacation*", "NEAR(vacation days)", "headings:vacation", "NOT vacation", "-vacation",
     "(vacation", "vacation AND", "vacation\0", "^vacation", "{vacation}", "vacation 🎉 ' ; DROP TABLE state"],
)  # fmt: skip
def test_the_query_language_is_out_of_reach(knowledge: Knowledge, query: str) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    assert len(knowledge.search(query)) == (0 if query == '"' else 1)


def test_a_very_long_query(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "\n\n".join(f"# Word{number}\n\nword{number} is common" for number in range(300)))
    query = " ".join(f"word{number}" for number in range(5000))[:32_000]
    assert len(knowledge.search(query, 10)) == 10
    assert knowledge.search("é" * 32_000) == []


def test_headings_count(knowledge: Knowledge) -> None:
    knowledge.put(
        "a.md", "# Bereavement\n\n## Near relatives\n\nTen days.\n\n# Moving\n\nOne day.\n\n# Other\n\nNo day."
    )
    found = knowledge.search("bereavement days")
    assert "Ten days." in found[0].passage.text
    assert found[0].coverage == 1.0


def test_coverage_tells_what_fits(knowledge: Knowledge) -> None:
    knowledge.put(
        "a.md", "# Vacation\n\nTwenty days a year.\n\n# Refunds\n\nWithin two weeks.\n\n# Hotels\n\nUp to 100."
    )
    assert knowledge.search("How many vacation days are there?")[0].coverage == 1.0
    partly = knowledge.search("vacation on the moon with astronauts")[0].coverage
    assert 0.0 < partly < 0.4
    assert all(scored.coverage == 0.0 for scored in knowledge.search("how are you?"))


def test_scores_fall(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "\n\n".join(f"# S{number}\n\n{'vacation ' * number} text" for number in range(1, 9)))
    scores = [scored.score for scored in knowledge.search("vacation", 8)]
    assert scores == sorted(scores, reverse=True) and len(scores) == 8


def test_the_best_of_many_are_those_of_a_full_ranking(knowledge: Knowledge) -> None:
    chance = random.Random(3)
    words = [f"word{number}" for number in range(400)]
    shares = [1 / (number + 1) for number in range(400)]
    for number in range(30):
        sections = (" ".join(chance.choices(words, shares, k=chance.randrange(5, 80))) for _ in range(50))
        knowledge.put(f"{number}.md", "\n\n".join(f"# {chance.choice(words)}\n\n{text}" for text in sections))
    for _ in range(30):
        query = " ".join(chance.sample(words[:5], 1) + chance.sample(words, 4))
        found = knowledge.search(query, 5)
        with closing(sqlite3.connect(knowledge.file)) as connection:
            expected = full_ranking(connection, query.split())
        assert [round(scored.score, 6) for scored in found] == [round(score, 6) for score in expected[:5]]


def full_ranking(connection: sqlite3.Connection, terms: list[str]) -> list[float]:
    """Return the BM25 of every passage, the best first, without an index."""
    rows = connection.execute("SELECT length, held FROM contents").fetchall()
    mean = sum(length for length, _ in rows) / len(rows)
    contents = [(length, Counter(held.split())) for length, held in rows]
    counts = {term: sum(term in often for _, often in contents) for term in terms}
    scores = [
        sum(
            math.log(1 + (len(rows) - counts[term] + 0.5) / (counts[term] + 0.5))
            * often[term] * 2.2 / (often[term] + 1.2 * (0.25 + 0.75 * length / mean))
            for term in terms
        )
        for length, often in contents
    ]  # fmt: skip
    return sorted(scores, reverse=True)


def test_many_threads_bring_it_up_to_date_at_once(knowledge: Knowledge) -> None:
    for number in range(20):
        knowledge.put(f"{number}.md", f"# Vacation\n\nRule {number} about vacation.\n")
    knowledge.passages.pause = 0.01
    found: list[int] = []
    gate = threading.Barrier(8)

    def ask() -> None:
        gate.wait()
        found.append(len(knowledge.search("vacation", 50)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [20] * 8
    assert (knowledge.documents.reads, knowledge.passages.reads) == (1, 20)


def test_nobody_sees_a_half_replaced_document(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "# One\n\nvacation 0\n\n# Two\n\nvacation 0")
    seen: set[tuple[str, ...]] = set()

    def ask() -> None:
        for _ in range(100):
            seen.add(tuple(sorted(text[-1] for text in knowledge.texts("vacation"))))

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 10):
        document = knowledge.revise(document, f"# One\n\nvacation {number}\n\n# Two\n\nvacation {number}")
    for reader in readers:
        reader.join()
    assert seen and all(len(texts) == 2 and len(set(texts)) == 1 for texts in seen)


def test_several_processes_bring_it_up_to_date_at_once(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from tests.unit.memory_knowledge import Knowledge
knowledge = Knowledge(Path(sys.argv[1]))
knowledge.assistant_id = "0" * 24
for version in range(1, 16):
    knowledge.put(f"{version}.md", f"Rule {version} about vacation.")
    print(len(knowledge.search("vacation", 50)))
"""
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    children = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        output, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        assert len(output.split()) == 15 and all(1 <= int(count) <= 15 for count in output.split())


def test_a_process_killed_in_an_update_leaves_a_whole_index(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from tests.unit.memory_knowledge import Knowledge
knowledge = Knowledge(Path(sys.argv[1]))
knowledge.assistant_id = "0" * 24
for number in range(60):
    knowledge.put(f"{number}.md", "\\n\\n".join(f"# {one}\\n\\nRule {one} about vacation." for one in range(100)))
knowledge.passages.before_read = lambda document_id: print(document_id, flush=True)
knowledge.search("vacation")
"""
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    for documents in (1, 25, 45):  # in the first and in later transactions
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(documents):
                assert child.stdout.readline()
            child.kill()
    knowledge = Knowledge(tmp_path)
    knowledge.assistant_id = "0" * 24
    knowledge.put("a.md", "Twenty days of vacation.")
    assert knowledge.texts("vacation") == ["Twenty days of vacation."]
    assert_consistent(knowledge)


def test_passages_that_go_while_they_are_read_are_not_missed(knowledge: Knowledge) -> None:
    first = knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.search("vacation")
    second = knowledge.revise(first, "Thirty days of vacation.")
    seen: list[list[str]] = []

    def replace_meanwhile(document_id: str) -> None:
        knowledge.passages.before_read = lambda document_id: None
        stale = an_assistant(knowledge.assistant_id, 1)
        seen.append([scored.passage.text for scored in knowledge.index.search(stale, "vacation", 5)])
        knowledge.revise(second, "Forty days of vacation.")

    knowledge.passages.before_read = replace_meanwhile
    assert knowledge.texts("vacation") == ["Forty days of vacation."]
    assert seen == [["Twenty days of vacation."]]


def test_only_questions_that_need_the_new_version_wait_for_a_large_update(knowledge: Knowledge) -> None:
    knowledge.put("a.md", "Twenty days of vacation.")
    knowledge.search("vacation")
    earlier = an_assistant(knowledge.assistant_id, knowledge.version)
    for number in range(30):
        knowledge.put(f"{number}.md", f"Rule {number} about vacation.")
    begun, go_on = threading.Event(), threading.Event()

    def hold(document_id: str) -> None:
        begun.set()
        go_on.wait()

    knowledge.passages.before_read = hold
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(len(knowledge.search("vacation", 50))))
    later.start()
    begun.wait()
    try:
        assert len(knowledge.index.search(earlier, "vacation", 50)) == 1
    finally:
        go_on.set()
        later.join()
    assert found == [31]


def test_a_large_update_is_made_in_parts_and_goes_on_where_it_was_left(knowledge: Knowledge) -> None:
    text = "\n\n".join(f"# Part {number}\n\nRule {number} about vacation." for number in range(900))
    for number in range(6):
        knowledge.put(f"{number}.md", text)

    def fail_at_the_last(document_id: str) -> None:
        if knowledge.passages.reads == 6:
            raise Unavailable("The store is away.")

    knowledge.passages.before_read = fail_at_the_last
    with pytest.raises(Unavailable):
        knowledge.search("vacation")
    knowledge.passages.before_read = lambda document_id: None
    assert len(knowledge.search("vacation", 6000)) == 5400
    assert 7 <= knowledge.passages.reads <= 9
    assert_consistent(knowledge)
    knowledge.documents.held.clear()
    knowledge.version += 1
    assert knowledge.search("vacation") == []
    assert_consistent(knowledge)


def assert_consistent(knowledge: Knowledge) -> None:
    """Compare what the file counts with what it holds."""
    with closing(sqlite3.connect(knowledge.file)) as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab (main, terms, row)")
        listed = connection.execute("SELECT term, doc FROM vocabulary").fetchall()
        vocabulary = {term: count for term, count in listed if not term.endswith(tuple(level.mark for level in LEVELS))}
        contents = connection.execute("SELECT number, length, held FROM contents").fetchall()
        held = {number: terms.split() for number, _, terms in contents}
        counts = Counter(term for terms in held.values() for term in set(terms))
        assert vocabulary == counts
        assert dict(connection.execute("SELECT term, passages FROM counts WHERE passages <> 0").fetchall()) == counts
        assert held.keys() == {number for (number,) in connection.execute("SELECT number FROM passages").fetchall()}
        (state,) = connection.execute("SELECT passages, length FROM state").fetchall()
        assert state == (len(held), sum(length for _, length, _ in contents))


def test_terms_made_by_this_analysis_are_taken_as_they_are(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "Twenty days of vacation.")
    key = (document.assistant_id, document.id, document.build)
    (passage,) = knowledge.passages.held[key]
    knowledge.passages.held[key] = [replace(passage, analyser=ANALYSER, terms=("titleterm", "bodyterm bodyterm"))]
    (found,) = knowledge.search("bodyterm")
    assert found.passage.terms == ("", "") and found.passage.text == passage.text
    assert len(knowledge.search("titleterm")) == 1 and knowledge.search("vacation") == []


def test_terms_made_by_another_analysis_are_made_again(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "Twenty days of vacation.")
    key = (document.assistant_id, document.id, document.build)
    (passage,) = knowledge.passages.held[key]
    knowledge.passages.held[key] = [replace(passage, analyser=ANALYSER + 1, terms=("titleterm", "bodyterm"))]
    assert knowledge.search("bodyterm titleterm") == [] and len(knowledge.search("vacation")) == 1


def test_the_header_of_a_split_table_is_found_with_its_rows(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "| Ana | 20 |")
    key = (document.assistant_id, document.id, document.build)
    (passage,) = knowledge.passages.held[key]
    knowledge.passages.held[key] = [replace(passage, header="| Name | Vacation |\n|---|---|")]
    (found,) = knowledge.search("vacation of Ana")
    assert found.coverage == 1.0


def test_places_are_scored_for_a_question(knowledge: Knowledge) -> None:
    document = knowledge.put("a.md", "# Vacation\n\nTwenty days a year.\n\n# Refunds\n\nWithin two weeks.")
    (vacation,) = knowledge.search("vacation days on the moon")
    places = [(document.id, 1), (document.id, 0), (document.id, 2), (new_id(), 0)]
    scored = knowledge.index.score(an_assistant(knowledge.assistant_id, 1), "vacation days on the moon", places)
    assert list(scored) == [(document.id, 1), (document.id, 0)]
    assert scored[document.id, 0] == replace(vacation, score=0.0)
    assert scored[document.id, 1].coverage == 0.0
    revised = knowledge.revise(document, "Nothing.")
    newer = an_assistant(knowledge.assistant_id, knowledge.version)
    assert list(knowledge.index.score(newer, "vacation", [(revised.id, 0), (revised.id, 1)])) == [(revised.id, 0)]
    assert knowledge.index.score(an_assistant(new_id(), 0), "vacation", places) == {}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    made, parser = Knowledge(tmp_path_factory.mktemp("index")), DocumentParser()
    for path in sorted((SAMPLES / "policies").iterdir()):
        if path.name == "prompt.txt":
            continue
        parsed = parser.parse(path.name, path.read_bytes())
        document = a_document(made.assistant_id, path.name, "1", parsed.language)
        made.passages.add(passages_of(document, parsed.text, markdown=path.suffix != ".txt"))
        made.documents.add(document)
    made.version = 1
    return made


QUESTIONS = json.loads((SAMPLES / "questions.json").read_text(encoding="utf-8"))


def rank(policies: Knowledge, question: dict[str, str]) -> int:
    """Return the place of the passage that answers, 99 if it is not among the first eight."""
    for place, scored in enumerate(policies.search(question["question"], 8), 1):
        if scored.passage.filename == question["filename"] and question["expects"] in scored.passage.text:
            return place
    return 99


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["question"])
def test_a_question_finds_its_passage_among_the_first_three(policies: Knowledge, question: dict[str, str]) -> None:
    assert rank(policies, question) <= 3


@pytest.mark.parametrize("language", ["en", "pt", "zh"])
def test_most_questions_find_their_passage_first(policies: Knowledge, language: str) -> None:
    ranks = [rank(policies, question) for question in QUESTIONS if question["language"] == language]
    assert len(ranks) >= 12 and ranks.count(1) >= 0.85 * len(ranks)


@pytest.mark.parametrize(
    "question",
    ["who won the football world cup in 2022", "qual é a capital da frança", "今天天气怎么样", "tell me a joke"],
)
def test_other_questions_are_not_covered(policies: Knowledge, question: str) -> None:
    assert all(scored.coverage < 0.3 for scored in policies.search(question))
