"""What DashScope's clients send, and what is understood of it."""

from typing import Any

import pytest
from marshmallow import ValidationError

from models.answers import Audience
from models.errors import Invalid
from models.given import Turn
from routes.schemas.dashscope_door import AppCompletionSchema, door_message, wants_increments, wants_stream
from services.devices import DeviceSession, device_session
from services.doors import DoorMessage

USER, BOT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


def read(body: dict[str, Any], path_session: str = "") -> DoorMessage:
    """Read a body as the door does."""
    return door_message(AppCompletionSchema().load(body), path_session, None, Audience.NOBODY)


def said(*messages: dict[str, Any], **more: Any) -> DoorMessage:
    """Read `input.messages`."""
    return read({"input": {"messages": [*messages], **more}})


def user(content: object) -> dict[str, Any]:
    """Return a message of the user."""
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [user("top")], "input": {"messages": [user("inner")], "prompt": "prompt"}}, "prompt"),
        ({"messages": [user("top")], "input": {"messages": [user("inner")]}}, "top"),
        ({"messages": [user("top")], "input": None}, "top"),
        ({"messages": [], "input": {"messages": [user("inner")]}}, "inner"),
        ({"messages": None, "input": {"messages": [user("inner")], "prompt": None}}, "inner"),
        ({"model": "", "parameters": {"workspace": None}, "input": {"prompt": "p", "history": None}}, "p"),
        ({"input": {"prompt": [{"text": "p"}, " q"]}}, "p q"),
    ],
)
def test_where_the_message_is_looked_for(body: dict[str, Any], text: str) -> None:
    assert read(body).text == text


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([USER, BOT, user("new")], "new"),
        ([user("new"), {"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "t"}], "new"),
        ([user("new"), {"role": "assistant", "content": None, "tool_calls": []}], "new"),
        ([user("new"), user(""), user(None), user("  "), {"role": "user"}], "new"),
        ([user([{"type": "text", "text": "你"}, {"text": "好"}])], "你好"),
        ([{"role": "system", "content": "s"}, {"role": "assistant", "content": "last"}], "last"),
        ([{"content": "without a role"}], "without a role"),
    ],
)
def test_the_newest_message_is_the_users_last_that_says_something(messages: list[dict[str, Any]], text: str) -> None:
    assert said(*messages).text == text


def test_what_came_before_becomes_turns_and_instructions() -> None:
    message = said(
        {"role": "system", "content": "Be kind."},
        BOT,
        user("one"),
        user("two"),
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "tool"},
        {"role": "assistant", "content": "to two"},
        user("three"),
        {"role": "system", "content": "Be short."},
    )
    assert message.text == "three"
    assert message.given.turns == (Turn(None, "b"), Turn("one", None), Turn("two", "to two"))
    assert message.given.instructions == "Be kind.\n\nBe short."


def test_history_comes_before_the_prompt() -> None:
    history = [{"user": "one", "bot": "to one"}, {"user": "two"}, {"bot": "unasked"}]
    message = read({"input": {"prompt": "three", "history": history}})
    assert message.text == "three"
    assert message.given.turns == (Turn("one", "to one"), Turn("two", "unasked"))


def test_a_system_message_that_is_all_there_is_is_no_instruction() -> None:
    message = said({"role": "system", "content": "Summarize: ..."})
    assert (message.text, message.given.instructions, message.given.turns) == ("Summarize: ...", "", ())


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([USER, BOT, user("again"), user("again")], (Turn("a", "b"),)),
        ([USER, BOT, user("x"), {"role": "tool", "content": "t"}, user("t")], (Turn("a", "b"),)),
        ([user("again"), BOT, user("again")], (Turn("again", "b"),)),
        ([user("x"), user("x"), user("y")], (Turn("x", None), Turn("x", None))),
    ],
)
def test_the_last_message_once_more_as_the_prompt_is_one_message(
    messages: list[dict[str, Any]], turns: tuple[Turn, ...]
) -> None:
    assert said(*messages).given.turns == turns
    with_prompt = said(*messages[:-1], prompt=messages[-1]["content"])
    assert with_prompt == said(*messages)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": {}},
        {"input": {"messages": []}},
        {"input": {"messages": [{"role": "user"}, user(None), user(""), user(" \n"), user([])]}},
        {"input": {"prompt": ""}, "messages": None},
    ],
)
def test_nothing_to_answer_is_said_so(body: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="messages is required") as refused:
        read(body)
    assert refused.value.code == "message_missing"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": {"prompt": "p", "image_list": ["http://x/y.png"]}}, "image_list"),
        ({"input": {"messages": [user([{"image": "http://x/y.png"}])]}}, "messages"),
        ({"messages": [user([{"type": "image_url", "image_url": {"url": "u"}}])]}, "messages"),
        ({"messages": [user("a\0b")]}, "messages"),
        ({"messages": [user("\ud83d")]}, "messages"),
        ({"messages": [user({"text": "no list"})]}, "messages"),
        ({"messages": ["text"]}, "messages"),
        ({"messages": "text"}, "messages"),
        ({"input": "text"}, "input"),
        ({"input": {"prompt": "p", "session_id": "s" * 257}}, "session_id"),
        ({"input": {"prompt": "p", "session_id": ["s"]}}, "session_id"),
        ({"input": {"prompt": "p"}, "parameters": {"temperature": 2.1}}, "temperature"),
        ({"input": {"prompt": "p"}, "parameters": {"top_p": "much"}}, "top_p"),
        ({"input": {"prompt": "p"}, "parameters": {"max_tokens": 0}}, "max_tokens"),
        ({"input": {"prompt": "p"}, "stream": "perhaps"}, "stream"),
    ],
)
def test_what_cannot_be_understood_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        read(body)
    assert field in str(refused.value.messages)


def test_a_message_may_be_long_but_not_longer() -> None:
    assert len(read({"input": {"prompt": "字" * 200_000}}).text) == 200_000
    with pytest.raises(Invalid, match="200000"):
        read({"input": {"prompt": "字" * 200_001}})


def test_parameters_have_openais_names_behind_the_door() -> None:
    sent = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 99, "top_k": 5, "has_thoughts": True}
    given = read({"input": {"prompt": "p"}, "parameters": sent}).given
    assert (given.temperature, given.max_output_tokens, given.options) == (0.5, 99, {"top_p": 0.9, "seed": 7})
    nothing = read({"input": {"prompt": "p"}, "parameters": dict.fromkeys(sent)}).given
    assert (nothing.temperature, nothing.max_output_tokens, nothing.options) == (None, None, {})
    assert read({"input": {"prompt": "p"}, "parameters": None}).given == nothing


def test_a_stream_and_increments_come_only_when_they_are_asked_for() -> None:
    for body, stream in (
        ({}, False),
        ({"stream": None, "parameters": None}, False),
        ({"stream": True}, True),
        ({"parameters": {"stream": True}}, True),
        ({"stream": False, "parameters": {"stream": False}}, False),
    ):
        assert wants_stream(AppCompletionSchema().load(body)) is stream
    assert wants_increments(AppCompletionSchema().load({"parameters": {"incremental_output": True}}))
    assert not wants_increments(AppCompletionSchema().load({"parameters": {"incremental_output": None}}))


@pytest.mark.parametrize(
    ("sent", "path", "thread"),
    [
        ("s", "", "s"),
        ("s", "p", "s"),
        ("", "p", "p"),
        (None, "p", "p"),
        (None, "", None),
        (2000, "", "2000"),
        (0, "", "0"),
    ],
)
def test_the_bodys_session_comes_before_the_paths(sent: object, path: str, thread: str | None) -> None:
    message = read({"input": {"prompt": "p", "session_id": sent}}, path)
    assert (message.thread, message.device) == (thread, None)


@pytest.mark.parametrize("path", ["p" * 257, "a\0b"])
def test_a_path_that_no_store_could_hold_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        read({"input": {"prompt": "p"}}, path)


@pytest.mark.parametrize(
    ("session", "device"),
    [
        ("c1_d1", DeviceSession("d1", "c1")),
        ("a_b_c", DeviceSession("c", "a_b")),
        (
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6_aa:bb:cc",
            DeviceSession("aa:bb:cc", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        ),
        ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", None),
        ("_d", None),
        ("c_", None),
        ("_", None),
        ("", None),
    ],
)
def test_a_devices_session_ends_with_its_name(session: str, device: DeviceSession | None) -> None:
    assert device_session(session) == device
    assert said(USER, session_id=session).device == device
