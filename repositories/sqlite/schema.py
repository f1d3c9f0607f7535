"""The tables of the embedded store and the steps by which a file came to them.

A table holds an item's id and the item as JSON; generated columns read out of the JSON what is searched by.
They take no room (VIRTUAL), but their indexes do.
"""

import sqlite3

_COLUMNS = {
    "users": {"email": "$.email", "founder": "$.founder"},
    "assistants": {"owner_id": "$.owner_id"},
    "conversations": {
        "assistant_id": "$.assistant_id",
        "message_service": "$.channel.message_service",
        "channel_id": "$.channel.id",
        "last_message_at": "$.last_message_at",
    },
    "chats": {
        "assistant_id": "$.assistant_id",
        "conversation_id": "$.conversation_id",
        "dedupe_key": "$.dedupe_key",
        "status": "$.status",
        "attempts": "$.attempts",
        "lease_owner": "$.lease_owner",
        "lease_until": "$.lease_until",
        "active": "$.active",
        "paused_until": "$.paused_until",
        "message_service": "$.channel.message_service",
        "channel_id": "$.channel.id",
        "message": "$.message",
        "response": "$.response",
    },
    "documents": {
        "assistant_id": "$.assistant_id",
        "type": "$.type",
        "filename": "$.filename",
        "revision": "$.revision",
        "status": "$.status",
    },
    "passages": {
        "assistant_id": "$.assistant_id",
        "document_id": "$.document_id",
        "revision": "$.revision",
        "position": "$.position",
    },
}
"""The generated columns of version 1. There are files with them: only a further step may change them."""

_INDEXES = (
    "CREATE UNIQUE INDEX users_email ON users (email)",
    "CREATE UNIQUE INDEX users_founder ON users (founder) WHERE founder = 1",
    "CREATE INDEX assistants_owner ON assistants (owner_id, id)",
    "CREATE TABLE assistant_keys (sha256 TEXT PRIMARY KEY, assistant_id TEXT NOT NULL) WITHOUT ROWID",
    "CREATE INDEX assistant_keys_assistant ON assistant_keys (assistant_id)",
    "CREATE UNIQUE INDEX conversations_channel ON conversations (assistant_id, message_service, channel_id)",
    "CREATE INDEX conversations_channel_id ON conversations (channel_id)",
    "CREATE INDEX conversations_recent ON conversations (assistant_id, last_message_at, id)",
    "CREATE INDEX conversations_recent_of_all ON conversations (last_message_at, id)",
    "CREATE UNIQUE INDEX chats_dedupe ON chats (assistant_id, dedupe_key)",
    "CREATE INDEX chats_conversation ON chats (conversation_id, id)",
    "CREATE INDEX chats_assistant ON chats (assistant_id, id)",
    "CREATE INDEX chats_lease ON chats (status, lease_until)",
    "CREATE UNIQUE INDEX documents_name ON documents (assistant_id, type, filename)",
    "CREATE INDEX documents_assistant ON documents (assistant_id, id)",
    "CREATE INDEX passages_document ON passages (assistant_id, document_id)",
)

_BUILDS = (
    *(
        f"ALTER TABLE documents ADD COLUMN {column} AS (json_extract(body, '$.{column}')) VIRTUAL"
        for column in ("build", "embeddings_model", "lease_owner", "lease_until")
    ),
    # passages were stored under the document's revision, and used while it was `ready`
    "UPDATE documents SET body = json_set(body, '$.build', iif(status = 'ready', revision, ''), "
    "'$.embeddings_model', '')",
    "CREATE INDEX documents_builds ON documents (assistant_id, type, id, build, embeddings_model)",
    "CREATE INDEX documents_lease ON documents (status, lease_until)",
    "CREATE INDEX documents_embeddings ON documents (id, embeddings_model) WHERE type = 'rag' AND build <> ''",
    "DROP INDEX passages_document",
    "CREATE INDEX passages_build ON passages (assistant_id, document_id, revision, position)",
    # measured with 20,000 vectors of 384 numbers: WITHOUT ROWID takes twice the room and time
    "CREATE TABLE vectors (assistant_id TEXT NOT NULL, document_id TEXT NOT NULL, model TEXT NOT NULL, "
    "digest TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (assistant_id, document_id, model, digest))",
)

_BURSTS_AND_CALLBACKS = (
    *(
        f"ALTER TABLE chats ADD COLUMN {column} AS (json_extract(body, '{path}')) VIRTUAL"
        for column, path in {
            "burst_began": "$.burst.began",
            "merged_into": "$.merged_into",
            "delivery_next_at": "$.delivery.next_at",
        }.items()
    ),
    # of all the chats few are unfinished, merged or to be delivered: the others take no room and no time
    "DROP INDEX chats_lease",
    "CREATE INDEX chats_lease ON chats (coalesce(lease_until, '')) WHERE status = 'received'",
    "CREATE INDEX chats_unfinished ON chats (conversation_id, id) WHERE status = 'received'",
    "CREATE INDEX chats_merged ON chats (merged_into, id) WHERE merged_into IS NOT NULL",
    "CREATE INDEX chats_delivery ON chats (delivery_next_at, id) WHERE delivery_next_at IS NOT NULL",
)

_REQUESTS = (
    "ALTER TABLE chats ADD COLUMN request_digest AS (json_extract(body, '$.request_digest')) VIRTUAL",
    "CREATE INDEX chats_request ON chats (assistant_id, request_digest, id) WHERE request_digest IS NOT NULL",
)

_EVALUATIONS = {
    "evaluation_datasets": {"assistant_id": "$.assistant_id"},
    "evaluation_items": {"assistant_id": "$.assistant_id", "dataset_id": "$.dataset_id"},
    "evaluation_runs": {
        "assistant_id": "$.assistant_id",
        "status": "$.status",
        "queued": "$.queued",
        "lease_owner": "$.lease_owner",
        "lease_until": "$.lease_until",
    },
    "evaluation_results": {"assistant_id": "$.assistant_id", "run_id": "$.run_id", "status": "$.status"},
}

_EVALUATION_INDEXES = (
    *(f"CREATE INDEX {name}_assistant ON {name} (assistant_id, id)" for name in _EVALUATIONS),
    "CREATE INDEX evaluation_items_dataset ON evaluation_items (dataset_id, id)",
    "CREATE INDEX evaluation_results_run ON evaluation_results (run_id, id)",
    "CREATE INDEX evaluation_results_status ON evaluation_results (run_id, status)",
    "CREATE INDEX evaluation_runs_lease ON evaluation_runs (coalesce(lease_until, '')) "
    "WHERE status = 'running' AND queued = 1",
)


def _table(name: str, columns: dict[str, str]) -> str:
    generated = "".join(f", {column} AS (json_extract(body, '{path}')) VIRTUAL" for column, path in columns.items())
    return f"CREATE TABLE {name} (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL{generated})"


_STEPS = (
    (*(_table(name, columns) for name, columns in _COLUMNS.items()), *_INDEXES),
    _BUILDS,
    (
        *_BURSTS_AND_CALLBACKS,
        _table("dead_letters", {"job": "$.job", "argument": "$.argument"}),
        "CREATE UNIQUE INDEX dead_letters_job ON dead_letters (job, argument)",
    ),
    (*_REQUESTS, *(_table(name, columns) for name, columns in _EVALUATIONS.items()), *_EVALUATION_INDEXES),
)
"""What makes a file of each version out of one of the version before; an empty file has version 0."""

VERSION = len(_STEPS)
"""`PRAGMA user_version` of a file tells which one it has."""


def prepare(connection: sqlite3.Connection) -> int:
    """Bring an empty or older file up to date and return its version; call it within a transaction.

    A newer file is left alone.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found >= VERSION:
        return int(found)
    for statements in _STEPS[found:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    return VERSION
