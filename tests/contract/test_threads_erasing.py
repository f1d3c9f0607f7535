"""Deleting at OpenAI: against our stateful fake with faults, exact replies, and OGX, which was not written for us."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from models.threads import Leftover, LeftoverKind
from services.providers.openai_chat import build_client
from services.providers.openai_erasing import OpenAIEraser
from tests.emulators.aimock import aimock
from tests.emulators.ogx import ogx
from tests.emulators.openai_wire import Reply, WireServer, document, wire
from tests.emulators.provider import DROP, HANG, Asked, FakeProvider, Fault, Moment, Status, provider
from tests.emulators.response_wire import deleted, refusal

_CONVERSATION = Leftover(LeftoverKind.CONVERSATION, "conv_1")
_RESPONSE = Leftover(LeftoverKind.RESPONSE, "resp_1")


@contextlib.contextmanager
def _eraser(base_url: str) -> Iterator[OpenAIEraser]:
    with contextlib.closing(build_client("sk-test", base_url, 2)) as client:
        yield OpenAIEraser(client)


@contextlib.contextmanager
def _scripted(*replies: Reply) -> Iterator[tuple[WireServer, OpenAIEraser]]:
    with wire(*replies) as server, _eraser(server.base_url) as eraser:
        yield server, eraser


def _items(*names: str, more: bool = False) -> Reply:
    data = [{"id": name, "type": "message", "role": "user", "status": "completed", "content": []} for name in names]
    page = {"object": "list", "data": data, "first_id": None, "last_id": None, "has_more": more}
    return document(200, page)


def _conversation(openai: FakeProvider, texts: int) -> Leftover:
    """Make a conversation with so many messages."""
    messages = [{"type": "message", "role": "user", "content": f"message {number}"} for number in range(texts)]
    with openai.account.lock:
        name = openai.account.create_conversation({"items": messages})["id"]
    return Leftover(LeftoverKind.CONVERSATION, name)


# The stateful fake


def test_a_conversation_is_deleted_with_all_its_items_and_no_other() -> None:
    with provider() as openai, _eraser(openai.base_url) as eraser:
        gone, other = _conversation(openai, 250), _conversation(openai, 3)
        eraser.delete(gone, Deadline(30))
        eraser.delete(gone, Deadline(30))
        assert list(openai.account.conversations) == [other.id]
        assert list(openai.account.items) == openai.account.conversations[other.id].items


def _once_each(fault: Fault, moment: Moment) -> Callable[[Moment, Asked], Fault | None]:
    """Return the rule that every operation fails the first time in one way."""
    met: set[str] = set()

    def rule(now: Moment, asked: Asked) -> Fault | None:
        if now is not moment or asked.operation in met:
            return None
        met.add(asked.operation)
        return fault

    return rule


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize("fault", [Status(500), Status(429, retry_after=0.05), DROP], ids=["500", "429", "drop"])
def test_what_fails_for_a_moment_is_asked_again(fault: Fault, moment: Moment) -> None:
    with provider() as openai, _eraser(openai.base_url) as eraser:
        conversation = _conversation(openai, 3)
        openai.rule = _once_each(fault, moment)
        eraser.delete(conversation, Deadline(30))
        assert not openai.account.conversations
        assert not openai.account.items


def test_what_was_cut_off_goes_on_where_it_was() -> None:
    with provider() as openai, _eraser(openai.base_url) as eraser:
        conversation = _conversation(openai, 5)
        calls = iter(range(100))

        def rule(moment: Moment, asked: Asked) -> Fault | None:
            if moment is Moment.BEFORE and asked.operation == "conversations.items.delete" and next(calls) >= 2:
                return HANG
            return None

        openai.rule = rule
        with pytest.raises(DeadlineExceeded):
            eraser.delete(conversation, Deadline(3))
        assert len(openai.account.items) == 3
        openai.rule = lambda moment, asked: None
        eraser.delete(conversation, Deadline(30))
        assert not openai.account.items
        assert len([one for one in openai.asked("conversations.items.delete") if one.executed]) == 5


# Exact replies


def test_a_response_is_deleted() -> None:
    with _scripted(document(200, {"id": "resp_1", "object": "response", "deleted": True})) as (server, eraser):
        eraser.delete(_RESPONSE, Deadline(5))
        assert [one.path for one in server.requests] == ["/v1/responses/resp_1"]


@pytest.mark.parametrize(
    "reply",
    [
        refusal(404, "Response with id 'resp_1' not found."),
        refusal(404, "Response with id 'resp_1' has been deleted."),
        document(400, {"error": {"message": "Response resp_1 does not exist."}}),
        document(410, {"detail": "no such response: resp_1"}),
    ],
    ids=["openai", "deleted", "400", "410"],
)
def test_what_the_provider_says_to_be_gone_is_gone(reply: Reply) -> None:
    with _scripted(reply) as (_, eraser):
        eraser.delete(_RESPONSE, Deadline(5))


@pytest.mark.parametrize(
    "reply",
    [
        document(404, {"detail": "Not Found"}),
        refusal(404, "Invalid URL (DELETE /v1/responses/resp_1): not found"),
        refusal(400, "Response resp_1 is still in progress."),
        refusal(401, "Incorrect API key: resp_1 not found."),
        refusal(403, "no"),
    ],
    ids=["another server", "no such route", "in progress", "401", "403"],
)
def test_what_a_refusal_does_not_say_to_be_gone_may_be_there(reply: Reply) -> None:
    with _scripted(reply) as (_, eraser), pytest.raises(ProviderFailed):
        eraser.delete(_RESPONSE, Deadline(5))


def test_a_provider_that_is_away_is_told_so() -> None:
    with _eraser("http://127.0.0.1:1/v1") as eraser, pytest.raises(ProviderFailed) as raised:
        eraser.delete(_RESPONSE, Deadline(5))
    assert raised.value.code == "provider_unreachable"


def test_items_that_are_listed_although_they_are_deleted_do_not_hold_it_up() -> None:
    gone = refusal(404, "Item with id 'msg_1' not found.")
    replies = (_items("msg_1", "msg_2", more=True), gone, deleted("x"), _items("msg_1", more=True), deleted("conv_1"))
    with _scripted(*replies) as (server, eraser):
        eraser.delete(_CONVERSATION, Deadline(5))
        assert [one.path.partition("?")[0] for one in server.requests] == [
            "/v1/conversations/conv_1/items",
            "/v1/conversations/conv_1/items/msg_1",
            "/v1/conversations/conv_1/items/msg_2",
            "/v1/conversations/conv_1/items",
            "/v1/conversations/conv_1",
        ]


def test_an_item_that_cannot_be_deleted_keeps_the_conversation() -> None:
    with _scripted(_items("msg_1"), refusal(403, "no")) as (server, eraser):
        with pytest.raises(ProviderFailed):
            eraser.delete(_CONVERSATION, Deadline(5))
        assert len(server.requests) == 2


@pytest.mark.parametrize("body", [[], {"data": None}, {"data": [{}]}, "words"])
def test_a_list_of_another_protocol_is_a_failure(body: Any) -> None:
    with _scripted(document(200, body)) as (_, eraser), pytest.raises(ProviderFailed):
        eraser.delete(_CONVERSATION, Deadline(5))


# OGX


def test_another_server_of_the_same_protocol_has_nothing_any_more() -> None:
    fixtures = [{"match": {"userMessage": "one"}, "response": {"content": "re one"}}]
    with aimock(fixtures) as writer, ogx(writer.base_url) as host, _eraser(host.base_url) as eraser:
        with httpx2.Client(base_url=f"{host.base_url}/", timeout=20) as client:
            name = client.post("conversations", json={}).raise_for_status().json()["id"]
            asked = {"model": host.model, "input": "one", "conversation": name, "store": True}
            response = client.post("responses", json=asked).raise_for_status().json()["id"]
            assert len(host.items(name)) == 2
            stored, kept = Leftover(LeftoverKind.RESPONSE, response), Leftover(LeftoverKind.CONVERSATION, name)
            eraser.delete(stored, Deadline(20))
            eraser.delete(stored, Deadline(20))
            assert not client.get(f"responses/{response}").is_success
            assert len(host.items(name)) == 2, "a conversation does without its responses"
            eraser.delete(kept, Deadline(20))
            eraser.delete(kept, Deadline(20))
            assert not host.has(name)
