"""Our fake of OpenAI, used by OpenAI's own SDK; what it sends is held to the SDK's models."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from openai.types import FileDeleted, FileObject, Model, VectorStore, VectorStoreDeleted
from openai.types.chat import ChatCompletionChunk
from openai.types.conversations import Conversation, ConversationDeletedResource, ConversationItemList
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.vector_stores import VectorStoreFile, VectorStoreFileDeleted
from pydantic import TypeAdapter

from tests.emulators.provider import CUT, DROP, HANG, OPERATIONS, Asked, FakeProvider, Fault, Moment, Status, provider
from tests.emulators.provider_answers import passes

_EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
POLICY = "# Vacation\n\nEveryone has 25 vacation days a year.\n\n# Parking\n\nThe garage opens at six.\n"


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    """Give a running fake."""
    with provider() as running:
        yield running


@pytest.fixture
def client(fake: FakeProvider) -> Iterator[openai.OpenAI]:
    """Give the official client of it, which retries nothing."""
    with openai.OpenAI(base_url=fake.base_url, api_key="sk-test", max_retries=0, timeout=5) as made:
        yield made


def valid(model: type[Any], held: Any) -> Any:
    """Return an object of the SDK after it was held to its model; the SDK itself takes anything."""
    model.model_validate(held.to_dict(mode="json"), strict=True)
    return held


def hosted(client: openai.OpenAI, *texts: str) -> tuple[str, list[str]]:
    """Put texts into a new vector store as files 1, 2 ...; return its id and theirs."""
    store = client.vector_stores.create(name="s").id
    made = []
    for number, text in enumerate(texts, 1):
        file = client.files.create(file=(f"{number}.md", text.encode(), "text/markdown"), purpose="assistants")
        attributes: dict[str, str | float | bool] = {"number": number, "document": "d"}
        client.vector_stores.files.create(store, file_id=file.id, attributes=attributes)
        made.append(file.id)
    return store, made


def file_search(store: str, **filters: Any) -> Any:
    """Return the tool."""
    return {"type": "file_search", "vector_store_ids": [store], **({"filters": filters} if filters else {})}


def asked_for(client: openai.OpenAI, question: str, **fields: Any) -> Response:
    """Return the answer to a question."""
    response: Response = client.responses.create(model="fake-1", input=question, **fields)
    return response


def test_files(client: openai.OpenAI) -> None:
    file = valid(FileObject, client.files.create(file=("a.md", b"text", "text/markdown"), purpose="assistants"))
    client.files.create(file=("b.json", b"{}", "application/json"), purpose="user_data")
    assert (file.filename, file.bytes) == ("a.md", 4)
    assert client.files.content(file.id).read() == b"text"
    assert [one.id for one in client.files.list(purpose="assistants")] == [file.id]
    assert valid(FileObject, client.files.retrieve(file.id)).id == file.id
    assert valid(FileDeleted, client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.NotFoundError):
        client.files.delete(file.id)
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("empty.md", b"", "text/markdown"), purpose="assistants")


def test_lists_have_pages(client: openai.OpenAI) -> None:
    made = [client.files.create(file=(f"{n}.md", b"x", "text/plain"), purpose="assistants").id for n in range(5)]
    assert [one.id for one in client.files.list(limit=2)] == made[::-1]
    assert [one.id for one in client.files.list(limit=2, order="asc")] == made
    stores = [client.vector_stores.create(name=f"{number}").id for number in range(25)]
    assert [one.id for one in client.vector_stores.list()] == stores[::-1]
    for limit in (0, 101):
        with pytest.raises(openai.BadRequestError):
            client.vector_stores.list(limit=limit)


def test_vector_stores(client: openai.OpenAI, fake: FakeProvider) -> None:
    store = valid(VectorStore, client.vector_stores.create(name="orquestra-1"))
    file = client.files.create(file=("a.md", b"text", "text/markdown"), purpose="assistants")
    fake.account.processing_seconds = 3600
    attributes: dict[str, str | float | bool] = {"number": 7, "document": "d"}
    attached = client.vector_stores.files.create(store.id, file_id=file.id, attributes=attributes)
    assert valid(VectorStoreFile, attached).status == "in_progress"
    assert valid(VectorStore, client.vector_stores.retrieve(store.id)).file_counts.in_progress == 1
    fake.account.stores[store.id].files[file.id].ready_at = 0
    held = client.vector_stores.files.retrieve(file.id, vector_store_id=store.id)
    assert (valid(VectorStoreFile, held).status, held.attributes) == ("completed", attributes)
    assert [one.id for one in client.vector_stores.files.list(store.id, filter="completed")] == [file.id]
    assert [one.id for one in client.vector_stores.files.list(store.id, filter="failed")] == []
    client.vector_stores.files.create(store.id, file_id=file.id, attributes={"number": 8})
    assert client.vector_stores.files.retrieve(file.id, vector_store_id=store.id).attributes == attributes
    gone = client.vector_stores.files.delete(file.id, vector_store_id=store.id)
    assert valid(VectorStoreFileDeleted, gone).deleted
    assert client.files.retrieve(file.id).id == file.id
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.files.delete(file.id, vector_store_id=store.id)
    assert valid(VectorStoreDeleted, client.vector_stores.delete(store.id)).deleted
    for missing in (client.vector_stores.delete, client.vector_stores.files.list):
        with pytest.raises(openai.NotFoundError):
            missing(store.id)


def test_a_deleted_file_is_in_no_vector_store_and_a_deleted_vector_store_leaves_its_files(
    client: openai.OpenAI, fake: FakeProvider
) -> None:
    store, (one, two) = hosted(client, "one", "two")
    client.files.delete(one)
    assert fake.account.texts(store) == {"2.md": "two"}
    client.vector_stores.delete(store)
    assert list(fake.account.files) == [two]


def test_a_file_that_cannot_be_processed_has_failed(client: openai.OpenAI, fake: FakeProvider) -> None:
    fake.account.unreadable = lambda filename: filename == "1.md"
    store, (one, two) = hosted(client, "vacation one", "vacation two")
    states = {held.id: held.status for held in client.vector_stores.files.list(store)}
    assert states == {one: "failed", two: "completed"}
    assert asked_for(client, "vacation", tools=[file_search(store)]).output_text == "vacation two"


@pytest.mark.parametrize(
    ("filters", "passed"),
    [
        ({"type": "eq", "key": "number", "value": 2}, True),
        ({"type": "ne", "key": "number", "value": 2}, False),
        ({"type": "gt", "key": "number", "value": 2}, False),
        ({"type": "gte", "key": "number", "value": 2}, True),
        ({"type": "lt", "key": "number", "value": 3}, True),
        ({"type": "lte", "key": "number", "value": 1}, False),
        ({"type": "in", "key": "number", "value": [1, 2]}, True),
        ({"type": "nin", "key": "number", "value": [1, 2]}, False),
        ({"type": "nin", "key": "number", "value": [3]}, True),
        ({"type": "eq", "key": "absent", "value": 2}, False),
        ({"type": "eq", "key": "document", "value": "d"}, True),
        ({"type": "lt", "key": "document", "value": 3}, False),
        ({"type": "and", "filters": [{"type": "eq", "key": "number", "value": 2}]}, True),
        ({"type": "and", "filters": [{"type": "eq", "key": "number", "value": n} for n in (1, 2)]}, False),
        ({"type": "or", "filters": [{"type": "eq", "key": "number", "value": n} for n in (1, 2)]}, True),
    ],
)
def test_filters(filters: dict[str, Any], passed: bool) -> None:
    assert passes(filters, {"number": 2.0, "document": "d"}) is passed


def test_an_answer_quotes_and_cites_what_its_filters_let_it_find(client: openai.OpenAI) -> None:
    store, (one, two) = hosted(client, POLICY, POLICY.replace("25", "30"))
    tool = file_search(store, type="lte", key="number", value=1)
    question = "How many vacation days?"
    response = valid(Response, asked_for(client, question, tools=[tool], include=["file_search_call.results"]))
    searched, message = response.output
    assert {held.file_id for held in searched.results} == {one}
    assert searched.results[0].attributes == {"number": 1, "document": "d"}
    assert message.content[0].annotations[0].file_id == one
    assert response.output_text == "Everyone has 25 vacation days a year."
    both = asked_for(client, question, tools=[file_search(store)])
    assert "25" in both.output_text and "30" in both.output_text and two in both.to_json()
    assert asked_for(client, "zebra", tools=[file_search(store)]).output_text == "I do not have this information."


def test_a_stream_brings_the_events_in_order(client: openai.OpenAI) -> None:
    store, _ = hosted(client, POLICY)
    stream = client.responses.create(
        model="fake-1", input="vacation", tools=[file_search(store)], stream=True, include=["file_search_call.results"]
    )
    events = list(stream)
    for event in events:
        _EVENTS.validate_python(event.to_dict(mode="json"), strict=True)
    kinds = [event.type.removeprefix("response.") for event in events]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == "Everyone has 25 vacation days a year."
    assert list(dict.fromkeys(kinds)) == [
        "created",
        "in_progress",
        "output_item.added",
        "file_search_call.in_progress",
        "file_search_call.searching",
        "file_search_call.completed",
        "output_item.done",
        "content_part.added",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_conversation_remembers_until_it_is_deleted(client: openai.OpenAI, fake: FakeProvider) -> None:
    named = valid(Conversation, client.conversations.create()).id
    kept = asked_for(client, "My name is Bia.", conversation=named)
    assert asked_for(client, "Recall!", conversation=named).output_text == "You said: My name is Bia."
    assert asked_for(client, "Recall!").output_text == "You said: "
    items = client.conversations.items.list(named, order="asc", limit=3)
    assert [item.role for item in items.data] == ["user", "assistant", "user"]  # type: ignore[union-attr]
    ConversationItemList.model_validate(
        httpx2.get(f"{fake.base_url}/conversations/{named}/items?limit=3", headers={"Authorization": "Bearer k"}).json()
    )
    client.conversations.items.delete(items.data[0].id or "", conversation_id=named)
    assert asked_for(client, "Recall!", conversation=named).output_text == "You said: Recall!"
    assert valid(Response, client.responses.retrieve(kept.id)).id == kept.id
    client.responses.delete(kept.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(kept.id)
    assert valid(ConversationDeletedResource, client.conversations.delete(named)).deleted
    assert len(fake.account.items) == 5, "OpenAI deletes no items with a conversation"
    with pytest.raises(openai.NotFoundError):
        asked_for(client, "hello", conversation=named)


def test_what_is_not_to_be_stored_is_not(client: openai.OpenAI, fake: FakeProvider) -> None:
    asked_for(client, "hello", store=False)
    assert fake.account.responses == {}


def test_a_conversation_takes_one_question_at_a_time(client: openai.OpenAI, fake: FakeProvider) -> None:
    fake.thinking_seconds = 1
    named = client.conversations.create().id
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(asked_for, client, "hello", conversation=named) for _ in range(2)]
        refused = [one.exception() for one in asked]
    assert sorted(type(one).__name__ for one in refused) == ["BadRequestError", "NoneType"]


def test_chat_completions_quote_the_passages_of_their_instructions(client: openai.OpenAI) -> None:
    passages = '<passage number="1" source="a.md > Vacation">\nYou have 25 vacation days.\n</passage>\n'
    passages += '<passage number="2" source="b.md">\nOther.\n</passage>'
    said: list[Any] = [{"role": "system", "content": passages}, {"role": "user", "content": "vacation days?"}]

    def answered() -> str:
        options: Any = {"include_usage": True}
        chunks = list(client.chat.completions.create(model="m", messages=said, stream=True, stream_options=options))
        for chunk in chunks:
            valid(ChatCompletionChunk, chunk)
        assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    assert answered() == "You have 25 vacation days.[^1]"
    said[0]["content"] += '<passage number="3" source="a.md">\nYou have 31 vacation days.\n</passage>'
    assert answered() == "You have 25 vacation days.[^1]\n\nYou have 31 vacation days.[^3]"
    said += [{"role": "assistant", "content": "25"}, {"role": "user", "content": "Recall!"}]
    assert answered() == "You said: vacation days?"


def test_models_and_strangers(client: openai.OpenAI, fake: FakeProvider) -> None:
    assert [valid(Model, one).id for one in client.models.list()] == ["fake-1"]
    assert httpx2.get(f"{fake.base_url}/models").status_code == 401
    assert httpx2.get(f"{fake.base_url}/assistants").status_code == 404


def uploading(client: openai.OpenAI) -> FileObject:
    """Upload a file."""
    return client.files.create(file=("a.md", b"text", "text/markdown"), purpose="assistants")


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Status(429, retry_after=2), openai.RateLimitError),
        (Status(500), openai.InternalServerError),
        (DROP, openai.APIConnectionError),
        (CUT, openai.APIConnectionError),
        (HANG, openai.APITimeoutError),
    ],
)
def test_faults(
    client: openai.OpenAI, fake: FakeProvider, moment: Moment, fault: Fault, error: type[openai.APIError]
) -> None:
    def rule(now: Moment, asked: Asked) -> Fault | None:
        return fault if now is moment and asked.operation == "files.create" else None

    fake.rule = rule
    with pytest.raises(error) as caught:
        uploading(client.with_options(timeout=0.5))
    if isinstance(caught.value, openai.RateLimitError):
        assert caught.value.response.headers["Retry-After"] == "2"
    assert len(list(client.files.list())) == (moment is Moment.AFTER)
    (asked,) = fake.asked("files.create")
    assert (asked.fault, asked.executed) == (fault, moment is Moment.AFTER)


@pytest.mark.parametrize("moment", Moment)
def test_a_stream_that_is_cut_was_heard_or_not(client: openai.OpenAI, fake: FakeProvider, moment: Moment) -> None:
    named = client.conversations.create().id
    fake.rule = lambda now, asked: CUT if now is moment and asked.operation == "responses.create" else None
    heard = []
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        for event in client.responses.create(model="m", input="One two", conversation=named, stream=True):
            heard.append(event.type)
    assert heard[0] == "response.created" and "response.completed" not in heard
    assert bool(fake.account.conversations[named].items) is (moment is Moment.AFTER)


def test_when_it_ends_its_connections_end() -> None:
    with provider() as fake, openai.OpenAI(base_url=fake.base_url, api_key="k", max_retries=0) as client:
        client.models.list()
        port = int(fake.url.rpartition(":")[2])
    assert not [one for one in threading.enumerate() if "process_request" in one.name]
    with provider(port=port) as again, openai.OpenAI(base_url=again.base_url, api_key="k", max_retries=0) as client:
        client.models.list()


def test_it_knows_all_that_we_use() -> None:
    assert {name.partition(".")[0] for name in OPERATIONS} == {
        "chat", "conversations", "files", "models", "responses", "vector_stores",
    }  # fmt: skip
