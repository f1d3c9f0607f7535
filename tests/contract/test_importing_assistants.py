"""Importing assistants on both stores: what is made of folders and exports, and what a second run changes."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from models.assistants import Assistant
from models.chats import Chat, ChatFilter, ChatStatus
from models.clock import now
from models.conversations import Channel, Conversation
from models.documents import DocumentType
from models.errors import Invalid, NotFound, Unavailable
from models.ids import new_id
from models.paging import Page
from models.users import Role
from services.api_keys import ApiKeys
from services.assistants import AssistantService
from services.importing.assistants import AssistantImport, ImportReport
from services.importing.material import ImportOrder
from services.importing.threads import ThreadsSummary
from services.webhook_secrets import WebhookSecrets
from tests.contract.engine import chats_of
from tests.contract.house import PAGE, House
from tests.contract.stores import Stores, make_user
from tests.unit.test_exported import export, message, write

ANSWERED, INACTIVE, MERGED = ChatStatus.ANSWERED, ChatStatus.INACTIVE, ChatStatus.MERGED
SERVICE = "queryAssistant"


@dataclass(frozen=True)
class Office:
    """Imports over the documents of a house, with one admin."""

    stores: Stores
    house: House
    assistants: AssistantService
    imports: AssistantImport

    def run(self, source: Path, **options: Any) -> tuple[Assistant, ImportReport]:
        """Import and return the assistant, as it is stored, and the report."""
        order = ImportOrder(source, **options)
        material = self.imports.read(order, self.count)
        assistant = self.imports.begin(order, material)
        report = self.imports.take(assistant, material, self.count, self.count)
        stored = self.stores.assistants.get(assistant.id)
        assert stored is not None
        return stored, report

    def count(self, done: int, of: int, what: str) -> None:
        """Check what a progress bar is told."""
        assert 0 <= done <= of

    def documents(self, assistant: Assistant) -> dict[str, tuple[DocumentType, str]]:
        """Return filename -> type and text of every document."""
        found = {}
        for document in self.stores.documents.list([assistant.id], None, PAGE).items:
            pieces = self.stores.passages.of_document(assistant.id, document.id, document.build)
            found[document.filename] = document.type, "".join(piece.text for piece in pieces)
        return found

    def count_assistants(self) -> int:
        """Return how many assistants there are, without the house's own."""
        return self.stores.assistants.list(None, Page()).total - 1

    def conversation(self, assistant: Assistant) -> Conversation:
        """Return the assistant's only conversation."""
        (conversation,) = self.stores.conversations.list([assistant.id], PAGE).items
        return conversation

    def said(self, assistant: Assistant) -> list[tuple[ChatStatus, str | None, str | None]]:
        """Return status, message and answer of its chats, oldest first."""
        return [(chat.status, chat.message, chat.response) for chat in chats_of(self.stores, assistant.id)]


@pytest.fixture
def office(stores: Stores, tmp_path: Path) -> Office:
    """Give an office whose only account is an admin's."""
    stores.users.add(replace(make_user("ada@example.com"), role=Role.ADMIN))
    house = House(stores, tmp_path)
    assistants = AssistantService(
        stores.assistants,
        stores.users,
        cast(Any, None),
        ApiKeys("secret"),
        WebhookSecrets("secret"),
        cast(Any, None),
        cast(Any, None),
        frozenset({"openai"}),
        0,
    )
    imports = AssistantImport(stores.users, assistants, house.main.documents, stores.conversations, stores.chats)
    return Office(stores, house, assistants, imports)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a prompt, a document and a hidden file."""
    made = tmp_path / "policies"
    made.mkdir()
    (made / "prompt.txt").write_text("You are {{ assistant }}.")
    (made / "leave.md").write_text("The deadline is Friday.")
    (made / ".DS_Store").write_bytes(b"x")
    return made


def test_a_folder_becomes_an_assistant(office: Office, folder: Path) -> None:
    ada = office.stores.users.find_by_email("ada@example.com")
    assistant, report = office.run(folder, provider="openai", owner_email=" Ada@Example.com ")
    assert ada and (assistant.name, assistant.owner_id, assistant.provider) == ("policies", ada.id, "openai")
    assert office.documents(assistant) == {
        "prompt.txt": (DocumentType.PROMPT, "You are {{ assistant }}."),
        "leave.md": (DocumentType.RAG, "The deadline is Friday."),
    }
    assert report.complete and report.files.added == ("leave.md", "prompt.txt")
    assert [remark.path for remark in report.files.skipped] == [".DS_Store"]
    again, report = office.run(folder, assistant_id=assistant.id)
    assert again.id == assistant.id and report.files.unchanged == ("leave.md", "prompt.txt")
    assert (office.imports.revealed_key(assistant) or "").startswith("orq_")


def _several_admins(office: Office, path: Path) -> dict[str, Any]:
    office.stores.users.add(replace(make_user("b@example.com"), role=Role.ADMIN))
    return {}


def _bad_addresses(text: str) -> Callable[[Office, Path], dict[str, Any]]:
    def options(office: Office, path: Path) -> dict[str, Any]:
        (path.parent / "addresses.json").write_text(text)
        return {"source": export(path.parent), "addresses": path.parent / "addresses.json"}

    return options


def _no_json(office: Office, path: Path) -> dict[str, Any]:
    (path.parent / "a.json").write_text("{")
    return {"source": path.parent / "a.json"}


def _no_messages(office: Office, path: Path) -> dict[str, Any]:
    return {"source": export(path.parent), "threads": write(path.parent / "t.jsonl", b"{")}


def _only_hidden(office: Office, path: Path) -> dict[str, Any]:
    (path.parent / "empty").mkdir()
    (path.parent / "empty" / ".hidden.md").write_text("x")
    return {"source": path.parent / "empty"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (lambda office, path: {"owner_email": "nobody@example.com"}, "no account of nobody@example.com"),
        (_several_admins, "several admins"),
        (lambda office, path: {"provider": "nothing"}, "not configured"),
        (lambda office, path: {"assistant_id": "0" * 24}, "no assistant"),
        (lambda office, path: {"name": "x" * 201}, "200 characters"),
        (lambda office, path: {"source": export(path.parent), "files": path / "nowhere"}, "no folder"),
        (_no_json, "no JSON"),
        (_no_messages, "no message"),
        (_only_hidden, "No file"),
        (_bad_addresses("["), "no JSON object"),
        (_bad_addresses('{"a": 1}'), "no JSON object"),
        (_bad_addresses('{" ": "thread_1"}'), "256"),
        (_bad_addresses('{"a": "thread_1", "b": "thread_1"}'), "same thread"),
    ],
)
def test_what_cannot_start_leaves_nothing(
    office: Office, folder: Path, options: Callable[[Office, Path], dict[str, Any]], told: str
) -> None:
    with pytest.raises((Invalid, NotFound), match=told):
        office.run(**{"source": folder, **options(office, folder)})
    assert office.count_assistants() == 0


def test_an_export_becomes_an_assistant(office: Office, folder: Path) -> None:
    given = {
        "name": "Bia",
        "instructions": "Keep {{ braces }} and {% endraw %}.",
        "model": "gpt-4-1106-preview",
        "temperature": 0.5,
        "tools": [{"type": "code_interpreter"}],
        "files": ["leave.md", "prompt.txt", "missing.pdf", "../secret.md"],
    }
    (folder.parent / "secret.md").write_text("secret")
    source = export(folder.parent, **given)
    assistant, report = office.run(source, files=folder, keep_model=True)
    assert (assistant.name, assistant.model, assistant.temperature) == ("Bia", "gpt-4-1106-preview", 0.5)
    documents = office.documents(assistant)
    assert documents["leave.md"] == (DocumentType.RAG, "The deadline is Friday.")
    assert not report.complete
    assert [remark.path for remark in report.files.failed] == ["../secret.md", "missing.pdf"]
    prompt = office.stores.documents.find(assistant.id, DocumentType.PROMPT, "prompt.txt")
    ragged = office.stores.documents.find(assistant.id, DocumentType.RAG, "prompt.txt")
    assert prompt and ragged and prompt.filename == "prompt.txt"
    _, again = office.run(source, files=folder, assistant_id=assistant.id)
    assert again.files.unchanged == ("instructions", "leave.md", "prompt.txt")
    other, report = office.run(export(folder, **{**given, "files": None}), files=folder)
    assert (other.model, other.temperature) == (None, None)
    assert report.complete and report.files.added == ("instructions", "leave.md", "prompt.txt")


def test_files_that_cannot_be_had_are_told(office: Office, folder: Path) -> None:
    _, report = office.run(export(folder.parent, files=["leave.md"]))
    assert "--files" in report.files.failed[0].reason
    _, report = office.run(export(folder.parent, file_ids=["file-1"]))
    assert "no names" in report.files.failed[0].reason
    (folder / "sub").mkdir()
    (folder / "sub" / "leave.md").write_text("Another.")
    (folder / "photo.jpg").write_bytes(b"x")
    _, report = office.run(export(folder.parent, files=["leave.md", "photo.jpg"]), files=folder)
    reasons = {remark.path: remark.reason for remark in report.files.failed}
    assert "same name" in reasons["leave.md"] and "kind" in reasons["photo.jpg"]
    (folder / "cafe\u0301.md").write_text("As macOS writes it.")
    _, report = office.run(export(folder.parent, files=["caf\u00e9.md"]), files=folder)
    assert report.complete


def test_a_thread_becomes_a_conversation(office: Office, tmp_path: Path) -> None:
    lines = [
        message(1, "assistant", "Welcome【0†source】"),
        message(2, text="Hello?", metadata={"page": "home"}),
        message(3, text="How many days?"),
        message(4, "assistant", "27."),
        message(5, "assistant", "Anything else?"),
        message(6, text="No"),
        message(7, text="Bye"),
    ]
    source = export(tmp_path, model="gpt-4-1106-preview")
    assistant, report = office.run(source, threads=write(tmp_path / "t.jsonl", *lines[::-1]))
    assert report.threads == ThreadsSummary(conversations=1, added=7)
    chats = chats_of(office.stores, assistant.id)
    assert [(chat.status, chat.message, chat.response) for chat in chats] == [
        (ANSWERED, None, "Welcome"),
        (MERGED, "Hello?", None),
        (ANSWERED, "How many days?", "27."),
        (ANSWERED, None, "Anything else?"),
        (INACTIVE, "No", None),
        (INACTIVE, "Bye", None),
    ]
    assert chats[1].merged_into == chats[2].id and chats[1].metadata == {"page": "home"}
    times = [int((chat.answered_at or chat.created_at).timestamp()) - 1_700_000_000 for chat in chats]
    assert times == [1, 2, 4, 5, 6, 7]
    assert (chats[2].message_id, chats[2].response_id, chats[2].model) == ("msg_3", "msg_4", "gpt-4-1106-preview")
    assert [chat.id for chat in chats] == sorted(chat.id for chat in chats)
    conversation = office.conversation(assistant)
    assert (conversation.message_count, conversation.last_message) == (7, "Bye")
    assert conversation.channel == Channel("thread_1", SERVICE)
    remembered = office.stores.chats.history(conversation.id, new_id(), 100)
    assert [chat.id for chat in remembered] == [chat.id for chat in chats], "older than everything new"
    assert office.stores.chats.unfinished(now(), 100) == [], "nobody is to answer what was said long ago"


def test_the_same_file_twice_changes_nothing(office: Office, tmp_path: Path) -> None:
    threads = write(tmp_path / "t.jsonl", message(1), message(2, "assistant"), message(1), message(3))
    source = export(tmp_path)
    assistant, report = office.run(source, threads=threads)
    before = chats_of(office.stores, assistant.id), office.conversation(assistant)
    assert report.threads == ThreadsSummary(conversations=1, added=3)
    _, report = office.run(source, threads=threads, assistant_id=assistant.id)
    assert report.threads == ThreadsSummary(conversations=1, unchanged=3)
    assert (chats_of(office.stores, assistant.id), office.conversation(assistant)) == before


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ((1, 2, 3), [(ANSWERED, "1", "2"), (INACTIVE, "3", None), (ANSWERED, None, "4")]),
        ((2, 3, 4), [(INACTIVE, "1", None), (ANSWERED, None, "2"), (ANSWERED, "3", "4")]),
        ((1, 3, 4), [(MERGED, "1", None), (ANSWERED, None, "2"), (ANSWERED, "3", "4")]),
        ((1, 2, 4), [(ANSWERED, "1", "2"), (INACTIVE, "3", None), (ANSWERED, None, "4")]),
    ],
)
def test_what_was_missing_is_added_in_its_place(
    office: Office, tmp_path: Path, first: tuple[int, ...], expected: list[tuple[ChatStatus, str | None, str | None]]
) -> None:
    lines = [message(number, "user" if number % 2 else "assistant", str(number)) for number in (1, 2, 3, 4)]
    threads, source = tmp_path / "t.jsonl", export(tmp_path)
    assistant, report = office.run(source, threads=write(threads, b"{", *(lines[number - 1] for number in first)))
    assert report.threads and not report.complete and report.threads.failed[0].path == "line 1"
    _, report = office.run(source, threads=write(threads, *lines), assistant_id=assistant.id)
    assert report.threads == ThreadsSummary(conversations=1, added=1, unchanged=3)
    assert office.said(assistant) == expected
    assert office.conversation(assistant).message_count == 4


def test_an_address_goes_on_with_its_thread(office: Office, tmp_path: Path) -> None:
    addresses = tmp_path / "addresses.json"
    addresses.write_text(json.dumps({"203.0.113.7": "thread_1", "203.0.113.8": "thread_elsewhere"}))
    threads = write(tmp_path / "t.jsonl", message(1), message(2, thread_id="thread_2"))
    source = export(tmp_path)
    assistant, _ = office.run(source, threads=threads, addresses=addresses)
    found = office.stores.conversations.list([assistant.id], PAGE).items
    assert {one.channel.id for one in found} == {"203.0.113.7", "thread_2"}
    _, report = office.run(source, threads=threads, assistant_id=assistant.id)
    assert report.threads and [remark.path for remark in report.threads.failed] == ["thread_1"]
    assert "'203.0.113.7'" in report.threads.failed[0].reason and report.threads.unchanged == 1
    assert len(office.stores.conversations.list([assistant.id], PAGE).items) == 2


def test_a_conversation_that_goes_on_already_keeps_its_newest_message(office: Office, tmp_path: Path) -> None:
    assistant, _ = office.run(export(tmp_path))
    at, channel = now(), Channel("thread_1", SERVICE)
    stores = office.stores
    live = stores.conversations.find_or_add(Conversation(new_id(), assistant.id, channel, at, at))
    chat = Chat(new_id(), assistant.id, live.id, channel, "live", ANSWERED, at, message="New", response="Yes.")
    stores.chats.add(chat)
    stores.conversations.record_message(live.id, "Yes.", at, count=2)
    threads = write(tmp_path / "t.jsonl", message(1), message(2, "assistant"))
    office.run(export(tmp_path), threads=threads, assistant_id=assistant.id)
    conversation = office.conversation(assistant)
    assert (conversation.last_message, conversation.message_count) == ("Yes.", 4)
    assert conversation.last_message_at == at
    assert [one.message for one in stores.chats.history(live.id, new_id(), 9)] == ["Hello", "New"]


class Dying:
    """Stand before the chats and let the process die after so many of them were stored."""

    def __init__(self, chats: Any, left: int) -> None:
        self._chats, self._left = chats, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chats, name)

    def add(self, chat: Chat) -> bool:
        """Store a chat, or die."""
        if self._left == 0:
            raise Unavailable("The store is down. Try again.")
        self._left -= 1
        return bool(self._chats.add(chat))


@pytest.mark.parametrize("left", range(5))
def test_an_import_that_was_stopped_goes_on(office: Office, tmp_path: Path, left: int) -> None:
    lines = [message(number, "user" if number % 2 else "assistant", str(number)) for number in range(1, 9)]
    threads, source = write(tmp_path / "t.jsonl", *lines[:5], message(5), *lines[5:]), export(tmp_path)
    assistant, _ = office.run(source)
    chats: Any = Dying(office.stores.chats, left)
    broken = AssistantImport(
        office.stores.users, office.assistants, office.house.main.documents, office.stores.conversations, chats
    )
    if left < 4:
        with pytest.raises(Unavailable):
            replace(office, imports=broken).run(source, threads=threads, assistant_id=assistant.id)
    _, report = office.run(source, threads=threads, assistant_id=assistant.id)
    assert report.complete
    assert [said[1:] for said in office.said(assistant)] == [("1", "2"), ("3", "4"), ("5", "6"), ("7", "8")]
    assert office.conversation(assistant).message_count == 8
    listed = office.stores.chats.list(ChatFilter(message_service=SERVICE), PAGE)
    assert listed.total == 4
