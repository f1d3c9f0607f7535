"""OpenAI's Python client and its Responses API against a served instance, with an emulator of others as the model."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai.types.responses import FunctionToolParam, Response, ResponseFunctionToolCall, ResponseInputItemParam
from pydantic import BaseModel

from tests.e2e.openai_clients import Door, client_of, door
from tests.emulators.aimock import AimockServer, aimock

ANSWER = "Every employee has 25 vacation days a year[^1]. Ask your manager."
SHOWN = ANSWER.replace("[^1]", "")
POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year.\n"
CALL = {"id": "call_rio", "name": "weather", "arguments": '{"city":"Rio"}'}
FIXTURES: list[dict[str, Any]] = [
    {"match": {"toolCallId": "call_rio"}, "response": {"content": "Sunny in Rio."}},
    {"match": {"userMessage": "weather", "hasToolResult": False}, "response": {"toolCalls": [CALL]}},
    {"match": {"userMessage": "vacation"}, "response": {"content": ANSWER}},
    {"match": {"userMessage": "days"}, "response": {"content": '{"days": 25}'}},
    {"match": {"userMessage": "Ana"}, "response": {"content": "Hello, Ana."}},
    {"match": {"userMessage": "who am I"}, "response": {"content": "You are who you are."}},
    {"match": {"userMessage": "and then"}, "response": {"content": "Nothing more."}},
    {"match": {"userMessage": "cut"}, "response": {"content": ANSWER}, "latency": 20, "truncateAfterChunks": 3},
]
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


@pytest.fixture(scope="module")
def model() -> Iterator[AimockServer]:
    """Give the emulator."""
    with aimock(FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def served(model: AimockServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Give a server that asks the emulator."""
    with door(tmp_path_factory.mktemp("responses"), model.base_url) as running:
        yield running


@pytest.fixture
def assistant(served: Door) -> dict[str, Any]:
    """Give an assistant."""
    return served.api.new_assistant()


@pytest.fixture
def client(served: Door, assistant: dict[str, Any]) -> Iterator[openai.OpenAI]:
    """Give the client with the assistant's key."""
    with client_of(served, assistant) as made:
        yield made


def told(model: AimockServer) -> list[tuple[str, Any]]:
    """Return role and content of the messages that the emulator was sent last, without the system's."""
    return [(one["role"], one["content"]) for one in model.journal()[-1]["body"]["messages"] if one["role"] != "system"]


def thread(response: Response) -> str:
    """Return the name of a response's thread."""
    return str((response.model_extra or {})["thread_id"])


def call_of(response: Response) -> ResponseFunctionToolCall:
    """Return the one call that a response asks for."""
    (call,) = [item for item in response.output if item.type == "function_call"]
    return call


def output_of(call: ResponseFunctionToolCall, text: str = "sunny") -> ResponseInputItemParam:
    """Return what a call gave."""
    return {"type": "function_call_output", "call_id": call.call_id, "output": text}


def test_a_whole_answer_with_its_sources(served: Door, assistant: dict[str, Any], client: openai.OpenAI) -> None:
    served.api.upload(assistant, "policy.md", POLICY)
    answer = client.responses.create(
        model="any-model", input="How many vacation days?", instructions="Be kind.", metadata={"a": "b"}, store=False
    )
    assert (answer.output_text, answer.status, answer.model) == (SHOWN, "completed", "any-model")
    assert (answer.instructions, answer.metadata) == ("Be kind.", {"a": "b"})
    assert (answer.model_extra or {})["store"] is True
    assert answer.usage is not None and answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0
    (item,) = answer.output
    assert item.type == "message" and item.content[0].type == "output_text"
    (note,) = item.content[0].annotations
    assert note.type == "file_citation" and note.filename == "policy.md"
    citation = (note.model_extra or {})["citation"]
    assert POLICY[citation["start"] : citation["end"]] == citation["passage"]
    (chat,) = served.chats(assistant)
    assert (answer.id, chat["response"], chat["metadata"]) == (f"resp_{chat['_id']}", SHOWN, {"a": "b"})
    assert chat["channel"] == {"id": thread(answer), "message_service": "thread"}


def test_the_events_of_a_stream(served: Door, assistant: dict[str, Any], client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="m", input="vacation?", stream=True))
    assert [event.type for event in events if event.type != "response.output_text.delta"] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SHOWN
    created, completed = events[0], events[-1]
    assert created.type == "response.created" and completed.type == "response.completed"
    assert created.response.id == completed.response.id == f"resp_{served.chats(assistant)[0]['_id']}"
    assert completed.response.output_text == SHOWN


def test_the_helper_that_accumulates(client: openai.OpenAI) -> None:
    with client.responses.stream(model="m", input="vacation?") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == SHOWN


def test_the_helper_that_accumulates_calls(client: openai.OpenAI) -> None:
    with client.responses.stream(model="m", input="weather?", tools=[WEATHER]) as stream:
        final = stream.get_final_response()
    (item,) = final.output
    assert item.type == "function_call" and (item.name, item.arguments) == ("weather", CALL["arguments"])


def test_the_raw_response_has_the_headers(client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(model="m", input="vacation?", conversation="olá")
    response = raw.parse()
    assert raw.headers["x-thread-id"] == thread(response) == "olá"
    assert response.conversation is not None and response.conversation.id == "olá"
    assert raw.headers["x-request-id"]


def test_a_streaming_response(client: openai.OpenAI) -> None:
    asking = client.responses.with_streaming_response.create(model="m", input="vacation?", stream=True)
    with asking as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-thread-id"]
    assert (lines[0], lines[-1]) == ("event: response.created", "data: [DONE]")


def test_an_answer_in_a_format(client: openai.OpenAI, model: AimockServer) -> None:
    class Days(BaseModel):
        days: int

    answer = client.responses.parse(model="m", input="How many days?", text_format=Days, reasoning={"effort": "low"})
    assert answer.output_parsed == Days(days=25)
    body = model.journal()[-1]["body"]
    assert body["response_format"]["json_schema"]["schema"] == Days.model_json_schema() | {
        "additionalProperties": False
    }
    assert body["reasoning_effort"] == "low"


def test_the_client_that_is_asynchronous(served: Door, assistant: dict[str, Any]) -> None:
    async def ask() -> tuple[str, str]:
        async with openai.AsyncOpenAI(api_key=assistant["api_key"], base_url=served.base_url) as asking:
            whole = await asking.responses.create(model="m", input="vacation?")
            text = ""
            async for event in await asking.responses.create(model="m", input="vacation?", stream=True):
                text += event.delta if event.type == "response.output_text.delta" else ""
            return whole.output_text, text

    assert asyncio.run(ask()) == (SHOWN, SHOWN)


def test_a_response_goes_on_from_an_earlier_one(
    served: Door, assistant: dict[str, Any], client: openai.OpenAI, model: AimockServer
) -> None:
    first = client.responses.create(model="m", input="I am Ana", instructions="Be brief.")
    second = client.responses.create(model="m", input="who am I?", previous_response_id=first.id)
    assert second.previous_response_id == first.id and thread(second) == thread(first)
    assert told(model) == [("user", "I am Ana"), ("assistant", "Hello, Ana."), ("user", "who am I?")]
    assert "Be brief." not in json.dumps(model.journal()[-1]["body"])
    assert len(served.said(assistant)) == 1


def test_all_that_comes_behind_an_earlier_response_is_new(client: openai.OpenAI, model: AimockServer) -> None:
    first = client.responses.create(model="m", input="I am Ana")
    more: list[ResponseInputItemParam] = [
        {"role": "user", "content": "Wait."},
        {"role": "assistant", "content": "I wait."},
        {"role": "user", "content": [{"type": "input_text", "text": "who am I?"}]},
    ]
    second = client.responses.create(model="m", input=more, previous_response_id=first.id)
    known = [("user", "I am Ana"), ("assistant", "Hello, Ana."), ("user", "Wait."), ("assistant", "I wait.")]
    assert told(model) == [*known, ("user", "who am I?")]
    client.responses.create(model="m", input="and then?", previous_response_id=second.id)
    assert told(model)[:4] == known and len(told(model)) == 7


def test_an_older_response_is_where_another_thread_branches_off(
    served: Door, assistant: dict[str, Any], client: openai.OpenAI, model: AimockServer
) -> None:
    first = client.responses.create(model="m", input="I am Ana")
    second = client.responses.create(model="m", input="vacation?", previous_response_id=first.id)
    branch = client.responses.create(model="m", input="who am I?", previous_response_id=first.id)
    assert told(model) == [("user", "I am Ana"), ("assistant", "Hello, Ana."), ("user", "who am I?")]
    assert thread(branch) != thread(first) == thread(second)
    client.responses.create(model="m", input="and then?", previous_response_id=branch.id)
    assert told(model)[-2:] == [("assistant", "You are who you are."), ("user", "and then?")]
    assert len(served.said(assistant)) == 2


@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_of_the_client_by_the_earlier_response(
    client: openai.OpenAI, model: AimockServer, served: Door, assistant: dict[str, Any], streamed: bool
) -> None:
    first = client.responses.create(model="m", input="weather?", tools=[WEATHER], tool_choice="required")
    call = call_of(first)
    assert (call.name, call.arguments, call.status) == ("weather", CALL["arguments"], "completed")
    assert model.journal()[-1]["body"]["tool_choice"] == "required"
    outputs = [output_of(call)]
    if streamed:
        with client.responses.stream(
            model="m", input=outputs, tools=[WEATHER], previous_response_id=first.id
        ) as stream:
            second: Response = stream.get_final_response()
    else:
        second = client.responses.create(model="m", input=outputs, tools=[WEATHER], previous_response_id=first.id)
    assert second.output_text == "Sunny in Rio."
    asked, called, output = model.journal()[-1]["body"]["messages"][1:]
    assert (asked["content"], called["tool_calls"][0]["function"]["name"]) == ("weather?", "weather")
    assert (output["tool_call_id"], output["content"]) == ("call_rio", "sunny")
    (said,) = served.said(assistant)
    assert (said[0], said[-1]) == (("human", "weather?"), ("ai", "Sunny in Rio."))


def test_a_function_of_the_client_in_a_conversation(client: openai.OpenAI) -> None:
    first = client.responses.create(model="m", input="weather?", tools=[WEATHER], conversation={"id": "c"})
    second = client.responses.create(model="m", input=[output_of(call_of(first))], conversation="c")
    assert second.output_text == "Sunny in Rio."


def test_a_function_of_the_client_without_a_memory(client: openai.OpenAI, model: AimockServer) -> None:
    items: list[Any] = [{"role": "user", "content": "weather?"}]
    first = client.responses.create(model="m", input=items, tools=[WEATHER])
    items += [*first.output, output_of(call_of(first))]
    second = client.responses.create(model="m", input=items, tools=[WEATHER])
    assert second.output_text == "Sunny in Rio."
    assert [role for role, _ in told(model)] == ["user", "assistant", "tool"]
    items += [*second.output, {"role": "user", "content": "who am I?"}]
    client.responses.create(model="m", input=items)
    assert told(model) == [("user", "weather?"), ("assistant", "Sunny in Rio."), ("user", "who am I?")]


def test_outputs_for_an_older_response_branch_off_too(
    client: openai.OpenAI, served: Door, assistant: dict[str, Any], model: AimockServer
) -> None:
    client.responses.create(model="m", input="I am Ana", conversation="c")
    asking = client.responses.create(model="m", input="weather?", tools=[WEATHER], conversation="c")
    answers = [
        client.responses.create(model="m", input=[output_of(call_of(asking), text)], previous_response_id=asking.id)
        for text in ("sunny", "rainy")
    ]
    assert [answer.output_text for answer in answers] == ["Sunny in Rio."] * 2
    assert thread(answers[0]) == "c" != thread(answers[1])
    known, (role, output) = told(model)[:3], told(model)[-1]
    assert known == [("user", "I am Ana"), ("assistant", "Hello, Ana."), ("user", "weather?")]
    assert (role, output) == ("tool", "rainy") and len(served.said(assistant)) == 2


def test_one_memory_with_chat_completions(client: openai.OpenAI, model: AimockServer) -> None:
    client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "I am Ana"}], extra_body={"thread_id": "2000"}
    )
    client.responses.create(model="m", input="who am I?", conversation="2000")
    assert told(model)[:2] == [("user", "I am Ana"), ("assistant", "Hello, Ana.")]
    client.responses.create(model="m", input="who am I?", extra_body={"thread_id": 2000})
    assert len(told(model)) == 5


def test_a_conversation_of_another_channel_goes_on(
    client: openai.OpenAI, served: Door, assistant: dict[str, Any], model: AimockServer
) -> None:
    chat = served.api.say(assistant, "I am Ana").json()
    by_id = client.responses.create(model="m", input="who am I?", conversation=chat["conversation_id"])
    assert told(model)[:2] == [("user", "I am Ana"), ("assistant", "Hello, Ana.")]
    by_response = client.responses.create(model="m", input="and then?", previous_response_id=by_id.id)
    assert thread(by_id) == thread(by_response) == chat["conversation_id"]
    assert len(served.said(assistant)) == 1


def test_while_people_have_taken_over_no_branch_gets_round_them(
    client: openai.OpenAI, served: Door, assistant: dict[str, Any]
) -> None:
    first = client.responses.create(model="m", input="I am Ana")
    second = client.responses.create(model="m", input="vacation?", previous_response_id=first.id)
    reference = second.id.removeprefix("resp_")
    served.api.put(f"/chats/desativar/{reference}").raise_for_status()
    silent = client.responses.create(model="m", input="who am I?", previous_response_id=first.id)
    assert (silent.output_text, (silent.model_extra or {})["chat_status"]) == ("", "inactive")
    served.api.post(f"/chats/responder/{reference}", json={"message": "A person here."}).raise_for_status()
    served.api.put(f"/chats/ativar/{reference}").raise_for_status()
    later = client.responses.create(model="m", input="and then?", previous_response_id=silent.id)
    assert later.output_text == "Nothing more." and len(served.said(assistant)) == 1


def test_a_stored_response_is_given_again(client: openai.OpenAI, served: Door) -> None:
    first = client.responses.create(model="m", input="weather?", tools=[WEATHER])
    again = client.responses.retrieve(first.id)
    assert (again.output, again.status, again.usage) == (first.output, "completed", first.usage)
    assert again.tools == first.tools
    with client_of(served, served.api.new_assistant()) as stranger, pytest.raises(openai.NotFoundError):
        stranger.responses.retrieve(first.id)


def test_a_response_of_another_assistant_is_not_found(client: openai.OpenAI, served: Door) -> None:
    first = client.responses.create(model="m", input="I am Ana")
    foreign = served.api.new_assistant()
    for name in (first.id, "resp_" + "0" * 24, "resp_x", first.id.removeprefix("resp_")):
        with client_of(served, foreign) as stranger, pytest.raises(openai.BadRequestError) as refused:
            stranger.responses.create(model="m", input="who am I?", previous_response_id=name)
        assert (refused.value.code, refused.value.param) == ("previous_response_not_found", "previous_response_id")
    assert served.chats(foreign) == []


IMAGE = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}]
LOOSE = [{"type": "function_call_output", "call_id": "call_1", "output": "x"}]
ASKING = [{"role": "user", "content": "a"}, {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"}]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": ""}, "message_missing", "input"),
        ({"input": []}, "message_missing", "input"),
        ({"input": 5}, "validation_failed", "input"),
        ({"input": [{"role": "pirate", "content": "a"}]}, "validation_failed", "input.0.role"),
        ({"input": IMAGE}, "unsupported_content", "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "unsupported_item", "input"),
        ({"input": LOOSE}, "message_missing", None),
        ({"input": LOOSE, "conversation": "new"}, "tool_outputs_unexpected", None),
        ({"input": ASKING}, "input_out_of_order", "input"),
        ({"input": [*LOOSE, {"role": "user", "content": "a"}], "conversation": "c"}, "input_out_of_order", "input"),
        ({"tools": [{"type": "web_search"}]}, "unsupported_tool", "tools"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "validation_failed", "tools.name"),
        ({"tool_choice": "required"}, "unsupported_parameter", "tool_choice"),
        ({"tool_choice": {"type": "file_search"}}, "unsupported_tool", "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "validation_failed", "tool_choice"),
        ({"background": True}, "unsupported_parameter", "background"),
        ({"prompt": {"id": "pmpt_1"}}, "unsupported_parameter", "prompt"),
        ({"conversation": "c", "thread_id": "t"}, "mutually_exclusive_parameters", "thread_id"),
        ({"conversation": "c", "previous_response_id": "r"}, "mutually_exclusive_parameters", "previous_response_id"),
        ({"temperature": "hot"}, "validation_failed", "temperature"),
        ({"metadata": {"a": {}}}, "validation_failed", "metadata.a.value"),
        ({"text": {"format": {"type": "grammar"}}}, "unsupported_parameter", "text"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_refused(
    client: openai.OpenAI, served: Door, assistant: dict[str, Any], fields: dict[str, Any], code: str,
    param: str | None, streamed: bool,
) -> None:  # fmt: skip
    body = {"model": "m", "input": "hello", "stream": streamed, **fields}
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/responses", body=body, cast_to=httpx2.Response)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert served.chats(assistant) == []


def test_a_wrong_key_and_an_unknown_path(served: Door, client: openai.OpenAI) -> None:
    with openai.OpenAI(api_key="orq_no_key", base_url=served.base_url) as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.responses.create(model="m", input="hello")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_" + "0" * 24)


def test_functions_that_are_not_allowed_are_not_offered(client: openai.OpenAI, model: AimockServer) -> None:
    other: FunctionToolParam = {**WEATHER, "name": "other"}
    allowed: Any = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "other"}]}
    answer = client.responses.create(model="m", input="I am Ana", tools=[WEATHER, other], tool_choice=allowed)
    assert [tool["function"]["name"] for tool in model.journal()[-1]["body"]["tools"]] == ["other"]
    assert len(answer.tools) == 2 and answer.tool_choice.to_dict() == allowed  # type: ignore[union-attr]
    client.responses.create(model="m", input="I am Ana", tools=[WEATHER], tool_choice="none")
    assert "tools" not in model.journal()[-1]["body"]
