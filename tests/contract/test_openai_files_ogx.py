"""Files, vector stores and searches at OGX, which was not written for us: it keeps them, and filters what it finds."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from models.answers import ModelRequest, Sources
from models.deadline import Deadline
from models.errors import NotFound, ProviderFailed
from models.hosting import FoundFile, HostedFile, HostedSearch
from models.ids import new_id
from repositories.redis.threads import RedisThreads
from services.providers.openai_chat import build_client
from services.providers.openai_files import OpenAIFiles
from services.providers.openai_response_input import tools_of
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from tests.contract.hosted import Places
from tests.emulators.aimock import AimockServer, aimock
from tests.emulators.ogx import OgxServer, ogx

_NOBODY = "file-" + "0" * 32
_SECONDS = 20.0


@pytest.fixture(scope="module")
def writer() -> Iterator[AimockServer]:
    """Give the models of OGX: one writes its answers, one makes vectors of texts."""
    with aimock() as server:
        yield server


@pytest.fixture(scope="module")
def host(writer: AimockServer) -> Iterator[OgxServer]:
    with ogx(writer.base_url) as server:
        yield server


class Account:
    """Our side of an account at OGX."""

    def __init__(self, host: OgxServer, files: OpenAIFiles) -> None:
        self.host, self.files = host, files

    def store(self) -> str:
        """Return the id of a new vector store."""
        return self.files.create_store(f"orquestra-{new_id()}", Deadline(_SECONDS))

    def bring(self, store_id: str, number: int, text: str, document_id: str = "") -> HostedFile:
        """Upload and attach a text, and return its file once it can be searched."""
        file = HostedFile(number, document_id or new_id(), "policy.md", new_id())
        file_id = self.files.upload(f"policy.a.{file.build}.md", text.encode(), Deadline(_SECONDS))
        file = HostedFile(number, file.document_id, file.filename, file.build, file_id)
        found: FoundFile | None = self.files.attach(store_id, file, Deadline(_SECONDS))
        end = time.monotonic() + _SECONDS
        while found and found.status == "in_progress" and time.monotonic() < end:
            time.sleep(0.05)
            found = self.files.status(store_id, file_id, Deadline(_SECONDS))
        assert found == FoundFile(file_id, number=number, status="completed")
        return file

    def found(self, store_id: str, last: int, without: tuple[int, ...] = ()) -> set[int]:
        """Return the numbers of the files in which an answer of this moment finds something."""
        (tool,) = tools_of(ModelRequest("a", "q", search=HostedSearch(store_id, last, without)))
        filters: Any = dict(tool)["filters"]
        return {int(one["number"]) for one in self.host.search(store_id, "office", filters)}


@contextlib.contextmanager
def _client(base_url: str) -> Iterator[openai.OpenAI]:
    """Give a client that opens a connection for each request: OGX closes those that it has refused something on."""
    with contextlib.closing(build_client("", base_url, 4)) as client:
        yield client.with_options(default_headers={"Connection": "close"})


@pytest.fixture
def account(host: OgxServer) -> Iterator[Account]:
    with _client(host.base_url) as client:
        yield Account(host, OpenAIFiles(client))


def test_a_search_finds_what_was_registered_when_it_began_and_is_current(account: Account) -> None:
    store = account.store()
    for number in (1, 2, 3):
        account.bring(store, number, f"# Policy\n\nThe office of version {number} opens at nine.")
    assert account.found(store, 3) == {1, 2, 3}
    assert account.found(store, 2) == {1, 2}
    assert account.found(store, 3, without=(1,)) == {2, 3}
    assert account.found(store, 2, without=(1,)) == {2}
    assert account.found(store, 3, without=(1, 3)) == {2}
    assert account.found(store, 0) == set()


def test_a_replaced_text_is_found_in_one_version_at_every_moment(account: Account) -> None:
    store, document = account.store(), new_id()
    old = account.bring(store, 1, "The office opens at eight.", document)
    before = (1, ())
    assert account.found(store, *before) == {1}
    account.bring(store, 2, "The office opens at nine.", document)
    assert account.found(store, *before) == {1}, "an answer that began before the upload does not find it"
    assert account.found(store, 2, without=(2,)) == {1}, "nor one that began before the swap"
    assert account.found(store, 2, without=(1,)) == {2}
    account.files.detach(store, old.file_id, Deadline(_SECONDS))
    account.files.delete_file(old.file_id, Deadline(_SECONDS))
    assert account.found(store, 2) == {2}
    assert [file.number for file in account.files.attached(store, Deadline(_SECONDS))] == [2]


def test_an_answer_cites_our_document_by_the_attributes_of_what_was_found(
    account: Account, host: OgxServer, writer: AimockServer, registry: RedisThreads
) -> None:
    store = account.store()
    old = account.bring(store, 1, "The office opens at eight.")
    new = account.bring(store, 2, "The office opens at nine.")
    call = {"id": "call_office", "name": "file_search", "arguments": json.dumps({"query": "office"})}
    cited = {"content": f"At nine <|{old.file_id}|> <|{new.file_id}|>."}
    writer.add_fixtures(
        {"match": {"toolCallId": "call_office"}, "response": cited},
        {"match": {"userMessage": "When?"}, "response": {"toolCalls": [call]}},
    )
    with _client(host.base_url) as client:
        model = OpenAIResponsesModel(client, host.model, OpenAIThreads(client, registry), Places())
        request = ModelRequest("a", "When?", search=HostedSearch(store, 2, without=(1,)))
        events = list(model.stream(request, Deadline(_SECONDS)))
    (sources,) = [event for event in events if isinstance(event, Sources)]
    assert [(one.document_id, one.passage) for one in sources.citations] == [
        (new.document_id, "The office opens at nine.")
    ]


def test_what_is_repeated_changes_nothing(account: Account) -> None:
    store = account.store()
    file = account.bring(store, 1, "The office opens at nine.")
    again = account.files.attach(store, file, Deadline(_SECONDS))
    assert (again.file_id, again.number, again.status) == (file.file_id, 1, "completed")
    assert len(list(account.files.attached(store, Deadline(_SECONDS)))) == 1
    for _ in range(2):
        account.files.detach(store, file.file_id, Deadline(_SECONDS))
        assert account.files.status(store, file.file_id, Deadline(_SECONDS)) is None
    for _ in range(2):
        account.files.delete_file(file.file_id, Deadline(_SECONDS))
    for _ in range(2):
        account.files.delete_store(store, Deadline(_SECONDS))


def test_what_is_not_there_is_told_as_that(account: Account) -> None:
    store, gone = account.store(), account.store()
    account.files.delete_store(gone, Deadline(_SECONDS))
    assert account.files.status(store, _NOBODY, Deadline(_SECONDS)) is None
    assert account.files.status(gone, _NOBODY, Deadline(_SECONDS)) is None
    account.files.detach(gone, _NOBODY, Deadline(_SECONDS))
    account.files.delete_file(_NOBODY, Deadline(_SECONDS))
    account.files.delete_file("file-ofAnotherProvider", Deadline(_SECONDS))
    with pytest.raises(NotFound):
        account.files.attach(gone, HostedFile(1, "d", "policy.md", "b", _NOBODY), Deadline(_SECONDS))
    with pytest.raises(NotFound):
        list(account.files.attached(gone, Deadline(_SECONDS)))


def test_a_file_that_cannot_be_processed_is_told_as_failed(account: Account) -> None:
    store = account.store()
    found = account.files.attach(store, HostedFile(1, "d", "policy.md", "b", _NOBODY), Deadline(_SECONDS))
    assert found.status == "failed"


def test_a_store_is_found_by_its_name(account: Account) -> None:
    name = f"orquestra-{new_id()}"
    assert account.files.find_store(name, Deadline(_SECONDS)) is None
    store = account.files.create_store(name, Deadline(_SECONDS))
    account.store()
    assert account.files.find_store(name, Deadline(_SECONDS)) == store


def test_files_are_found_by_their_names(account: Account) -> None:
    tail = f".{new_id()}.{new_id()}.md"
    file_id = account.files.upload(f"política{tail}", b"The office opens at nine.", Deadline(_SECONDS))
    named = [file for file in account.files.list_files(Deadline(_SECONDS)) if file.filename.endswith(tail)]
    assert [file.file_id for file in named] == [file_id]


def test_a_server_without_vector_stores_says_which_provider_to_choose(writer: AimockServer) -> None:
    with _client(writer.base_url) as client:
        with pytest.raises(ProviderFailed, match="openai_chat") as failure:
            OpenAIFiles(client).create_store("orquestra-a", Deadline(_SECONDS))
    assert failure.value.code == "hosting_unsupported"
