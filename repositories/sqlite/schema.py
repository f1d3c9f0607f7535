"""The tables of the embedded store.

A table holds an item's id and the item as JSON; generated columns read out of the JSON what is searched by.
They take no room (VIRTUAL), but their indexes do.
"""

import sqlite3

VERSION = 1
"""Counts the changes of the schema; `PRAGMA user_version` of a file tells which one it has."""

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


def _table(name: str, columns: dict[str, str]) -> str:
    generated = "".join(f", {column} AS (json_extract(body, '{path}')) VIRTUAL" for column, path in columns.items())
    return f"CREATE TABLE {name} (id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL{generated})"


def create(connection: sqlite3.Connection) -> int:
    """Create what an empty file lacks and return the file's schema version; call it within a transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for name, columns in _COLUMNS.items():
            connection.execute(_table(name, columns))
        for statement in _INDEXES:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        return VERSION
    return int(version)
