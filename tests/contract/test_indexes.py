"""Every query of the repositories uses an index, as the stores themselves explain it.

The queries are recorded while the repositories run them, then explained.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from models.callbacks import Delivery
from models.chats import Burst, Chat, ChatFilter, ChatOutcome, ChatStatus
from models.documents import DocumentType
from models.evaluations import ResultStatus, RunStatus
from models.ids import new_id
from models.paging import Page
from repositories.sqlite.database import SqliteDatabase
from tests.contract.stores import (
    MONGODB_TEST_URI,
    NOW,
    Stores,
    make_assistant,
    make_chat,
    make_conversation,
    make_document,
    make_key,
    make_letter,
    make_passage,
    make_user,
    make_working_chat,
    opened_mongo,
    stores_over,
)
from tests.contract.test_evaluations import BARE, make_dataset, make_results, make_run

DELIVERY = Delivery("https://a.example/", next_at=NOW)
CHAT: Chat = make_working_chat(burst=Burst(NOW, NOW), delivery=DELIVERY, lease_until=None)
MERGED = make_chat(CHAT.assistant_id, CHAT.conversation_id, status=ChatStatus.MERGED, merged_into=CHAT.id)
LETTER = make_letter()
ONE, TWO = CHAT.assistant_id, new_id()
USER, ASSISTANT = make_user("a@example.com", founder=True), make_assistant()
CONVERSATION, DOCUMENT = make_conversation(ONE), make_document(ONE, "a")
DATASET, RUN = make_dataset(ONE), make_run(ONE)
RESULTS = make_results(RUN)
AFTER = Page(limit=5, after=CHAT.id)
OUTCOME = ChatOutcome(ChatStatus.ANSWERED)
UNFINISHED = "conversation_id status id"
PASSAGES = "assistant_id document_id revision position"
VECTORS = "assistant_id document_id model digest"
LETTERS = "letter"
"""The index of a letter's id, which is the primary key in SQLite and a field beside it in MongoDB."""


@dataclass(frozen=True)
class Way:
    """A way into a store: what runs it and the fields of the index that it takes ("id" for the primary key)."""

    run: Callable[[Stores], object]
    index: str


WAYS = {
    "user by address": Way(lambda s: s.users.find_by_email("a@example.com"), "email"),
    "user by id": Way(lambda s: s.users.get(USER.id), "id"),
    "password": Way(lambda s: s.users.set_password(USER.id, "h", NOW, "s"), "id"),
    "assistant by key": Way(lambda s: s.assistants.find_by_key_hash("0"), "keys.sha256"),
    "assistants of an owner": Way(lambda s: s.assistants.list("o", Page()), "owner_id id"),
    "more assistants of an owner": Way(lambda s: s.assistants.list("o", AFTER), "owner_id id"),
    "ids of an owner": Way(lambda s: s.assistants.ids_of_owner("o"), "owner_id id"),
    "changes": Way(lambda s: s.assistants.update(ASSISTANT.id, {"name": "n"}, NOW), "id"),
    "keys": Way(lambda s: s.assistants.set_keys(ASSISTANT.id, (make_key(),), "k"), "id"),
    "conversation of a channel": Way(
        lambda s: s.conversations.find_or_add(CONVERSATION), "assistant_id channel.message_service channel.id"
    ),
    "conversations of an assistant": Way(
        lambda s: s.conversations.list([ONE], Page()), "assistant_id last_message_at id"
    ),
    "conversations of assistants": Way(
        lambda s: s.conversations.list([ONE, TWO], Page(5, CONVERSATION.id)), "assistant_id last_message_at id"
    ),
    "more of all conversations": Way(
        lambda s: s.conversations.list(None, Page(5, CONVERSATION.id)), "last_message_at id"
    ),
    "conversations of a channel id": Way(lambda s: s.conversations.find_by_channel_id("x", [ONE]), "channel.id"),
    "note a message": Way(lambda s: s.conversations.record_message(CONVERSATION.id, "t", NOW), "id"),
    "pause": Way(lambda s: s.conversations.set_active(CONVERSATION.id, True, None), "id"),
    "forget a message service": Way(
        lambda s: s.conversations.clear_memory(ONE, "x", new_id()), "assistant_id channel.message_service channel.id"
    ),
    "forget a channel": Way(
        lambda s: s.conversations.clear_memory(ONE, "x", new_id(), "y"),
        "assistant_id channel.message_service channel.id",
    ),
    "the conversation of a channel": Way(
        lambda s: s.conversations.find_by_channel(ONE, CONVERSATION.channel),
        "assistant_id channel.message_service channel.id",
    ),
    "chat of a request": Way(lambda s: s.chats.newest_of_request(ONE, "digest"), "assistant_id request_digest id"),
    "chat of a message": Way(lambda s: s.chats.find_by_dedupe_key(ONE, "k"), "assistant_id dedupe_key"),
    "claim": Way(lambda s: s.chats.claim(CHAT, "me", NOW, NOW), "id"),
    "renew": Way(lambda s: s.chats.renew([CHAT.id, new_id()], "me", NOW), "id"),
    "finish": Way(lambda s: s.chats.finish(CHAT.id, "me", OUTCOME), "id"),
    "unfinished before": Way(lambda s: s.chats.unfinished_before(CHAT), UNFINISHED),
    "unfinished before one without a burst": Way(
        lambda s: s.chats.unfinished_before(replace(CHAT, burst=None)), UNFINISHED
    ),
    "later in a burst": Way(lambda s: s.chats.later_in_burst(CHAT), UNFINISHED),
    "earlier in a burst": Way(lambda s: s.chats.earlier_in_burst(CHAT), UNFINISHED),
    "leave a burst": Way(lambda s: s.chats.leave_burst(CHAT.id, "me"), "id"),
    "merge": Way(lambda s: s.chats.merge(CHAT, new_id(), DELIVERY), "id"),
    "merged": Way(lambda s: s.chats.merged_into(CHAT.conversation_id, CHAT.id), "merged_into id"),
    "unfinished": Way(lambda s: s.chats.unfinished(NOW, 5), "status lease_until"),
    "requeue a chat": Way(lambda s: s.chats.requeue(CHAT, NOW), "id"),
    "undelivered": Way(lambda s: s.chats.undelivered(NOW, 5), "delivery.next_at id"),
    "delivery": Way(lambda s: s.chats.change_delivery(CHAT.id, DELIVERY, DELIVERY), "id"),
    "history": Way(lambda s: s.chats.history(CHAT.conversation_id, CHAT.id, 5), "conversation_id id"),
    "history from a beginning": Way(
        lambda s: s.chats.history(CHAT.conversation_id, CHAT.id, 5, new_id()), "conversation_id id"
    ),
    "newest of an assistant": Way(lambda s: s.chats.newest_of_assistant(ONE), "assistant_id id"),
    "newest": Way(lambda s: s.chats.newest(CHAT.conversation_id), "conversation_id id"),
    "chats of an assistant": Way(lambda s: s.chats.list(ChatFilter((ONE,)), AFTER), "assistant_id id"),
    "chats of assistants": Way(lambda s: s.chats.list(ChatFilter((ONE, TWO)), Page()), "assistant_id id"),
    "chats of many assistants": Way(
        lambda s: s.chats.list(ChatFilter(tuple(new_id() for _ in range(300))), Page()), "assistant_id id"
    ),
    "filtered chats": Way(
        lambda s: s.chats.list(ChatFilter((ONE,), status=ChatStatus.FAILED, text="a", active=True, at=NOW), AFTER),
        "assistant_id id",
    ),
    "chats of a conversation": Way(
        lambda s: s.chats.list(ChatFilter((ONE, TWO), CHAT.conversation_id, oldest_first=True), AFTER),
        "conversation_id id",
    ),
    "mark chats": Way(lambda s: s.chats.set_active(CHAT.conversation_id, True, None), "conversation_id id"),
    "delete chats": Way(lambda s: s.chats.delete_of_assistant(TWO), "assistant_id"),
    "document by name": Way(lambda s: s.documents.find(ONE, DocumentType.RAG, "a"), "assistant_id type filename"),
    "documents of assistants": Way(lambda s: s.documents.list([ONE, TWO], None, AFTER), "assistant_id id"),
    "knowledge of an assistant": Way(lambda s: s.documents.list([ONE], DocumentType.RAG, AFTER), "assistant_id id"),
    "builds": Way(lambda s: s.documents.builds(ONE), "assistant_id type id build embeddings_model"),
    "replace": Way(lambda s: s.documents.replace(DOCUMENT, DOCUMENT), "id"),
    "begin": Way(lambda s: s.documents.claim(DOCUMENT.id, "me", NOW, NOW), "id"),
    "progress": Way(lambda s: s.documents.change(DOCUMENT.id, "r1", "me", {"progress": 0.5}), "id"),
    "requeue": Way(lambda s: s.documents.requeue(DOCUMENT, NOW), "id"),
    "unfinished documents": Way(lambda s: s.documents.unfinished(NOW, 5), "status lease_until"),
    "without embeddings": Way(lambda s: s.documents.without_embeddings("m", None, 5), "type embeddings_model id"),
    "more without embeddings": Way(
        lambda s: s.documents.without_embeddings("m", DOCUMENT.id, 5), "type embeddings_model id"
    ),
    "embeddings": Way(lambda s: s.documents.set_embeddings_model(DOCUMENT.id, "r1", "m"), "id"),
    "passages": Way(lambda s: s.passages.of_document(ONE, DOCUMENT.id, "r1"), PASSAGES),
    "old passages": Way(lambda s: s.passages.delete_of_document(ONE, DOCUMENT.id, before="r1"), PASSAGES),
    "passages of a build": Way(lambda s: s.passages.delete_revision(ONE, DOCUMENT.id, "r1"), PASSAGES),
    "passages of an assistant": Way(lambda s: s.passages.delete_of_assistant(ONE), PASSAGES),
    "vectors": Way(lambda s: s.vectors.of_document(ONE, DOCUMENT.id, "m"), VECTORS),
    "vectors to keep": Way(lambda s: s.vectors.keep(ONE, DOCUMENT.id, "m", ["1"]), VECTORS),
    "vectors to delete": Way(lambda s: s.vectors.delete(ONE, DOCUMENT.id, "m", ["1"]), VECTORS),
    "vectors of a document": Way(lambda s: s.vectors.delete_of_document(ONE, DOCUMENT.id), VECTORS),
    "vectors of an assistant": Way(lambda s: s.vectors.delete_of_assistant(ONE), VECTORS),
    "dead letter": Way(lambda s: s.dead_letters.get(LETTER.id), LETTERS),
    "more dead letters": Way(lambda s: s.dead_letters.list(Page(5, LETTER.id)), LETTERS),
    "dead letter to delete": Way(lambda s: s.dead_letters.delete(LETTER.id), LETTERS),
    "datasets of an assistant": Way(lambda s: s.datasets.list([ONE], Page(5, DATASET.id)), "assistant_id id"),
    "items of a dataset": Way(lambda s: s.datasets.items(DATASET.id), "dataset_id id"),
    "dataset to delete": Way(lambda s: s.datasets.delete(DATASET.id), "dataset_id id"),
    "datasets to delete": Way(lambda s: s.datasets.delete_of_assistant(ONE), "assistant_id id"),
    "runs of an assistant": Way(lambda s: s.runs.list([ONE], Page(5, RUN.id)), "assistant_id id"),
    "run to work on": Way(lambda s: s.runs.claim(RUN.id, "me", NOW, NOW), "id"),
    "run worked on": Way(lambda s: s.runs.renew(RUN.id, "me", NOW), "id"),
    "run to change": Way(lambda s: s.runs.change(RUN.id, "me", {"ended_at": NOW}), "id"),
    "run to switch": Way(lambda s: s.runs.switch(RUN.id, RunStatus.RUNNING, {"ended_at": NOW}), "id"),
    "run to requeue": Way(lambda s: s.runs.requeue(RUN, NOW), "id"),
    "unfinished runs": Way(lambda s: s.runs.unfinished(NOW, 5), "status lease_until"),
    "results of a run": Way(lambda s: s.runs.results(RUN.id, Page(5, RESULTS[0].id)), "run_id id"),
    "progress of a run": Way(lambda s: s.runs.progress(RUN.id), "run_id status"),
    "result": Way(lambda s: s.runs.finish(replace(RESULTS[0], status=ResultStatus.FAILED)), "id"),
    "run to delete": Way(lambda s: s.runs.delete(RUN.id), "run_id id"),
    "runs to delete": Way(lambda s: s.runs.delete_of_assistant(ONE), "assistant_id id"),
}
EITHER_INDEX = {"delete chats", "run to delete", "chats of many assistants"}
"""Where several indexes serve equally: only that there is one is asked."""

BY_IDS = {"unfinished", "unfinished runs", "unfinished documents", "without embeddings", "more without embeddings"}
"""Where MongoDB may walk the ids too: with few documents, their being in the order asked for decides."""


def fill(stores: Stores) -> None:
    """Store one of each, so that every query has something to find."""
    stores.users.add(USER)
    stores.assistants.add(ASSISTANT)
    stores.conversations.find_or_add(CONVERSATION)
    stores.chats.add(CHAT)
    stores.chats.add(MERGED)
    stores.documents.add(DOCUMENT)
    stores.passages.add([make_passage(ONE, DOCUMENT.id, 0)])
    stores.vectors.add(ONE, DOCUMENT.id, "m", {"0": b"0"})
    stores.dead_letters.add(LETTER)
    stores.datasets.add(DATASET, [BARE])
    stores.runs.add(RUN, RESULTS)


@pytest.mark.parametrize("name", WAYS)
def test_sqlite_uses_the_index(tmp_path: Path, name: str) -> None:
    statements: list[str] = []
    with closing(SqliteDatabase(tmp_path / "s.sqlite")) as database:
        stores = stores_over(database)
        fill(stores)
        for opened in (database.read, database.write):
            with opened() as connection:
                connection.set_trace_callback(statements.append)
        WAYS[name].run(stores)
        queries = [text for text in statements if text.split()[0] in {"SELECT", "UPDATE", "DELETE"}]
        with database.read() as connection:
            connection.set_trace_callback(None)
            plans = {text: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")] for text in queries}
    assert plans
    for text, steps in plans.items():
        scans = [step for step in steps if step.startswith("SCAN") and not _small(step)]
        whole = text.startswith("SELECT count(*)") and text.endswith("WHERE true AND true")
        assert not scans or (whole and "COVERING INDEX" in scans[0]), plans
    searched = [step for steps in plans.values() for step in steps if step.startswith("SEARCH")]
    assert all("USING INDEX" in step or "USING COVERING INDEX" in step or "PRIMARY KEY" in step for step in searched)
    if name not in EITHER_INDEX:
        assert any(_sqlite_index(WAYS[name].index) in step for step in searched), plans


@pytest.mark.parametrize("after", [None, CHAT.id], ids=["first", "after"])
def test_sqlite_reads_lists_in_the_order_of_an_index(tmp_path: Path, after: str | None) -> None:
    statements: list[str] = []
    with closing(SqliteDatabase(tmp_path / "s.sqlite")) as database:
        stores = stores_over(database)
        fill(stores)
        with database.read() as connection:
            connection.set_trace_callback(statements.append)
        page = Page(5, after)
        stores.assistants.list("o", page)
        stores.assistants.list(None, page)
        stores.conversations.list([ONE], Page(5, after and CONVERSATION.id))
        stores.conversations.list(None, Page(5, after and CONVERSATION.id))
        for chats in (ChatFilter(), ChatFilter((ONE,)), ChatFilter(None, CHAT.conversation_id)):
            stores.chats.list(chats, page)
        stores.chats.list(ChatFilter(status=ChatStatus.FAILED, channel_id="x", text="y"), page)
        stores.chats.unfinished_before(CHAT)
        stores.chats.later_in_burst(CHAT)
        stores.chats.earlier_in_burst(CHAT)
        stores.chats.merged_into(CHAT.conversation_id, CHAT.id)
        stores.chats.undelivered(NOW, 5)
        stores.dead_letters.list(page)
        stores.datasets.list([ONE], page)
        stores.datasets.items(DATASET.id)
        stores.runs.list(None, page)
        stores.runs.results(RUN.id, page)
        stores.runs.progress(RUN.id)
        stores.documents.list(None, DocumentType.RAG, page)
        stores.documents.builds(ONE)
        stores.documents.without_embeddings("m", after, 5)
        stores.passages.of_document(ONE, DOCUMENT.id, "r1")
        with database.read() as connection:
            connection.set_trace_callback(None)
            for text in statements:
                steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]
                sorted_rows = [step for step in steps if "TEMP B-TREE" in step]
                assert not sorted_rows or "id IN (SELECT id FROM (SELECT" in text, (text, steps)


def _small(step: str) -> bool:
    """Tell whether what is scanned is the statement's own list of ids, or the short lists that it merges."""
    return step.split()[1] in {"json_each", "CONSTANT"} or step.split()[1].startswith("(subquery")


def _sqlite_index(fields: str) -> str:
    """Return the part of a plan's step that shows the index on these fields."""
    return {
        "id": "(id=?",
        "email": "users_email",
        "keys.sha256": "sqlite_autoindex_assistants_1",
        "owner_id id": "assistants_owner",
        "assistant_id channel.message_service channel.id": "conversations_channel ",
        "assistant_id last_message_at id": "conversations_recent ",
        "last_message_at id": "(id=?",
        "channel.id": "conversations_channel_id",
        "assistant_id dedupe_key": "chats_dedupe",
        "conversation_id id": "chats_conversation",
        "assistant_id id": "_assistant ",
        "assistant_id type filename": "documents_name",
        "assistant_id type id build embeddings_model": "documents_builds ",
        "status lease_until": "_lease ",
        UNFINISHED: "chats_unfinished ",
        "merged_into id": "chats_merged ",
        "delivery.next_at id": "chats_delivery ",
        LETTERS: "(id",
        "assistant_id request_digest id": "chats_request ",
        "dataset_id id": "evaluation_items_dataset ",
        "run_id id": "evaluation_results_run ",
        "run_id status": "evaluation_results_status ",
        "type embeddings_model id": "documents_embeddings ",
        PASSAGES: "passages_build ",
        VECTORS: "sqlite_autoindex_vectors_1 ",
    }[fields]


@dataclass
class Recorder(CommandListener):
    """Keep the commands that a client sends."""

    commands: list[dict[str, Any]] = field(default_factory=list)

    def started(self, event: CommandStartedEvent) -> None:
        """Keep a command."""
        self.commands.append(dict(event.command))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Do nothing."""


@contextmanager
def recorded(uri: str) -> Iterator[tuple[Stores, Recorder]]:
    recorder = Recorder()
    with opened_mongo(uri, event_listeners=[recorder]) as stores:
        fill(stores)
        recorder.commands.clear()
        yield stores, recorder


@pytest.mark.parametrize("name", WAYS)
def test_mongo_uses_the_index(mongo_uri: str, name: str) -> None:
    """MongoDB is asked for the whole query's plan and the very index.

    SecantusDB explains a scan as soon as a filter holds a field beyond the index, or `$in` with a range, and takes the
    first index with the leading field: there the fields of the index are asked for, one assistant at a time.
    """
    wanted = [{"id": "_id", LETTERS: "id"}.get(part, part) for part in WAYS[name].index.split()]
    whole = mongo_uri == MONGODB_TEST_URI
    with recorded(mongo_uri) as (stores, recorder), closing(MongoClient[dict[str, Any]](mongo_uri)) as client:
        WAYS[name].run(stores)
        queries = [query for command in recorder.commands for query in _queries(command)]
        existing = _existing(client, queries)
        plans = [
            _summary(client[database].command("explain", query if whole else _reduced(query, wanted)))
            for database, query in queries
            if whole or name in EITHER_INDEX or wanted[0] in query["filter"]
        ]
    assert plans, queries
    if whole or name not in EITHER_INDEX:
        assert all("COLLSCAN" not in plan["stages"] for plan in plans), plans
    used = {index for plan in plans for index in plan["indexes"]}
    if name not in EITHER_INDEX and wanted != ["_id"]:
        assert " ".join(wanted) in (used if whole else existing) or (name in BY_IDS and used == {"_id"}), plans
        assert any(index.startswith(wanted[0]) for index in used), plans


def _queries(command: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the database and the finds whose plans are those of a recorded command."""
    name = next(iter(command))
    if name == "find":
        yield command["$db"], {part: command[part] for part in ("find", "filter", "sort", "limit") if part in command}
    elif name == "aggregate":
        yield command["$db"], {"find": command[name], "filter": command["pipeline"][0]["$match"]}
    else:
        for part in command.get("updates", command.get("deletes", ())):
            yield command["$db"], {"find": command[name], "filter": part["q"]}


def _reduced(query: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """Return the query with only the index's fields in its filter, and of those only what SecantusDB explains."""
    unequal = ({"$ne"}, {"$gt"}, {"$not"})
    kept = {
        name: value
        for name, value in query["filter"].items()
        if name in fields and not (isinstance(value, dict) and value.keys() in unequal)
    }
    one = {name: value["$in"][0] for name, value in kept.items() if isinstance(value, dict) and "$in" in value}
    return query | {"filter": kept | one}


def _existing(client: MongoClient[dict[str, Any]], queries: list[tuple[str, dict[str, Any]]]) -> set[str]:
    """Return the fields of the indexes that the queried collections have."""
    collections = [client[database][query["find"]] for database, query in queries]
    return {" ".join(index["key"]) for collection in collections for index in collection.list_indexes()}


def _summary(explained: Any) -> dict[str, set[str]]:
    """Return the stages and the indexes of the winning plan, wherever the answer holds them."""
    stages: set[str] = set()
    indexes: set[str] = set()
    waiting = [explained]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            if isinstance(node.get("stage"), str):
                stages.add(node["stage"])
                indexes.add(" ".join(node.get("keyPattern", {})))
            waiting += [value for key, value in node.items() if key not in {"rejectedPlans", "command"}]
    return {"stages": stages, "indexes": indexes}
