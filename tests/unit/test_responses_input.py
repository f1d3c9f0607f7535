"""What the input of a response tells: the question, what was said before, calls and their outputs."""

from typing import Any

import pytest

from models.errors import Invalid
from models.given import Turn
from models.tools import ToolCall, ToolResult
from routes.schemas.openai_told import Told
from routes.schemas.responses_input import Input, told


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}


def call(number: int) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": f"call_{number}", "name": "f", "arguments": "{}"}


def output(number: int) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": f"output {number}"}


def result(number: int, name: str = "f", arguments: str = "{}") -> ToolResult:
    return ToolResult(ToolCall(f"call_{number}", name, arguments), f"output {number}")


REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
FILLER = {**assistant("One moment."), "phase": "commentary"}


def read(value: Any, *, alone: bool = True) -> Told:
    return told(Input().deserialize(value), alone=alone)


def test_a_text_is_the_users() -> None:
    assert read("hello") == Told("hello", "", (), ())


def test_what_was_said_before_is_turns_and_instructions_stand_apart() -> None:
    items = [
        {"role": "system", "content": "Be brief."},
        user("one"),
        FILLER,
        assistant("two"),
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        user("three"),
        user("four"),
    ]
    assert read(items) == Told("four", "Be brief.\n\nBe kind.", (Turn("one", "two"), Turn("three", None)), ())


def test_calls_behind_the_question_are_rounds_those_before_are_passed_over() -> None:
    items = [
        user("one"), call(0), output(0), assistant("two"), user("three"), REASONING, FILLER, call(1), call(2),
        output(2), output(1), REASONING, assistant("And another."), call(3), output(3),
    ]  # fmt: skip
    assert read(items) == Told("three", "", (Turn("one", "two"),), ((result(1), result(2)), (result(3),)))


def test_outputs_alone_are_of_calls_that_are_stored() -> None:
    assert read([output(1), output(2)], alone=False).rounds == ((result(1, "", ""), result(2, "", "")),)


def test_a_question_behind_outputs_that_nobody_answered_is_one_with_the_question_before() -> None:
    items = [user("zero"), assistant("nothing"), user("one"), call(1), output(1), user("two"), call(2), output(2)]
    assert read(items) == Told("one\ntwo", "", (Turn("zero", "nothing"),), ((result(1),), (result(2),)))


@pytest.mark.parametrize(
    ("items", "alone", "code"),
    [
        ([user(" ")], True, "message_missing"),
        ([user("one"), assistant("two")], True, "message_missing"),
        ([{"role": "system", "content": "Be brief."}], True, "message_missing"),
        ([user("one"), call(1)], True, "input_out_of_order"),
        ([user("one"), output(1)], True, "input_out_of_order"),
        ([user("one"), call(1), output(2)], True, "input_out_of_order"),
        ([output(1), user("one")], True, "input_out_of_order"),
        ([user("one"), call(1), output(1), user("two")], False, "input_out_of_order"),
        ([{"type": "web_search_call", "id": "ws_1"}], True, "unsupported_item"),
        ([{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}], True, "unsupported_content"),
    ],
)
def test_what_cannot_be_answered(items: list[dict[str, Any]], alone: bool, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(items, alone=alone)
    assert refused.value.code == code


def test_an_item_of_a_type_that_no_set_can_hold() -> None:
    with pytest.raises(Invalid):
        Input().deserialize([{"type": [1]}])
