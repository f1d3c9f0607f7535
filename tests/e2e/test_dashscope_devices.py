"""What a tool is told of the device that speaks, and what the device hears while the tool runs."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.dashscope import Sdk
from tests.contract.engine import wait_until
from tests.e2e.dashscope_place import Place, call, served
from tests.emulators import home_server
from tests.emulators.openai_wire import calling

DEVICE = "aa:bb:cc"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which the tools write down what they are told."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    """Give a server whose operator allows the home."""
    command = {"command": sys.executable, "args": [str(home_server.__file__), str(folder / "record")]}
    servers = folder / "mcp.json"
    servers.write_text(json.dumps({"mcpServers": {"home": command}}), encoding="utf-8")
    with served(folder, MCP_SERVERS_FILE=str(servers)) as place:
        yield place


@pytest.fixture
def record(folder: Path) -> Iterator[Path]:
    """Give the empty file that the tools write to."""
    file = folder / "record"
    file.write_text("", encoding="utf-8")
    yield file


def assistant_of(place: Place, **fields: Any) -> dict[str, Any]:
    """Return a new assistant that may use the home, whose program has started: an answer waits 5 s for that."""
    assistant = place.api.new_assistant(tools=[{"type": "shared", "name": "home"}], **fields)
    wait_until(lambda: place.api.get(f"/assistants/tools/{assistant['_id']}").json()[0]["status"] == "ok")
    return assistant


def offered(request: Any) -> dict[str, Any]:
    """Return what a model was told of the functions that it may ask for: name -> parameters."""
    tools = [one["function"] for one in request.body.get("tools", ())]
    return {one["name"]: one["parameters"] for one in tools}


def test_the_device_reaches_the_tool_that_asks_for_it_and_never_the_model(place: Place, sdk: Sdk, record: Path) -> None:
    assistant, asked = assistant_of(place), len(place.model.requests)
    for name, arguments in (("switch_light", {"on": True}), ("tell_weather", {"city": "Oslo"})):
        place.model.replies.append(calling(name, **arguments))
        place.will_say("Done.")
    light, weather = sdk.call(
        place.base_url,
        call(assistant, prompt="Light on", session_id=f"c1_{DEVICE}", stream=True),
        call(assistant, prompt="And the weather?", session_id=f"c1_{DEVICE}"),
    )
    assert (light.texts[-1], weather.texts) == ("Done.", ["Done."])
    assert record.read_text(encoding="utf-8").splitlines() == [f"{DEVICE} True", f"{DEVICE} asks of Oslo"]
    requests = place.model.requests[asked:]
    assert len(requests) == 4
    for request in requests:
        assert DEVICE.encode() not in request.content and b"device_id" not in request.content
        assert set(offered(request)) == {"switch_light", "tell_weather"}
        assert set(offered(request)["switch_light"]["properties"]) == {"on"}
    stored = place.api.get("/chats/list", params={"assistant_id": assistant["_id"]}).json()
    uses = [use for chat in stored for use in chat["tools"]]
    assert [json.loads(use["arguments"]) for use in uses] == [{"city": "Oslo"}, {"on": True}]


def test_a_model_cannot_speak_for_another_device(place: Place, sdk: Sdk, record: Path) -> None:
    place.model.replies.append(calling("switch_light", on=True, device_id="dd:ee:ff"))
    place.will_say("Done.")
    sdk.call(place.base_url, call(assistant_of(place), prompt="Light on", session_id=f"c1_{DEVICE}"))
    assert "dd:ee:ff" not in record.read_text(encoding="utf-8")


def test_a_tool_that_needs_a_device_is_not_offered_where_there_is_none(place: Place, sdk: Sdk, record: Path) -> None:
    assistant = assistant_of(place)
    place.model.replies.append(calling("tell_weather", city="Oslo"))
    place.will_say("Sunny.")
    (answered,) = sdk.call(place.base_url, call(assistant, prompt="The weather?", session_id="c1"))
    assert answered.texts == ["Sunny."]
    assert set(offered(place.model.requests[-1])) == {"tell_weather"}
    assert record.read_text(encoding="utf-8").splitlines() == ["nobody asks of Oslo"]


@pytest.mark.parametrize("filler", ["everywhere", "events", "off"])
def test_what_is_said_while_a_tool_runs_comes_first_and_is_not_remembered(
    place: Place, sdk: Sdk, record: Path, filler: str
) -> None:
    """The tool takes a second, so that the chatty model is asked before the answer."""
    assistant = assistant_of(place, routing={"mode": "direct", "chatty_model": "chatty", "filler": filler})
    place.model.replies.append(calling("switch_light", on=True))
    if filler == "everywhere":
        place.will_say("One ", "moment.")
    place.will_say("It is ", "on.")
    place.will_say("Gladly.")
    streamed, then = sdk.call(
        place.base_url,
        call(assistant, prompt="Light on", session_id=f"c1_{DEVICE}", stream=True),
        call(assistant, prompt="Thanks", session_id=f"c1_{DEVICE}"),
    )
    heard, last = "", ""
    for text in map(str, streamed.texts):
        heard, last = heard + text[len(last) :], text
    assert heard == last == ("One moment.\n\nIt is on." if filler == "everywhere" else "It is on.")
    assert then.texts == ["Gladly."]
    told = [text for _, text in place.asked()]
    assert told[:2] == ["Light on", "It is on."] and told[-1] == "Thanks"
