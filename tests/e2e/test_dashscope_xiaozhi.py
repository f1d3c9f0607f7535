"""An xiaozhi server whose model is AliBL: the calls that it makes, made with the SDK, and what the device then says.

What it sends and how it reads an answer is told in xiaozhi-esp32-server, `core/providers/llm/AliBL`. The device is
ours, the SDK below it is the real one, in the version that xiaozhi asks for and in the newest.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.clients.dashscope import Answered, Sdk
from tests.e2e.dashscope_place import Place, call, served
from tests.emulators.openai_wire import STREAM, Action, Reply, chunk, event, piece

PROMPT = {"role": "system", "content": "You are Xiaozhi, a cheerful toy."}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a running server."""
    with served(tmp_path_factory.mktemp("xiaozhi")) as place:
        yield place


@dataclass
class Device:
    """A device at an xiaozhi server, which keeps the dialogue and sends all of it each time.

    Attributes:
        memory_id: `ali_memory_id` of its configuration; False switches the memory mode off, None is an unset one.
    """

    assistant: dict[str, Any]
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    is_no_prompt: bool = False
    memory_id: Any = False
    dialogue: list[dict[str, Any]] = field(default_factory=lambda: [PROMPT])

    def asks(self, text: str) -> dict[str, Any]:
        """Return the call that it makes after a person has said this."""
        self.dialogue.append({"role": "user", "content": text})
        return self.goes_on()

    def goes_on(self) -> dict[str, Any]:
        """Return the call that it makes with the dialogue as it is."""
        messages = self.dialogue[1:] if self.is_no_prompt else self.dialogue
        asked = call(self.assistant, session_id=self.session_id, messages=[*messages], stream=True)
        if self.memory_id is not False:
            asked |= {"memory_id": self.memory_id, "prompt": messages[-1].get("content")}
        return asked

    def hears(self, answered: Answered) -> str:
        """Return what it says, and keep it: of each text what lies behind the length of the one before."""
        assert not answered.raised, answered.raised
        said, last = "", ""
        for item in answered.items:
            if item["status_code"] == 200 and item["text"] is not None:
                said, last = said + item["text"][len(last) :], item["text"]
        self.dialogue.append({"role": "assistant", "content": said})
        return said


def talk(place: Place, sdk: Sdk, device: Device, *texts: str) -> list[str]:
    """Let a person say these, and return what the device answers to each; the model repeats what it heard."""
    said = []
    for text in texts:
        place.will_say("You said: ", *text, ".")
        (answered,) = sdk.call(place.base_url, device.asks(text))
        said.append(device.hears(answered))
    return said


def told(place: Place) -> list[str]:
    """Return the texts that the model was told last."""
    return [text for _, text in place.asked()]


@pytest.mark.parametrize(
    ("memory_id", "is_no_prompt"),
    [(False, False), (False, True), (None, False), ("", True), ("false", False), ("m-1", True)],
)
def test_the_device_says_exactly_the_answer_and_is_remembered_once(
    place: Place, sdk: Sdk, memory_id: object, is_no_prompt: bool
) -> None:
    device = Device(place.api.new_assistant(), is_no_prompt=is_no_prompt, memory_id=memory_id)
    said = talk(place, sdk, device, "你好 😀", "再见")
    assert said == ["You said: 你好 😀.", "You said: 再见."]
    assert told(place) == ["你好 😀", "You said: 你好 😀.", "再见"], "each message once, whatever it sends again"
    instructions = place.model.requests[-1].body["messages"][0]["content"]
    assert ("a cheerful toy" in instructions) is not is_no_prompt
    (conversation,) = conversations(place, device)
    assert conversation["channel"] == {"id": device.session_id, "message_service": "thread"}


def conversations(place: Place, device: Device) -> list[dict[str, Any]]:
    """Return the conversations of a device's assistant."""
    listed = place.api.get("/conversations/list").json()
    return [one for one in listed if one["assistant_id"] == device.assistant["_id"]]


@pytest.mark.parametrize("memory_id", [False, None])
def test_messages_without_text_do_no_harm(place: Place, sdk: Sdk, memory_id: object) -> None:
    device = Device(place.api.new_assistant(), memory_id=memory_id)
    talk(place, sdk, device, "one")
    calls = [{"id": "c1", "type": "function", "function": {"name": "light", "arguments": "{}"}, "index": 0}]
    device.dialogue += [
        {"role": "user", "content": "switch the light on"},
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "the light is on"},
    ]
    place.will_say("It is on.")
    (answered,) = sdk.call(place.base_url, device.goes_on())
    assert device.hears(answered) == "It is on."
    assert told(place) == ["one", "You said: one.", "switch the light on"]
    device.dialogue += [{"role": "assistant", "content": None}, {"role": "user", "content": None}, {"role": "user"}]
    assert talk(place, sdk, device, "two") == ["You said: two."]
    assert told(place)[-3:] == ["switch the light on", "It is on.", "two"]


def test_a_summary_of_the_memory_has_no_session_and_leaves_none_behind(place: Place, sdk: Sdk) -> None:
    """xiaozhi asks for it with an empty session, which the SDK leaves out."""
    device = Device(place.api.new_assistant())
    talk(place, sdk, device, "one")
    summary = [{"role": "system", "content": "Sum it up."}, {"role": "user", "content": "User: one"}]
    for _ in range(2):
        place.will_say("They said one.")
        (answered,) = sdk.call(place.base_url, call(device.assistant, session_id="", messages=summary, stream=True))
        assert answered.texts[-1] == "They said one."
        assert told(place) == ["User: one"]
    assert answered.last["session_id"] != device.session_id
    talk(place, sdk, device, "two")
    assert told(place) == ["one", "You said: one.", "two"]


def test_a_new_conversation_of_a_device_forgets_the_old_one(place: Place, sdk: Sdk) -> None:
    assistant = place.api.new_assistant()
    first = Device(assistant, session_id=f"{uuid.uuid4()}_aa:bb:cc")
    talk(place, sdk, first, "a secret", "and more")
    assert told(place) == ["a secret", "You said: a secret.", "and more"]
    other = Device(assistant, session_id=f"{uuid.uuid4()}_dd:ee:ff")
    talk(place, sdk, other, "of another device")
    assert told(place) == ["of another device"]
    again = Device(assistant, session_id=f"{uuid.uuid4()}_aa:bb:cc")
    talk(place, sdk, again, "hello", "who are you")
    assert told(place) == ["hello", "You said: hello.", "who are you"]
    for request in place.model.requests[-2:]:
        assert b"secret" not in request.content and b"aa:bb:cc" not in request.content
    talk(place, sdk, other, "still there")
    assert told(place) == ["of another device", "You said: of another device.", "still there"]
    channels = [one["channel"] for one in conversations(place, first)]
    assert sorted(one["id"] for one in channels) == ["aa:bb:cc", "dd:ee:ff"]
    assert {one["message_service"] for one in channels} == {"device"}
    shown = next(one for one in conversations(place, first) if one["channel"]["id"] == "aa:bb:cc")
    messages = place.api.get(f"/conversations/messages/{shown['_id']}").json()
    said = [one["content"] for one in messages if one["role"] == "human"]
    assert said == ["a secret", "and more", "hello", "who are you"]


def test_the_same_device_at_another_assistant_is_a_stranger(place: Place, sdk: Sdk) -> None:
    session = f"{uuid.uuid4()}_aa:bb:cc"
    for _ in range(2):
        talk(place, sdk, Device(place.api.new_assistant(), session_id=session), "hello")
        assert told(place) == ["hello"]


def test_the_session_comes_back_as_the_device_named_it(place: Place, sdk: Sdk) -> None:
    device = Device(place.api.new_assistant(), session_id="c1_with_more_d1")
    place.will_say("Yes.")
    (answered,) = sdk.call(place.base_url, device.asks("hello"))
    assert {item["session_id"] for item in answered.items} == {"c1_with_more_d1"}
    assert conversations(place, device)[0]["channel"]["id"] == "d1"


def test_a_model_that_breaks_off_leaves_the_device_with_what_came_and_the_next_turn_works(
    place: Place, sdk: Sdk
) -> None:
    device = Device(place.api.new_assistant())
    broken: Reply = [STREAM, piece(event(chunk("An "))), piece(event(chunk("ans"))), 0.2, Action.RESET]
    place.model.replies.append(broken)
    (answered,) = sdk.call(place.base_url, device.asks("one"))
    assert [item["status_code"] for item in answered.items] == [200, 200, 502]
    assert device.hears(answered) == "An ans"
    assert talk(place, sdk, device, "two") == ["You said: two."]
    assert told(place) == ["two"], "what failed is no part of the memory"
