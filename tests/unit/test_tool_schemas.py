"""What a server's tools may hold in memory together."""

from mcp_types import Tool

from services.providers.mcp_output import specs_of


def test_schemas_of_a_server_are_bounded_together() -> None:
    schema = {"type": "object", "properties": {f"{number:x}": {} for number in range(2900)}}
    tools = [Tool(name=f"t{number}", input_schema=schema) for number in range(50)]
    tools.append(Tool(name="small", input_schema={"type": "object"}))
    assert [spec.name for spec in specs_of(tools, "s")] == [*(f"t{number}" for number in range(8)), "small"]
