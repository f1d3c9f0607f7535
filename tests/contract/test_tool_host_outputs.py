"""What a model is told of what MCP servers offer and answer."""

from typing import Any

import pytest
from mcp_types import CallToolResult, InputRequiredResult, Tool

from models.tools import ToolOutput, ToolSpec
from services.providers.mcp_output import output_of, specs_of


def result(*parts: dict[str, Any], **fields: Any) -> CallToolResult:
    """Return an answer as it is on the wire."""
    return CallToolResult.model_validate({"content": list(parts), **fields})


def text(said: str) -> dict[str, Any]:
    """Return a part that is text."""
    return {"type": "text", "text": said}


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (result(text("one"), text("two")), ToolOutput("one\ntwo")),
        (result(text("no"), isError=True), ToolOutput("no", failed=True)),
        (result(), ToolOutput("(no output)")),
        (result(isError=True), ToolOutput("(no output)", failed=True)),
        (result(structuredContent={"grau": "ünwahr"}), ToolOutput('{"grau": "ünwahr"}')),
        (result(text("12 °C"), structuredContent={"celsius": 12}), ToolOutput("12 °C")),
        (
            result({"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}, text("listen")),
            ToolOutput("[audio, audio/wav, 3 bytes]\nlisten"),
        ),
        (
            result({"type": "image", "data": "AA==", "mimeType": "image/png"}),
            ToolOutput("[image, image/png, 1 bytes]"),
        ),
        (
            result({"type": "resource", "resource": {"uri": "file:///a.txt", "text": "inside"}}),
            ToolOutput("inside"),
        ),
        (
            result({"type": "resource", "resource": {"uri": "file:///a.bin", "blob": "AAA="}}),
            ToolOutput("[resource file:///a.bin, of unknown type, 2 bytes]"),
        ),
        (
            result({"type": "resource_link", "uri": "file:///b.txt", "name": "b"}),
            ToolOutput("[link to b: file:///b.txt]"),
        ),
        (result(text("x" * 20_000)), ToolOutput("x" * 20_000)),
        (result(text("x" * 20_001)), ToolOutput("x" * 20_000 + "\n[1 more characters were cut off]")),
    ],
)
def test_an_output_is_text(answer: CallToolResult, output: ToolOutput) -> None:
    assert output_of(answer) == output


def test_a_tool_that_wants_a_persons_input_has_failed() -> None:
    asked = InputRequiredResult.model_validate(
        {"resultType": "input_required", "inputRequests": {}, "requestState": "s"}
    )
    assert output_of(asked).failed


def test_descriptions_are_cut_and_a_huge_schema_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    tools = [
        Tool(name="long", description="d" * 5000, input_schema=schema),
        Tool(name="titled", title="Say it", input_schema=schema),
        Tool(name="huge", input_schema={"type": "object", "description": "d" * 40_000}),
    ]
    assert specs_of(tools, "desk") == [ToolSpec("long", "d" * 4000, schema), ToolSpec("titled", "Say it", schema)]
    assert [record.message for record in caplog.records] == ["a tool with a huge schema is left out"]
