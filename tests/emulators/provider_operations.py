"""The operations of our fake of OpenAI: from a request to its reply."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from tests.emulators.provider_account import Account, Json, Refused
from tests.emulators.provider_answers import ResponseInTheMaking, completion_events, input_items, respond
from tests.emulators.provider_faults import Asked, FakeProvider, Status

_ROUTES = Map(
    [
        Rule(f"/v1{path}", methods=[method], endpoint=operation, strict_slashes=False)
        for method, path, operation in [
            ("POST", "/files", "files.create"),
            ("GET", "/files", "files.list"),
            ("GET", "/files/<file>", "files.retrieve"),
            ("GET", "/files/<file>/content", "files.content"),
            ("DELETE", "/files/<file>", "files.delete"),
            ("POST", "/vector_stores", "vector_stores.create"),
            ("GET", "/vector_stores", "vector_stores.list"),
            ("GET", "/vector_stores/<store>", "vector_stores.retrieve"),
            ("DELETE", "/vector_stores/<store>", "vector_stores.delete"),
            ("POST", "/vector_stores/<store>/files", "vector_stores.files.create"),
            ("GET", "/vector_stores/<store>/files", "vector_stores.files.list"),
            ("GET", "/vector_stores/<store>/files/<file>", "vector_stores.files.retrieve"),
            ("DELETE", "/vector_stores/<store>/files/<file>", "vector_stores.files.delete"),
            ("POST", "/conversations", "conversations.create"),
            ("GET", "/conversations/<conversation>", "conversations.retrieve"),
            ("DELETE", "/conversations/<conversation>", "conversations.delete"),
            ("GET", "/conversations/<conversation>/items", "conversations.items.list"),
            ("DELETE", "/conversations/<conversation>/items/<item>", "conversations.items.delete"),
            ("POST", "/responses", "responses.create"),
            ("GET", "/responses/<response>", "responses.retrieve"),
            ("DELETE", "/responses/<response>", "responses.delete"),
            ("POST", "/chat/completions", "chat.completions.create"),
            ("GET", "/models", "models.list"),
        ]
    ]
)
OPERATIONS = tuple(sorted(str(rule.endpoint) for rule in _ROUTES.iter_rules()))
"""Every operation that the fake knows."""


_MATCHING = _ROUTES.bind("provider")


@dataclass(frozen=True)
class Reply:
    """A reply; a streamed one comes in its pieces."""

    status: int
    kind: str
    pieces: Sequence[bytes]
    headers: dict[str, str] = field(default_factory=dict)
    streamed: bool = False


def operation_of(method: str, path: str) -> tuple[str, dict[str, str]]:
    """Return a request's operation and the ids in its path.

    Raises:
        Refused: there is no such operation.
    """
    try:
        operation, names = _MATCHING.match(path, method)
    except HTTPException as unknown:
        raise Refused(unknown.code or 404, f"Unknown request URL: {method} {path}") from unknown
    return str(operation), dict(names)


def execute(fake: FakeProvider, asked: Asked) -> Reply:
    """Do what was asked for, and return the reply."""
    try:
        reply = _EXECUTED[asked.operation](fake, asked)
    except Refused as refused:
        return refusal(refused)
    asked.executed = True
    return reply


def unheard(fake: FakeProvider, asked: Asked) -> Reply:
    """Return the reply of a request that is not executed: an answer that nobody will remember."""
    if asked.operation == "responses.create":
        return stream_reply(made_response(fake, asked).events())
    if asked.operation == "chat.completions.create":
        return stream_reply(completion_events(asked.body))
    return json_reply({"object": "nothing", "id": "nothing"})


def json_reply(body: Json, status: int = 200) -> Reply:
    """Return the reply of an object."""
    return Reply(status, "application/json", [json.dumps(body, ensure_ascii=False).encode()])


def stream_reply(events: Iterable[bytes]) -> Reply:
    """Return the reply of a stream of events."""
    return Reply(200, "text/event-stream", list(events), streamed=True)


def refusal(refused: Refused) -> Reply:
    """Return the reply of an error."""
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    error = {"message": str(refused), "type": kind, "param": None, "code": refused.code}
    return json_reply({"error": error}, refused.status)


def fault_reply(fault: Status) -> Reply:
    """Return the reply of a fault."""
    reply = refusal(Refused(fault.code, "This is a fault that a test has asked for."))
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    return Reply(reply.status, reply.kind, reply.pieces, headers)


def _create_file(fake: FakeProvider, asked: Asked) -> Reply:
    file, purpose = (asked.body or {}).get("file"), (asked.body or {}).get("purpose")
    if not isinstance(file, tuple) or not purpose:
        raise Refused(400, "Missing required parameter: 'file' and 'purpose'.")
    filename, content = file
    if not content:
        raise Refused(400, "File is empty.")
    return json_reply(fake.account.create_file(filename, purpose, content))


def _models(fake: FakeProvider, asked: Asked) -> Reply:
    return json_reply({"object": "list", "data": [{"id": "fake-1", "object": "model", "created": 1, "owned_by": "us"}]})


def _create_completion(fake: FakeProvider, asked: Asked) -> Reply:
    _require(asked.body, "model", "messages")
    fake.over.wait(fake.thinking_seconds)
    return stream_reply(completion_events(asked.body))


def _create_response(fake: FakeProvider, asked: Asked) -> Reply:
    """Answer; the conversation has the question and the answer when the reply begins."""
    account, body = fake.account, asked.body
    _require(body, "model", "input")
    named = body.get("conversation")
    with account.lock:
        conversation = account.conversation(named) if named else None
        if conversation is not None and conversation.busy:
            raise Refused(400, "Another process is operating on this conversation.", "conversation_locked")
        if conversation is not None:
            conversation.busy = True
    try:
        made = made_response(fake, asked)
        with account.lock:
            if conversation is not None:
                account.add_items(conversation, [*input_items(body), *made.output])
            if body.get("store", True):
                account.responses[made.id] = made.json()
    finally:
        if conversation is not None:
            conversation.busy = False
    if body.get("stream"):
        return stream_reply(made.events())
    return json_reply(made.json())


def made_response(fake: FakeProvider, asked: Asked) -> ResponseInTheMaking:
    """Think, then answer from what the conversation and the vector stores hold by then."""
    fake.over.wait(fake.thinking_seconds)
    account, body = fake.account, asked.body
    named = body.get("conversation")
    with account.lock:
        held = [account.items[item] for item in account.conversation(named).items] if named else []
        return ResponseInTheMaking(body, respond(account, body, [*held, *input_items(body)]))


def _require(body: Any, *names: str) -> None:
    for name in names:
        if not isinstance(body, dict) or not body.get(name):
            raise Refused(400, f"Missing required parameter: '{name}'.")


def _content(fake: FakeProvider, asked: Asked) -> Reply:
    return Reply(200, "application/octet-stream", [fake.account.file_content(asked.names["file"])])


def _plain(
    answer: Callable[..., Json], *names: str, query: bool = False, body: bool = False
) -> Callable[[FakeProvider, Asked], Reply]:
    """Return an operation that is the account's method of these ids, and of the query or the body."""

    def execute(fake: FakeProvider, asked: Asked) -> Reply:
        given = [asked.names[name] for name in names]
        rest = ([asked.query] if query else []) + ([asked.body or {}] if body else [])
        return json_reply(answer(fake.account, *given, *rest))

    return execute


_EXECUTED: dict[str, Callable[[FakeProvider, Asked], Reply]] = {
    "files.create": _create_file,
    "files.list": _plain(Account.list_files, query=True),
    "files.retrieve": _plain(Account.retrieve_file, "file"),
    "files.content": _content,
    "files.delete": _plain(Account.delete_file, "file"),
    "vector_stores.create": _plain(Account.create_store, body=True),
    "vector_stores.list": _plain(Account.list_stores, query=True),
    "vector_stores.retrieve": _plain(Account.retrieve_store, "store"),
    "vector_stores.delete": _plain(Account.delete_store, "store"),
    "vector_stores.files.create": _plain(Account.attach, "store", body=True),
    "vector_stores.files.list": _plain(Account.list_attached, "store", query=True),
    "vector_stores.files.retrieve": _plain(Account.retrieve_attached, "store", "file"),
    "vector_stores.files.delete": _plain(Account.detach, "store", "file"),
    "conversations.create": _plain(Account.create_conversation, body=True),
    "conversations.retrieve": _plain(Account.retrieve_conversation, "conversation"),
    "conversations.delete": _plain(Account.delete_conversation, "conversation"),
    "conversations.items.list": _plain(Account.list_items, "conversation", query=True),
    "conversations.items.delete": _plain(Account.delete_item, "conversation", "item"),
    "responses.create": _create_response,
    "responses.retrieve": _plain(Account.retrieve_response, "response"),
    "responses.delete": _plain(Account.delete_response, "response"),
    "chat.completions.create": _create_completion,
    "models.list": _models,
}
