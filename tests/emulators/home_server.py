"""An MCP server of a home whose lights belong to devices: started by tests, as a program of its own."""

import sys
import time
from pathlib import Path

from mcp.server import MCPServer

home = MCPServer("home", log_level="CRITICAL")


def note(what: str) -> None:
    """Write down what was asked, in the file that the program was started with."""
    with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")


@home.tool(structured_output=False)
def switch_light(on: bool, device_id: str) -> str:
    """Switch the light of the device that asks; it takes a second."""
    time.sleep(1)
    note(f"{device_id} {on}")
    return "done"


@home.tool(structured_output=False)
def tell_weather(city: str, device_id: str = "") -> str:
    """Tell the weather of a city."""
    note(f"{device_id or 'nobody'} asks of {city}")
    return "sunny"


if __name__ == "__main__":
    home.run("stdio")
