"""Prompt documents of roles, beside the assistant's own, on each store and each place for files."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.documents import DocumentStatus, DocumentType
from models.errors import Invalid, Unavailable
from models.prompts import prompt_filename
from models.routing import PromptRole, Routing
from models.users import Principal
from services.importing.documents import FolderImport, ImportLimits
from services.prompt_texts import PromptTexts
from tests.contract.document_stores import Place
from tests.contract.house import ADMIN, PAGE, VERSIONS, House
from tests.contract.stores import Stores

PROMPT = DocumentType.PROMPT


@pytest.fixture
def house(stores: Stores, tmp_path: Path, place: Place) -> House:
    """Give an assistant without documents."""
    return House(stores, tmp_path, place)


def texts_of(house: House) -> PromptTexts:
    """Return what answers read prompts with."""
    return PromptTexts(house.stores.documents, house.stores.passages)


def prompts(house: House) -> dict[str, str]:
    """Return the text of each role, and of the assistant's own prompt under ""."""
    texts = texts_of(house)
    return {"": texts.of(house.assistant), **{role.value: texts.of(house.assistant, role) for role in PromptRole}}


@pytest.mark.parametrize(
    ("uploaded", "kept"),
    [
        ("router.txt", "router.txt"),
        ("Router.TXT", "router.txt"),
        ("CHATTY.md", "chatty.txt"),
        ("chat.Md", "chat.txt"),
        ("tool.txt", "tool.txt"),
        ("prompt.md", "prompt.txt"),
        ("chatbot.txt", "prompt.txt"),
        ("my router.txt", "prompt.txt"),
        ("router", "prompt.txt"),
        ("router.pdf", "prompt.txt"),
        ("router.txt.md", "prompt.txt"),
    ],
)
def test_a_prompt_named_after_a_role_is_that_roles(uploaded: str, kept: str) -> None:
    assert prompt_filename(uploaded) == kept


def test_each_role_has_a_document_beside_the_assistants_own(house: House) -> None:
    own = house.add(b"You are {{ assistant }}.", "house rules.md", PROMPT)
    router = house.add(b"Decide.", "Router.md", PROMPT)
    assert (own.filepath, own.filename) == (f"{house.assistant.id}/prompt.txt", "prompt.txt")
    assert (router.filepath, router.filename) == (f"{house.assistant.id}/router.txt", "router.txt")
    assert router.status is DocumentStatus.READY
    assert sorted(house.state().files) == ["prompt.txt", "router.txt"]
    assert prompts(house) == {
        "": "You are {{ assistant }}.",
        "chat": "You are {{ assistant }}.",
        "tool": "You are {{ assistant }}.",
        "router": "Decide.",
        "chatty": "",
    }
    house.add(b"Talk.", "chat.txt", PROMPT)
    assert (prompts(house)["chat"], prompts(house)["tool"]) == ("Talk.", "You are {{ assistant }}.")


def test_a_prompt_of_the_routing_comes_before_a_document(house: House) -> None:
    house.add(b"Decide.", "router.txt", PROMPT)
    routed = replace(house.assistant, routing=Routing(prompts={"router": "Decide well.", "chatty": "Hum."}))
    texts = texts_of(house)
    assert [texts.of(routed, role) for role in (PromptRole.ROUTER, PromptRole.CHATTY, PromptRole.TOOL)] == [
        "Decide well.", "Hum.", "",
    ]  # fmt: skip


def test_a_prompt_whose_text_is_gone_is_not_passed_over(house: House) -> None:
    house.add(b"You are kind.", "prompt.txt", PROMPT)
    tool = house.add(b"Use tools.", "tool.txt", PROMPT)
    house.stores.passages.delete_of_document(house.assistant.id, tool.id)
    with pytest.raises(Unavailable) as lost:
        texts_of(house).of(house.assistant, PromptRole.TOOL)
    assert lost.value.code == "prompt_missing"


def test_they_have_versions_are_listed_and_deleted_each_for_itself(house: House) -> None:
    house.add(b"Own.", "prompt.txt", PROMPT)
    first = house.add(b"One.", "chat.txt", PROMPT)
    second = house.add(b"Two.", "CHAT.md", PROMPT)
    assert (second.id, len(second.versions)) == (first.id, 2)
    back = house.main.documents.restore(ADMIN, first.id, first.revision)
    assert (back.filename, prompts(house)["chat"]) == ("chat.txt", "One.")
    assert house.main.documents.reindex(ADMIN, first.id).filename == "chat.txt"
    listed = house.main.documents.list(ADMIN, house.assistant.id, PROMPT, PAGE).items
    assert {one.filename: one.drift for one in listed} == {"prompt.txt": None, "chat.txt": None}
    _, stream = house.main.documents.open(ADMIN, first.id)
    with stream:
        assert stream.read() == b"One."
    house.main.documents.delete(ADMIN, first.id)
    assert (prompts(house)["chat"], house.state().files) == ("Own.", ["prompt.txt"])
    assert house.state().kept == 2 <= VERSIONS


def test_recovery_knows_them(house: House) -> None:
    kept = house.add(b"Decide.", "router.txt", PROMPT)
    files = house.place.files
    shelf = house.server({"files": Aged(files)}).shelf
    files.stage(kept.filepath, "died", b"half")
    shelf.recover()
    assert {one.revision for one in files.kept()} == {kept.revision, kept.build}


class Aged:
    """Stand before document files and let everything in them be old."""

    def __init__(self, files: object) -> None:
        self._files = files

    def __getattr__(self, name: str) -> object:
        real = getattr(self._files, name)
        if name != "kept":
            return real
        return lambda: [replace(one, age_seconds=1e6) for one in real()]


def test_a_wrong_template_is_refused_and_the_old_prompt_stays(house: House) -> None:
    house.add(b"Decide.", "router.txt", PROMPT)
    with pytest.raises(Invalid) as wrong:
        house.add(b"Decide, {{ nobody }}.", "router.txt", PROMPT)
    assert wrong.value.code == "template_error"
    assert prompts(house)["router"] == "Decide."


def test_a_file_changed_by_hand_is_told(house: House) -> None:
    house.add(b"Decide.", "router.txt", PROMPT)
    house.place.put(_name(house, "router.txt"), b"Decide otherwise.")
    (listed,) = house.main.documents.list(ADMIN, house.assistant.id, None, PAGE).items
    assert listed.drift is not None
    house.place.take(_name(house, "router.txt"))
    (listed,) = house.main.documents.list(ADMIN, house.assistant.id, None, PAGE).items
    assert listed.drift is not None and listed.drift.value == "missing"


def test_a_folder_brings_them(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for name in ("prompt.txt", "router.txt", "chatty.txt", "Chat.txt", "tool.md", "sub/tool.txt"):
        (folder / name).write_text(f"The deadline of {name}.")

    def run(caller: Principal = ADMIN) -> tuple[tuple[str, ...], tuple[str, ...]]:
        limits = ImportLimits(frozenset({"md", "txt"}), 2**20)
        done = FolderImport(house.main.documents, caller, house.assistant.id, limits).run(folder, lambda *told: None)
        assert (done.failed, done.skipped) == ((), ())
        return done.added, done.unchanged

    assert len(run()[0]) == 6
    assert {one.filename for one in house.documents() if one.type is PROMPT} == {
        "prompt.txt", "router.txt", "chatty.txt",
    }  # fmt: skip
    assert prompts(house)["router"] == "The deadline of router.txt."
    assert prompts(house)["tool"] == "The deadline of prompt.txt."
    assert len(run()[1]) == 6


def _name(house: House, name: str) -> str:
    return f"{house.assistant.id}/{name}"
