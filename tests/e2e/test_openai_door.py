"""The official Python client against a served instance, with an emulator of others as the model's endpoint."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolUnionParam
from openai.types.chat.chat_completion import Choice
from pydantic import BaseModel

from tests.e2e.openai_clients import Door, client_of, door
from tests.emulators.aimock import AimockServer, aimock

ANSWER = "Every employee has 25 vacation days a year[^1]. Ask your manager."
SHOWN = ANSWER.replace("[^1]", "")
POLICY = "# Vacation\n\nEvery employee has 25 vacation days a year.\n"
FIXTURES: list[dict[str, Any]] = [
    {"match": {"toolCallId": "call_rio"}, "response": {"content": "Sunny in Rio."}},
    {
        "match": {"userMessage": "weather", "hasToolResult": False},
        "response": {"toolCalls": [{"id": "call_rio", "name": "weather", "arguments": '{"city":"Rio"}'}]},
    },
    {"match": {"userMessage": "vacation"}, "response": {"content": ANSWER}},
    {"match": {"userMessage": "days"}, "response": {"content": '{"days": 25}'}},
    {"match": {"userMessage": "my name is Ana"}, "response": {"content": "Hello, Ana."}},
    {"match": {"userMessage": "who am I"}, "response": {"content": "You are who you are."}},
    {"match": {"userMessage": "cut"}, "response": {"content": ANSWER}, "latency": 20, "truncateAfterChunks": 3},
]
WEATHER: ChatCompletionToolUnionParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def model() -> Iterator[AimockServer]:
    """Give the emulator."""
    with aimock(FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def served(model: AimockServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Give a server that asks the emulator for answers and vectors."""
    with door(tmp_path_factory.mktemp("door"), model.base_url, EMBEDDINGS_MODEL="text-embedding-9") as running:
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


def user(text: str) -> list[ChatCompletionMessageParam]:
    """Return messages that hold one question."""
    return [{"role": "user", "content": text}]


def asked(model: AimockServer) -> list[tuple[str, Any]]:
    """Return role and content of the messages that the emulator was sent last, without the system's."""
    return [(one["role"], one["content"]) for one in model.journal()[-1]["body"]["messages"] if one["role"] != "system"]


def test_a_whole_answer_with_its_sources(served: Door, assistant: dict[str, Any], client: openai.OpenAI) -> None:
    served.api.upload(assistant, "policy.md", POLICY)
    answer = client.chat.completions.create(model="any-model", messages=user("How many vacation days?"))
    (choice,) = answer.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (SHOWN, "assistant", "stop")
    assert (answer.model, answer.object) == ("any-model", "chat.completion")
    assert answer.usage is not None and answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    (citation,) = (choice.message.model_extra or {})["citations"]
    assert POLICY[citation["start"] : citation["end"]] == citation["passage"]
    (chat,) = served.chats(assistant)
    assert (answer.id, chat["response"], chat["status"]) == (f"chatcmpl-{chat['_id']}", SHOWN, "answered")
    assert chat["channel"] == {"id": (answer.model_extra or {})["thread_id"], "message_service": "thread"}
    assert "sk-a-key-of-the-tests" not in answer.to_json()


def test_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="m", messages=user("vacation?"), stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SHOWN
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_the_helper_that_accumulates(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=user("vacation?")) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert text == final.choices[0].message.content == SHOWN
    assert (final.model_extra or {})["thread_id"]


def test_the_raw_response_has_the_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="m", messages=user("vacation?"), extra_body={"thread_id": "olá"}
    )
    assert raw.headers["x-thread-id"] == "olá"
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content == SHOWN


def test_a_streaming_response(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="m", messages=user("vacation?"), stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert lines[-1] == "data: [DONE]"


def test_an_answer_in_a_format(client: openai.OpenAI, model: AimockServer) -> None:
    class Days(BaseModel):
        days: int

    answer = client.chat.completions.parse(model="m", messages=user("How many days?"), response_format=Days)
    assert answer.choices[0].message.parsed == Days(days=25)
    assert model.journal()[-1]["body"]["response_format"]["type"] == "json_schema"


def test_the_asynchronous_client(served: Door, assistant: dict[str, Any]) -> None:
    async def ask() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(api_key=assistant["api_key"], base_url=served.base_url) as client:
            whole = await client.chat.completions.create(model="m", messages=user("vacation?"))
            stream = await client.chat.completions.create(model="m", messages=user("vacation?"), stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return whole.choices[0].message.content, "".join(pieces)

    assert asyncio.run(ask()) == (SHOWN, SHOWN)


@pytest.mark.parametrize("thread", ["2000", 2000])
def test_a_thread_remembers(
    client: openai.OpenAI, model: AimockServer, served: Door, assistant: dict[str, Any], thread: str | int
) -> None:
    body = {"thread_id": thread}
    client.chat.completions.create(model="m", messages=user("my name is Ana"), extra_body=body)
    earlier: list[ChatCompletionMessageParam] = [{"role": "user", "content": "ignored"}, *user("who am I?")]
    answer = client.chat.completions.create(model="m", messages=earlier, extra_body={"thread_id": "2000"})
    assert asked(model) == [("user", "my name is Ana"), ("assistant", "Hello, Ana."), ("user", "who am I?")]
    assert (answer.model_extra or {})["thread_id"] == "2000"
    assert len(served.said(assistant)) == 1
    assert client.delete("/memory", body={"thread_id": "2000"}, cast_to=httpx2.Response).json() == {
        "status": "success",
        "message": "Memory cleared",
    }
    client.chat.completions.create(model="m", messages=user("who am I?"), extra_body=body)
    assert asked(model) == [("user", "who am I?")]


def test_threads_are_an_assistants_own(served: Door, model: AimockServer, client: openai.OpenAI) -> None:
    body = {"thread_id": "shared"}
    client.chat.completions.create(model="m", messages=user("my name is Ana"), extra_body=body)
    with client_of(served, served.api.new_assistant()) as other:
        other.chat.completions.create(model="m", messages=user("who am I?"), extra_body=body)
        assert asked(model) == [("user", "who am I?")]
        other.delete("/memory?thread_id=shared", cast_to=httpx2.Response)
    client.chat.completions.create(model="m", messages=user("who am I?"), extra_body=body)
    assert asked(model)[0] == ("user", "my name is Ana")


def test_without_a_thread_the_request_is_all_and_its_thread_goes_on(client: openai.OpenAI, model: AimockServer) -> None:
    told: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "my name is Ana"},
        {"role": "assistant", "content": "Hello, Ana."},
        *user("who am I?"),
    ]
    first = client.chat.completions.create(model="m", messages=told)
    spoken = [("user", "my name is Ana"), ("assistant", "Hello, Ana."), ("user", "who am I?")]
    assert asked(model) == spoken
    assert "Be kind." in model.journal()[-1]["body"]["messages"][0]["content"]
    thread = (first.model_extra or {})["thread_id"]
    second = client.chat.completions.create(model="m", messages=told)
    assert (second.model_extra or {})["thread_id"] != thread
    client.chat.completions.create(model="m", messages=user("vacation?"), extra_body={"thread_id": thread})
    assert asked(model) == [*spoken, ("assistant", "You are who you are."), ("user", "vacation?")]


def test_a_channels_conversation_goes_on_by_its_id(
    served: Door, assistant: dict[str, Any], client: openai.OpenAI, model: AimockServer
) -> None:
    chat = served.api.say(assistant, "my name is Ana").json()
    body = {"thread_id": chat["conversation_id"]}
    answer = client.chat.completions.create(model="m", messages=user("who am I?"), extra_body=body)
    assert asked(model)[0] == ("user", "my name is Ana")
    assert (answer.model_extra or {})["thread_id"] == chat["conversation_id"]
    assert len(served.said(assistant)) == 1


@pytest.mark.parametrize("thread", ["a thread", None])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_of_the_clients_in_two_steps(
    client: openai.OpenAI,
    model: AimockServer,
    served: Door,
    assistant: dict[str, Any],
    thread: str | None,
    streamed: bool,
) -> None:
    body = {"thread_id": thread}
    completions, question = client.chat.completions, user("How is the weather?")
    choice: Choice
    if streamed:
        with completions.stream(model="m", messages=question, tools=[WEATHER], extra_body=body) as stream:
            choice = stream.until_done().get_final_completion().choices[0]
    else:
        choice = completions.create(model="m", messages=question, tools=[WEATHER], extra_body=body).choices[0]
    call = (choice.message.tool_calls or [])[0]
    assert call.type == "function"
    assert (choice.finish_reason, choice.message.content or None) == ("tool_calls", None)
    assert (call.id, call.function.name) == ("call_rio", "weather")
    assert json.loads(call.function.arguments) == {"city": "Rio"}
    outputs: list[ChatCompletionMessageParam] = [
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": call.function.arguments},
                }
            ],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "30 degrees"},
    ]
    messages = outputs if thread else [*question, *outputs]
    answer = completions.create(model="m", messages=messages, tools=[WEATHER], extra_body=body)
    assert answer.choices[0].message.content == "Sunny in Rio."
    assert [role for role, _ in asked(model)] == ["user", "assistant", "tool"]
    assert asked(model)[-1][1] == "30 degrees"
    if thread:
        humans = [text for role, text in served.said(assistant)[0] if role == "human"]
        assert humans == ["How is the weather?"]


def test_models(served: Door, client: openai.OpenAI, assistant: dict[str, Any]) -> None:
    (found,) = client.models.list()
    assert (found.id, found.owned_by, (found.model_extra or {})["name"]) == (
        assistant["_id"],
        "orquestra",
        assistant["name"],
    )
    assert client.models.retrieve(assistant["_id"]) == client.models.retrieve(assistant["name"]) == found
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("gpt-6-luna")
    assert missing.value.code == "model_not_found"


def test_errors_are_the_clients_own(served: Door, assistant: dict[str, Any], client: openai.OpenAI) -> None:
    with client_of(served, {"api_key": "orq_no_key"}) as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            stranger.chat.completions.create(model="m", messages=user("vacation?"))
    assert (unknown.value.code, unknown.value.type) == ("invalid_api_key", "authentication_error")
    with pytest.raises(openai.BadRequestError) as several:
        client.chat.completions.create(model="m", messages=user("vacation?"), n=2)
    assert (several.value.param, several.value.code) == ("n", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError) as hot:
        client.chat.completions.create(model="m", messages=user("vacation?"), temperature=9)
    assert hot.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.get("/nothing", cast_to=httpx2.Response)
    assert served.chats(assistant) == []


def test_a_rate_is_a_rate_limit_error_and_models_do_not_count(served: Door) -> None:
    assistant = served.api.new_assistant(messages_per_minute=1)
    with client_of(served, assistant, max_retries=0) as client:
        for _ in range(3):
            client.models.list()
        client.chat.completions.create(model="m", messages=user("vacation?"))
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(model="m", messages=user("vacation?"))
    assert limited.value.code == "rate_limit_exceeded"
    assert int(limited.value.response.headers["retry-after"]) >= 1


def test_a_model_that_fails(served: Door, assistant: dict[str, Any], model: AimockServer) -> None:
    with client_of(served, assistant, max_retries=0) as client:
        for _ in range(3):
            model.fail_next(500)
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="m", messages=user("vacation?"))
        assert (failed.value.status_code, failed.value.code) == (502, "provider_failed")
        with client.chat.completions.create(model="m", messages=user("cut"), stream=True) as stream:
            with pytest.raises(openai.APIError) as broken:
                list(stream)
    assert (broken.value.code, broken.value.type) == ("stream_cut", "server_error")


def test_a_conversation_that_people_have_taken_over(
    served: Door, assistant: dict[str, Any], client: openai.OpenAI
) -> None:
    body = {"thread_id": "handed over"}
    first = client.chat.completions.create(model="m", messages=user("vacation?"), extra_body=body)
    served.api.put(f"/chats/desativar/{first.id.removeprefix('chatcmpl-')}").raise_for_status()
    second = client.chat.completions.create(model="m", messages=user("vacation?"), extra_body=body)
    assert (second.choices[0].message.content, second.choices[0].finish_reason) == ("", "stop")
    assert (second.model_extra or {})["status"] == "inactive"
    with client.chat.completions.stream(model="m", messages=user("vacation?"), extra_body=body) as stream:
        assert not stream.get_final_completion().choices[0].message.content


def test_embeddings_are_passed_on(served: Door, client: openai.OpenAI, assistant: dict[str, Any]) -> None:
    floats = client.embeddings.create(model=assistant["_id"], input=["one", "two"], encoding_format="float")
    assert [row.index for row in floats.data] == [0, 1]
    short = client.embeddings.create(model="text-embedding-9", input="one", dimensions=8, encoding_format="float")
    assert len(short.data[0].embedding) == 8
    usual = client.embeddings.create(model=assistant["name"], input="one")
    assert len(usual.data[0].embedding) == len(floats.data[0].embedding)
    with pytest.raises(openai.NotFoundError) as other:
        client.embeddings.create(model="another-model", input="one")
    assert other.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as empty:
        client.embeddings.create(model="text-embedding-9", input=[])
    assert empty.value.param == "input"
