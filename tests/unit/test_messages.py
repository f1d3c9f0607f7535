"""What a conversation's viewer shows of a chat: people, model, tools, and what a client's request told."""

from dataclasses import replace
from typing import Any

import pytest

from models.chats import Chat, ChatStatus
from models.given import Given, Turn
from models.tools import ToolCall, ToolResult, ToolUse
from services.viewer import messages_of
from tests.contract.stores import NOW, later, make_chat

CALL = ToolCall("c1", "open_door", '{"door": 1}')
USE = ToolUse("order_status", "desk", "{}", "in transit", False, later(1), 12)


def chat(**fields: Any) -> Chat:
    """Return an answered chat."""
    return replace(make_chat(), message="Where?", response="There.", answered_at=later(2), **fields)


def shown(one: Chat) -> list[tuple[str, str]]:
    """Return roles and words."""
    return [(message.role.value, message.content) for message in messages_of(one)]


def test_tools_stand_between_question_and_answer() -> None:
    said = messages_of(chat(tools=(USE,)))
    assert [message.role.value for message in said] == ["human", "tool", "ai"]
    assert [message.created_at for message in said] == [NOW, later(1), later(2)]
    assert (said[1].content, said[1].tool) == ("in transit", USE)


@pytest.mark.parametrize("status", [ChatStatus.FAILED, ChatStatus.SUPPRESSED])
def test_tools_of_an_answer_that_nobody_was_given_ran_all_the_same(status: ChatStatus) -> None:
    assert shown(chat(tools=(USE,), status=status)) == [("human", "Where?"), ("tool", "in transit")]


def test_turns_that_the_request_told_are_marked() -> None:
    said = messages_of(chat(given=Given(alone=True, turns=(Turn("Hi", "Hello"), Turn("You there?", None)))))
    assert [(message.role.value, message.content, message.given) for message in said] == [
        ("human", "Hi", True),
        ("ai", "Hello", True),
        ("human", "You there?", True),
        ("human", "Where?", False),
        ("ai", "There.", False),
    ]


def test_a_chat_that_ends_with_a_call_of_the_clients_has_no_empty_answer() -> None:
    assert shown(chat(asked=(CALL,), tools=(USE,)))[-1] == ("ai", "There.")
    assert shown(replace(chat(asked=(CALL,)), response="")) == [("human", "Where?")]


def test_a_clients_outputs_are_shown_once() -> None:
    first, second = (ToolResult(replace(CALL, id=name), f"gave {name}") for name in ("c1", "c2"))
    given = Given(question="Where?", rounds=((first,), (second,)))
    going_on = replace(chat(given=given), message=None)
    assert shown(going_on) == [("tool", "gave c2"), ("ai", "There.")]
    alone = chat(given=replace(given, alone=True, question=""))
    assert shown(alone) == [("human", "Where?"), ("tool", "gave c1"), ("tool", "gave c2"), ("ai", "There.")]
    assert messages_of(alone)[1].tool == ToolUse("open_door", "", CALL.arguments, "gave c1", False, NOW, 0)
