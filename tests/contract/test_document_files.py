"""The bytes of documents: kept under their revision, put in place atomically, and never under another name."""

from collections.abc import Callable

import pytest

from models.documents import StoredVersion
from models.errors import Unavailable
from services.ports import DocumentFiles
from tests.contract.document_stores import ASSISTANT, PATH, PROMPT, ROUTER_PROMPT, Place, content_of
from tests.contract.stores import at_once

OTHER = f"{'f' * 24}/prompt.txt"


@pytest.fixture
def files(place: Place) -> DocumentFiles:
    """Give the port over it."""
    return place.files


def kept(files: DocumentFiles) -> set[tuple[str, str]]:
    """Return (filepath, revision) of everything that is kept."""
    return {(one.filepath, one.revision) for one in files.kept()}


def kept_name(filepath: str, revision: str) -> str:
    """Return the name under which a revision lies."""
    assistant_id, _, rest = filepath.partition("/")
    return f"{assistant_id}/.versions/{revision}/{rest}"


@pytest.mark.parametrize("filepath", [PATH, PROMPT, ROUTER_PROMPT])
def test_a_staged_revision_is_kept_and_seen_in_place_once_it_is_published(place: Place, filepath: str) -> None:
    files = place.files
    files.stage(filepath, "r1", b"one")
    assert content_of(files, filepath) is None
    assert content_of(files, filepath, "r1") == b"one"
    files.publish(filepath, "r1")
    assert content_of(files, filepath) == b"one"
    assert place.everything() == sorted([kept_name(filepath, "r1"), filepath])
    assert kept(place.files) == {(filepath, "r1")}


def test_the_old_content_stays_until_the_new_is_published(files: DocumentFiles) -> None:
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    files.stage(PATH, "r2", b"two")
    assert content_of(files, PATH) == b"one"
    file = files.open(PATH)
    files.publish(PATH, "r2")
    assert content_of(files, PATH) == b"two"
    assert file is not None
    with file:
        assert file.read() == b"one"
    files.publish(PATH, "r1")
    assert content_of(files, PATH) == b"one"
    assert kept(files) == {(PATH, "r1"), (PATH, "r2")}


def test_publishing_twice_or_nothing_changes_nothing(place: Place) -> None:
    files = place.files
    files.publish(PATH, "r1")
    assert content_of(files, PATH) is None and place.everything() == []
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    files.publish(PATH, "r1")
    files.publish(PATH, "r2")
    assert content_of(files, PATH) == b"one"
    assert len(place.everything()) == 2


def test_a_change_by_hand_leaves_the_revision_alone(place: Place) -> None:
    files = place.files
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    place.put(PATH, b"edited")
    assert content_of(files, PATH) == b"edited"
    assert content_of(files, PATH, "r1") == b"one"
    files.publish(PATH, "r1")
    assert content_of(files, PATH) == b"one"


def test_a_discarded_revision_is_gone(place: Place) -> None:
    files = place.files
    files.stage(PATH, "r1", b"one")
    files.discard(PATH, "r1")
    files.discard(PATH, "r1")
    files.publish(PATH, "r1")
    assert content_of(files, PATH) is None and content_of(files, PATH, "r1") is None
    assert place.everything() == []
    assert kept(files) == set()


def test_a_published_file_outlives_its_revision(files: DocumentFiles) -> None:
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    files.discard(PATH, "r1")
    assert content_of(files, PATH) == b"one"


def test_one_revision_may_name_two_files(files: DocumentFiles) -> None:
    files.stage(PATH, "r1", b"one")
    files.stage(PROMPT, "r1", b"two")
    files.publish(PATH, "r1")
    files.publish(PROMPT, "r1")
    assert (content_of(files, PATH), content_of(files, PROMPT)) == (b"one", b"two")
    files.discard(PATH, "r1")
    assert content_of(files, PROMPT, "r1") == b"two"


def test_an_open_file_can_be_sought_in(files: DocumentFiles) -> None:
    content = bytes(range(256)) * 20_000
    files.stage(PATH, "r1", content)
    file = files.open(PATH, "r1")
    assert file is not None
    with file:
        assert file.seek(0, 2) == len(content)
        file.seek(-4, 1)
        assert file.read() == content[-4:]
        file.seek(0)
        assert file.read() == content


def test_empty_files_are_files(files: DocumentFiles) -> None:
    files.stage(PATH, "r1", b"")
    files.publish(PATH, "r1")
    assert content_of(files, PATH) == b""
    assert files.published(ASSISTANT)[PATH].size == 0


def test_kept_revisions_tell_their_age(files: DocumentFiles) -> None:
    files.stage(PATH, "r1", b"one")
    files.stage(OTHER, "r2", b"two")
    files.publish(OTHER, "r2")
    files.stage(ROUTER_PROMPT, "r3", b"three")
    found = {(one.filepath, one.revision): one for one in files.kept()}
    assert set(found) == {(PATH, "r1"), (OTHER, "r2"), (ROUTER_PROMPT, "r3")}
    assert all(isinstance(one, StoredVersion) and 0 <= one.age_seconds < 60 for one in found.values())


def test_what_is_not_ours_is_no_kept_revision(place: Place) -> None:
    for name in (
        "lost.txt", "other/.versions/r1/prompt.txt", f"{ASSISTANT}/.versions/r1/notes.txt", f"{ASSISTANT}/.versions/x",
        f"{ASSISTANT}/.versions/r 1/prompt.txt", f"{ASSISTANT}/.versions/r1/knowledge/.hidden",
        f"{ASSISTANT}/.versions/r1/knowledge/a/b.md", f"{ASSISTANT}/.staged/r1/prompt.txt",
    ):  # fmt: skip
        place.put(name, b"x")
    assert kept(place.files) == set()


def test_published_lists_whatever_lies_in_place(place: Place) -> None:
    files = place.files
    assert files.published(ASSISTANT) == {}
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    files.stage(PATH, "r2", b"not published")
    by_hand = [f"{ASSISTANT}/knowledge/a\\b.md", f"{ASSISTANT}/knowledge/zwölf.md", PROMPT, ROUTER_PROMPT]
    hidden = [f"{ASSISTANT}/knowledge/.x", f"{ASSISTANT}/knowledge/sub/x.md", f"{ASSISTANT}/prompt.txt.bak", OTHER]
    hidden += [f"{ASSISTANT}/notes.txt", f"{ASSISTANT}/sub/router.txt"]
    for name in by_hand + hidden:
        place.put(name, b"by hand")
    found = files.published(ASSISTANT)
    assert set(found) == {PATH, *by_hand}
    assert found[PATH].size == 3 and found[PROMPT].size == 7
    assert all(file.modified_at.tzinfo is not None for file in found.values())


def test_the_digest_is_that_of_the_file_in_place(place: Place) -> None:
    files = place.files
    assert files.digest(PATH) is None
    files.stage(PATH, "r1", b"one")
    assert files.digest(PATH) is None
    files.publish(PATH, "r1")
    assert files.digest(PATH) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    place.put(PATH, b"two")
    assert files.digest(PATH) == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"


def test_deleting(place: Place) -> None:
    files = place.files
    files.delete(PATH, ["r1"])
    files.delete_of_assistant(ASSISTANT)
    for revision in ("r1", "r2", "r3"):
        files.stage(PATH, revision, b"one")
    files.publish(PATH, "r1")
    files.delete(PATH, ["r1", "r2", "absent"])
    assert content_of(files, PATH) is None
    assert place.everything() == [kept_name(PATH, "r3")]
    files.publish(PATH, "r3")
    place.put(f"{ASSISTANT}/knowledge/by hand.md", b"x")
    files.stage(OTHER, "r1", b"other")
    files.delete_of_assistant(ASSISTANT)
    assert place.everything() == [kept_name(OTHER, "r1")]


def test_of_publishers_at_the_same_time_one_content_stays_whole(place: Place) -> None:
    contents = [bytes([65 + number]) * 300_000 for number in range(6)]
    for number, content in enumerate(contents):
        place.files.stage(PATH, f"r{number}", content)
    place.files.publish(PATH, "r0")
    seen: list[bytes | None] = []

    def act(number: int) -> None:
        files = place.files
        for _ in range(5):
            if number % 2:
                files.publish(PATH, f"r{number}")
            else:
                seen.append(content_of(files, PATH))

    at_once(6, act)
    assert all(content in contents for content in seen)
    assert content_of(place.files, PATH) in contents
    assert len(place.everything()) == 7


def test_a_deletion_during_uploads_leaves_no_file_half_written(place: Place) -> None:
    files = place.files

    def act(number: int) -> None:
        filepath = f"{ASSISTANT}/knowledge/{number}.md"
        for _ in range(5):
            if number == 0:
                files.delete_of_assistant(ASSISTANT)
            else:
                try:
                    files.stage(filepath, "r1", b"x" * 1000)
                    files.publish(filepath, "r1")
                except Unavailable:
                    continue
                assert content_of(files, filepath) in (None, b"x" * 1000)

    at_once(4, act)
    files.delete_of_assistant(ASSISTANT)
    assert place.everything() == []


@pytest.mark.parametrize(
    "filepath",
    [
        "", "/etc/passwd", "../x", f"{ASSISTANT}", f"{ASSISTANT}/", f"{ASSISTANT}/x.txt", f"{ASSISTANT}/knowledge/",
        f"{ASSISTANT}/knowledge/..", f"{ASSISTANT}/knowledge/.hidden", f"{ASSISTANT}/knowledge/a/b",
        f"{ASSISTANT}/knowledge/a\\b", f"{ASSISTANT}/knowledge/a\0", f"{ASSISTANT}/../x/prompt.txt",
        f"{ASSISTANT[:-1]}/prompt.txt", f"{ASSISTANT.upper()}/prompt.txt", f"/{PROMPT}", f"{PROMPT}\n",
        f"{ASSISTANT}/.versions/r1/prompt.txt", f"{ASSISTANT}/knowledge/{'a' * 256}",
    ],
)  # fmt: skip
def test_other_paths_are_refused(place: Place, filepath: str) -> None:
    files = place.files
    uses: list[Callable[[], object]] = [
        lambda: files.open(filepath),
        lambda: files.open(filepath, "r1"),
        lambda: files.delete(filepath, []),
        lambda: files.digest(filepath),
        lambda: files.stage(filepath, "r1", b"x"),
        lambda: files.publish(filepath, "r1"),
        lambda: files.discard(filepath, "r1"),
    ]
    for use in uses:
        with pytest.raises(ValueError):
            use()
    assert place.everything() == []


@pytest.mark.parametrize(
    "assistant_id", ["", ".", "..", "/", ASSISTANT[:-1], ASSISTANT.upper(), f"{ASSISTANT}/", PROMPT]
)
def test_other_assistants_are_refused(place: Place, assistant_id: str) -> None:
    place.put(PROMPT, b"x")
    for use in (place.files.delete_of_assistant, place.files.published):
        with pytest.raises(ValueError):
            use(assistant_id)
    assert place.everything() == [PROMPT]


@pytest.mark.parametrize("revision", ["", ".", "..", "a/b", "a" * 101, "é", "r1\n"])
def test_other_revisions_are_refused(files: DocumentFiles, revision: str) -> None:
    for use in (files.open, files.publish, files.discard):
        with pytest.raises(ValueError):
            use(PATH, revision)
    with pytest.raises(ValueError):
        files.stage(PATH, revision, b"x")
    with pytest.raises(ValueError):
        files.delete(PATH, [revision])
