"""What clients of chat completions send, and what the engine is told of it."""

import json
from typing import Any

import pytest
from marshmallow import ValidationError

from models.answers import Audience
from models.errors import Invalid
from models.given import Turn
from models.tools import ToolCall, ToolResult, ToolSpec
from routes.schemas.openai_door import ChatCompletionSchema, MemorySchema, door_message, thread_to_clear, wants_usage
from services.doors import DoorMessage

HI = {"role": "user", "content": "hi"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def read(*messages: dict[str, Any], **fields: Any) -> DoorMessage:
    """Return what a request with these messages asks."""
    body = json.loads(json.dumps({"messages": list(messages or [HI]), **fields}))
    return door_message(ChatCompletionSchema().load(body), "key", "digest", repeated=True)


def asks(*ids: str) -> dict[str, Any]:
    """Return an assistant's message that asks for calls."""
    calls = [{"id": one, "type": "function", "function": {"name": "weather", "arguments": "{}"}} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def gives(call: str, output: Any = "sunny") -> dict[str, Any]:
    """Return the output of a call."""
    return {"role": "tool", "tool_call_id": call, "content": output}


def result(call: str, output: str = "sunny") -> ToolResult:
    """Return a call that was made."""
    return ToolResult(ToolCall(call, "weather", "{}"), output)


def test_the_least_that_a_client_sends() -> None:
    message = read()
    assert (message.text, message.thread, message.given.turns, message.given.rounds) == ("hi", None, (), ())
    assert (message.message_id, message.digest, message.repeated) == ("key", "digest", True)
    assert message.audience is Audience.NOBODY
    assert read(stream=True).audience is Audience.TEXT


def test_messages_become_turns_and_instructions() -> None:
    message = read(
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "an answer"},
        {"role": "developer", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": "three"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "four"}, {"type": "text", "text": "and more"}]},
    )
    assert message.text == "four\nand more"
    assert message.given.instructions == "Be kind.\n\nBe short."
    assert message.given.turns == (Turn("one", None), Turn("two", "an answer"), Turn("three", None))


def test_an_assistant_may_have_spoken_first() -> None:
    assert read({"role": "assistant", "content": "Welcome."}, HI).given.turns == (Turn(None, "Welcome."),)


def test_earlier_calls_are_folded_away() -> None:
    asking = {**asks("1"), "content": "Let me look."}
    message = read(
        HI, asking, gives("1"), {"role": "assistant", "content": "Sunny."}, {"role": "user", "content": "ok"}
    )
    assert message.given.turns == (Turn("hi", "Let me look.\n\nSunny."),)
    assert message.given.rounds == ()


def test_outputs_behind_the_last_message_are_rounds() -> None:
    message = read(
        HI, asks("1", "2"), gives("2"), gives("1", [{"type": "text", "text": "rainy"}]), asks("3"), gives("3", None)
    )
    assert message.text == "hi"
    assert message.given.rounds == ((result("1", "rainy"), result("2")), (result("3", ""),))


def test_a_thread_may_be_told_nothing_but_outputs() -> None:
    message = read(asks("1"), gives("1"), thread_id="t")
    assert (message.text, message.given.rounds) == ("", ((result("1"),),))


@pytest.mark.parametrize(
    "messages",
    [
        [HI, asks("1", "2"), gives("1")],
        [HI, asks("1"), gives("2")],
        [HI, asks("1"), gives("1"), gives("1")],
        [HI, asks("1", "2"), gives("1"), gives("1")],
        [HI, gives("1")],
        [HI, {"role": "assistant", "content": "An answer that goes on"}],
        [HI, asks("1")],
    ],
)
def test_outputs_that_do_not_fit_their_calls(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(Invalid) as refused:
        read(*messages)
    assert refused.value.code == "messages_out_of_order"


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "Be kind."}],
        [{"role": "user", "content": " \n"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": ""}, asks("1"), gives("1")],
    ],
)
def test_nothing_to_answer(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(Invalid) as refused:
        read(*messages)
    assert refused.value.code == "message_missing"


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "video"])
def test_parts_that_are_no_text(kind: str) -> None:
    with pytest.raises(Invalid) as refused:
        read({"role": "user", "content": [{"type": "text", "text": "what is this?"}, {"type": kind, kind: {}}]})
    assert refused.value.code == "unsupported_content"
    assert kind in refused.value.detail


@pytest.mark.parametrize(
    ("given", "thread"),
    [("2000", "2000"), (2000, "2000"), (0, "0"), ("", None), (" ", None), (None, None), ("ü" * 256, "ü" * 256)],
)
def test_threads(given: Any, thread: str | None) -> None:
    assert read(thread_id=given).thread == thread


@pytest.mark.parametrize("given", [True, 2.5, ["t"], {"id": "t"}, "x" * 257, "a\0b"])
def test_names_that_no_thread_has(given: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        read(thread_id=given)
    assert "thread_id" in refused.value.messages_dict


def test_parameters_go_to_the_model_as_they_came() -> None:
    options = {
        "top_p": 0.5, "stop": ["END"], "seed": 7, "frequency_penalty": -1.0, "presence_penalty": 1.0,
        "logit_bias": {"5": -100}, "response_format": {"type": "json_object"}, "reasoning_effort": "low",
        "verbosity": "low",
    }  # fmt: skip
    message = read(temperature=0.2, max_tokens=5, user="u", store=True, service_tier="auto", new_field=[1], **options)
    assert message.given.options == options
    assert (message.given.temperature, message.given.max_output_tokens) == (0.2, 5)
    assert read(max_completion_tokens=6).given.max_output_tokens == 6
    nothing = dict.fromkeys([*options, "temperature", "max_tokens", "tools", "tool_choice", "stream", "metadata", "n"])
    assert read(**nothing).given == read().given


def test_functions_and_the_choice_among_them() -> None:
    strict = {"type": "function", "function": {"name": "clock", "description": "The time", "strict": True}}
    message = read(tools=[WEATHER, strict], parallel_tool_calls=False)
    assert message.given.tools == (
        ToolSpec("weather", "", {"type": "object"}),
        ToolSpec("clock", "The time", {"type": "object", "properties": {}}, strict=True),
    )
    assert message.given.options == {"parallel_tool_calls": False}
    named = {"type": "function", "function": {"name": "weather"}}
    assert read(tools=[WEATHER], tool_choice=named).given.options == {"tool_choice": named}
    assert read(tools=[WEATHER], tool_choice="required").given.options == {"tool_choice": "required"}
    assert read(tools=[WEATHER], tool_choice="auto").given.options == {}
    forbidden = read(tools=[WEATHER], tool_choice="none", parallel_tool_calls=True).given
    assert (forbidden.tools, forbidden.options) == ((), {})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ],
)
def test_what_no_answer_here_has(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(**fields)
    assert (refused.value.code, list(refused.value.errors)) == ("unsupported_parameter", [param])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": 5}, "stop"),
        ({"stream": "perhaps"}, "stream"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "not a name"}}]}, "tools"),
        ({"logit_bias": [1]}, "logit_bias"),
    ],
)
def test_wrong_types_of_known_fields(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ValidationError) as refused:
        read(**fields)
    assert list(refused.value.messages_dict) == [param]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "function", "name": "f", "content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": ["text"]},
        {"content": "no role"},
        {"role": "user", "content": "half a pair \ud800"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]},
    ],
)
def test_messages_that_cannot_be_read(message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read(message, HI)


def test_a_number_that_json_has_not() -> None:
    with pytest.raises(ValidationError):
        read(response_format={"x": float("nan")})


def test_two_functions_of_one_name() -> None:
    with pytest.raises(Invalid) as refused:
        read(tools=[WEATHER, WEATHER])
    assert list(refused.value.errors) == ["tools"]


def test_a_named_function_that_is_not_there() -> None:
    with pytest.raises(Invalid):
        read(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "clock"}})


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"case": "7"}, {"case": "7"}),
        ({"case": 7}, {}),
        ("case", {}),
        ({str(number): "x" for number in range(51)}, {}),
        ({"long": "x" * 9_000}, {}),
    ],
)
def test_metadata_is_stored_where_it_fits(given: Any, stored: dict[str, str]) -> None:
    assert read(metadata=given).metadata == stored


def test_a_message_without_end() -> None:
    with pytest.raises(Invalid) as refused:
        read({"role": "user", "content": "x" * 200_001})
    assert refused.value.code == "message_too_long"


def test_usage_is_asked_for() -> None:
    loaded = ChatCompletionSchema().load({"messages": [HI], "stream_options": {"include_usage": True}})
    assert wants_usage(loaded)
    assert not wants_usage(ChatCompletionSchema().load({"messages": [HI], "stream_options": None}))


def test_the_memory_to_clear_is_named_in_body_or_query() -> None:
    schema = MemorySchema()
    assert thread_to_clear(schema.load({"thread_id": 5}), schema.load({})) == "5"
    assert thread_to_clear(schema.load({}), schema.load({"thread_id": "6"})) == "6"
    with pytest.raises(Invalid):
        thread_to_clear(schema.load({"thread_id": ""}), schema.load({}))


def test_outputs_are_not_lost_where_the_user_goes_on_behind_them() -> None:
    message = read(HI, asks("c1"), gives("c1"), {"role": "user", "content": "in Fahrenheit"})
    assert (message.text, message.given.rounds) == ("hi\nin Fahrenheit", ((result("c1"),),))
    with pytest.raises(Invalid) as refused:
        read(HI, asks("c1"), gives("c1"), {"role": "user", "content": "in Fahrenheit"}, thread_id="t")
    assert refused.value.code == "messages_out_of_order"


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": ["x"]}]}]},
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": [1]}}},
    ],
)
def test_types_that_no_set_can_hold(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        read(*fields.pop("messages", [HI]), **fields)
