"""Hold responses and their events against Open Responses' own description of them.

It is the description that OGX is developed and tested against, and it is in OGX's source archive on PyPI. The project's
acceptance suite, which checks what servers say against types made of it, is in no registry: tests/e2e makes its
requests and checks one by one, and this file checks the shapes. The description is kept outside of the project, in
`OPEN_RESPONSES_SPEC` (default `~/.cache/orquestra/openresponses-spec.json`), where
`python -m tests.emulators.open_responses` puts it. Without it the tests are skipped.
"""

import json
import os
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.emulators.ogx_archive import take
from tests.servers import missing

_MEMBER = "docs/static/openresponses-spec.json"
_SHA256 = "636077e123b50ff70df37ccb43c66d07b5c3b7c2aaed2b8b4c74c1961c2f83e3"
_SPEC = Path(os.environ.get("OPEN_RESPONSES_SPEC") or Path.home() / ".cache" / "orquestra" / "openresponses-spec.json")
_RESPONSE = "ResponseResource"


class OpenResponses:
    """The description, asked about what a server says."""

    def __init__(self) -> None:
        if not _SPEC.is_file():
            missing(
                "Open Responses' description is not there: run `.venv/bin/python -m tests.emulators.open_responses`"
            )
        self._schemas: dict[str, Any] = json.loads(_SPEC.read_text(encoding="utf-8"))["components"]["schemas"]
        self._events = {
            kinds[0]: name
            for name, schema in self._schemas.items()
            if name.endswith("StreamingEvent") and (kinds := schema["properties"]["type"]["enum"])
        }

    def problems(self, response: object) -> list[str]:
        """Return what the description says against a response, each with its place; empty if nothing."""
        return self._against(_RESPONSE, response)

    def problems_of_event(self, event: dict[str, Any]) -> list[str]:
        """Return what it says against an event of a stream."""
        name = self._events.get(event["type"])
        return [f"there is no event {event['type']}"] if name is None else self._against(name, event)

    def _against(self, name: str, value: object) -> list[str]:
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": self._schemas}}
        found = Draft202012Validator(schema).iter_errors(value)
        return [f"{error.json_path}: {error.message[:300]}" for error in found]


def install() -> None:
    """Fetch the description, unless it is there."""
    take(_MEMBER, _SHA256, _SPEC)


if __name__ == "__main__":
    install()
