"""What an account at our fake of OpenAI holds: files, vector stores, conversations, responses.

Methods are the API's operations: they take what a request brings and return the JSON of its reply. Tests may look into
the dictionaries at any time.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


class Refused(Exception):
    """Tell that a request is answered with an error in OpenAI's shape."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class StoredFile:
    """An uploaded file."""

    id: str
    filename: str
    purpose: str
    content: bytes
    created_at: int


@dataclass
class Attachment:
    """A file in a vector store, where it is found once it is `completed`.

    Attributes:
        ready_at: when it is processed, on the clock of `time.monotonic`.
    """

    file_id: str
    attributes: Mapping[str, str | float | bool]
    ready_at: float
    created_at: int
    failed: bool = False

    @property
    def status(self) -> str:
        """Return what the API calls its state."""
        if self.failed:
            return "failed"
        return "completed" if time.monotonic() >= self.ready_at else "in_progress"


@dataclass
class VectorStore:
    """A vector store; `files` by the file's id, in the order of attaching."""

    id: str
    name: str
    created_at: int
    files: dict[str, Attachment] = field(default_factory=dict)


@dataclass
class Conversation:
    """A conversation; `items` are the ids of what it holds, oldest first."""

    id: str
    created_at: int
    items: list[str] = field(default_factory=list)
    busy: bool = False


class Account:
    """Hold what was made and not deleted.

    Attributes:
        items: of all conversations; those of a deleted conversation stay, as OpenAI says of its own.
        responses: those that were stored.
        processing_seconds: how long a file in a vector store is `in_progress`.
        unreadable: tells of a filename whether processing it ends with `failed`.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.files: dict[str, StoredFile] = {}
        self.stores: dict[str, VectorStore] = {}
        self.conversations: dict[str, Conversation] = {}
        self.items: dict[str, Json] = {}
        self.responses: dict[str, Json] = {}
        self.processing_seconds = 0.0
        self.unreadable: Callable[[str], bool] = lambda filename: False

    def texts(self, store_id: str) -> dict[str, str]:
        """Return filename -> text of what is in a vector store, found or not."""
        with self.lock:
            held = [self.files[file_id] for file_id in self.stores[store_id].files]
            return {file.filename: file.content.decode() for file in held}

    def create_file(self, filename: str, purpose: str, content: bytes) -> Json:
        """Keep an uploaded file."""
        file = StoredFile(new_name("file-"), filename, purpose, content, int(time.time()))
        with self.lock:
            self.files[file.id] = file
        return file_json(file)

    def list_files(self, query: Mapping[str, str]) -> Json:
        """Return a page of files, newest first unless asked otherwise."""
        with self.lock:
            held = [one for one in self.files.values() if query.get("purpose", one.purpose) == one.purpose]
        return page((file_json(one) for one in held), query, most=10_000, usual=10_000)

    def retrieve_file(self, file_id: str) -> Json:
        """Return a file."""
        return file_json(self._file(file_id))

    def file_content(self, file_id: str) -> bytes:
        """Return a file's bytes."""
        return self._file(file_id).content

    def delete_file(self, file_id: str) -> Json:
        """Delete a file, also from every vector store."""
        with self.lock:
            self._file(file_id)
            del self.files[file_id]
            for store in self.stores.values():
                store.files.pop(file_id, None)
        return {"id": file_id, "object": "file", "deleted": True}

    def create_store(self, body: Json) -> Json:
        """Make a vector store, also one of the same name."""
        store = VectorStore(new_name("vs_"), str(body.get("name") or ""), int(time.time()))
        with self.lock:
            self.stores[store.id] = store
        return store_json(store)

    def list_stores(self, query: Mapping[str, str]) -> Json:
        """Return a page of vector stores."""
        with self.lock:
            held = [store_json(store) for store in self.stores.values()]
        return page(held, query, most=100, usual=20)

    def retrieve_store(self, store_id: str) -> Json:
        """Return a vector store."""
        with self.lock:
            return store_json(self.store(store_id))

    def delete_store(self, store_id: str) -> Json:
        """Delete a vector store; its files stay files."""
        with self.lock:
            self.store(store_id)
            del self.stores[store_id]
        return {"id": store_id, "object": "vector_store.deleted", "deleted": True}

    def attach(self, store_id: str, body: Json) -> Json:
        """Put a file into a vector store; one that is in it stays as it is."""
        with self.lock:
            store, file = self.store(store_id), self._file(str(body.get("file_id")))
            if file.id not in store.files:
                store.files[file.id] = Attachment(
                    file.id,
                    _stored(body.get("attributes") or {}),
                    time.monotonic() + self.processing_seconds,
                    int(time.time()),
                    failed=self.unreadable(file.filename),
                )
            return attachment_json(store, store.files[file.id])

    def list_attached(self, store_id: str, query: Mapping[str, str]) -> Json:
        """Return a page of a vector store's files."""
        with self.lock:
            store = self.store(store_id)
            held = [attachment_json(store, one) for one in store.files.values()]
        held = [one for one in held if query.get("filter", one["status"]) == one["status"]]
        return page(held, query, most=100, usual=20)

    def retrieve_attached(self, store_id: str, file_id: str) -> Json:
        """Return a file as it is in a vector store."""
        with self.lock:
            return attachment_json(self.store(store_id), self._attachment(store_id, file_id))

    def detach(self, store_id: str, file_id: str) -> Json:
        """Take a file out of a vector store; it stays a file."""
        with self.lock:
            self._attachment(store_id, file_id)
            del self.store(store_id).files[file_id]
        return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}

    def create_conversation(self, body: Json) -> Json:
        """Begin a conversation."""
        conversation = Conversation(new_name("conv_"), int(time.time()))
        with self.lock:
            self.conversations[conversation.id] = conversation
            self.add_items(conversation, body.get("items") or [])
        return conversation_json(conversation)

    def retrieve_conversation(self, conversation_id: str) -> Json:
        """Return a conversation."""
        return conversation_json(self.conversation(conversation_id))

    def delete_conversation(self, conversation_id: str) -> Json:
        """Delete a conversation, but not its items."""
        with self.lock:
            self.conversation(conversation_id)
            del self.conversations[conversation_id]
        return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}

    def list_items(self, conversation_id: str, query: Mapping[str, str]) -> Json:
        """Return a page of a conversation's items."""
        with self.lock:
            held = [self.items[item] for item in self.conversation(conversation_id).items]
        return page(held, query, most=100, usual=20)

    def delete_item(self, conversation_id: str, item_id: str) -> Json:
        """Delete one item; the reply is the conversation."""
        with self.lock:
            conversation = self.conversation(conversation_id)
            if item_id not in conversation.items:
                raise Refused(404, f"Item with id '{item_id}' not found.")
            conversation.items.remove(item_id)
            del self.items[item_id]
            return conversation_json(conversation)

    def add_items(self, conversation: Conversation, items: Iterable[Json]) -> None:
        """Add items at a conversation's end; those without an id get one."""
        with self.lock:
            for given in items:
                item = given if "id" in given else message_json(given)
                self.items[item["id"]] = item
                conversation.items.append(item["id"])

    def retrieve_response(self, response_id: str) -> Json:
        """Return a stored response."""
        with self.lock:
            if response_id not in self.responses:
                raise Refused(404, f"Response with id '{response_id}' not found.")
            return self.responses[response_id]

    def delete_response(self, response_id: str) -> Json:
        """Delete a stored response."""
        with self.lock:
            self.retrieve_response(response_id)
            del self.responses[response_id]
        return {"id": response_id, "object": "response.deleted", "deleted": True}

    def store(self, store_id: str) -> VectorStore:
        """Return a vector store."""
        with self.lock:
            if store_id not in self.stores:
                raise Refused(404, f"Vector store with id '{store_id}' not found.")
            return self.stores[store_id]

    def conversation(self, conversation_id: str) -> Conversation:
        """Return a conversation."""
        with self.lock:
            if conversation_id not in self.conversations:
                raise Refused(404, f"Conversation with id '{conversation_id}' not found.")
            return self.conversations[conversation_id]

    def _file(self, file_id: str) -> StoredFile:
        with self.lock:
            if file_id not in self.files:
                raise Refused(404, f"No such File object: {file_id}")
            return self.files[file_id]

    def _attachment(self, store_id: str, file_id: str) -> Attachment:
        attached = self.store(store_id).files.get(file_id)
        if attached is None:
            raise Refused(404, f"No file found with id '{file_id}' in vector store '{store_id}'.")
        return attached


def new_name(prefix: str) -> str:
    """Return a new id of a kind."""
    return prefix + secrets.token_hex(12)


def page(objects: Iterable[Json], query: Mapping[str, str], *, most: int, usual: int) -> Json:
    """Return a page of what is given oldest first.

    Raises:
        Refused: the limit is out of bounds, or `after` names nothing that is there.
    """
    held = list(objects)
    if query.get("order", "desc") == "desc":
        held.reverse()
    limit = int(query.get("limit", usual))
    if not 1 <= limit <= most:
        raise Refused(400, f"Invalid 'limit': {limit} is not between 1 and {most}.")
    if "after" in query:
        places = [place for place, one in enumerate(held) if one["id"] == query["after"]]
        if not places:
            raise Refused(400, f"Invalid 'after': no such object: {query['after']}")
        held = held[places[0] + 1 :]
    shown = held[:limit]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else ("", "")
    return {"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": len(held) > limit}


def file_json(file: StoredFile) -> Json:
    """Return a file as the API shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.content),
        "created_at": file.created_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "expires_at": None,
        "status_details": None,
    }


def store_json(store: VectorStore) -> Json:
    """Return a vector store as the API shows it."""
    states = [one.status for one in store.files.values()]
    counts = {name: states.count(name) for name in ("in_progress", "completed", "failed", "cancelled")}
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": store.created_at,
        "last_active_at": store.created_at,
        "name": store.name,
        "usage_bytes": 0,
        "file_counts": {**counts, "total": len(states)},
        "status": "in_progress" if "in_progress" in states else "completed",
        "expires_after": None,
        "expires_at": None,
        "metadata": {},
    }


def attachment_json(store: VectorStore, attached: Attachment) -> Json:
    """Return a file of a vector store as the API shows it."""
    error = {"code": "unsupported_file", "message": "The file could not be parsed."} if attached.failed else None
    return {
        "id": attached.file_id,
        "object": "vector_store.file",
        "created_at": attached.created_at,
        "usage_bytes": 0,
        "vector_store_id": store.id,
        "status": attached.status,
        "last_error": error,
        "attributes": dict(attached.attributes),
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        },
    }


def conversation_json(conversation: Conversation) -> Json:
    """Return a conversation as the API shows it."""
    created_at = conversation.created_at
    return {"id": conversation.id, "object": "conversation", "created_at": created_at, "metadata": {}}


def message_json(given: Json) -> Json:
    """Return a message of a request as a conversation holds it."""
    kind = "output_text" if given["role"] == "assistant" else "input_text"
    content = given["content"]
    parts = [{"type": kind, "text": content}] if isinstance(content, str) else list(content)
    if kind == "output_text":
        parts = [{"annotations": [], "logprobs": [], **part} for part in parts]
    return {"id": new_name("msg_"), "type": "message", "role": given["role"], "status": "completed", "content": parts}


def _stored(attributes: Json) -> Json:
    """Return attributes as they are kept: numbers are floats.

    Raises:
        Refused: there are too many, or one is of a wrong kind or too long.
    """
    if len(attributes) > 16:
        raise Refused(400, "Invalid 'attributes': too many properties.")
    for name, value in attributes.items():
        if not isinstance(value, str | int | float) or len(name) > 64 or len(str(value)) > 512:
            raise Refused(400, f"Invalid 'attributes.{name}'.")
    return {
        name: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in attributes.items()
    }
