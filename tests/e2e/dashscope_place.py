"""A served instance whose model is scripted, for the clients of DashScope's applications."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.running import running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.emulators.openai_wire import DONE, Reply, WireServer, chunk, event, stream, wire


@dataclass(frozen=True)
class Place:
    """A server and the model that it asks, whose replies tests line up.

    Attributes:
        log: what the server has logged so far.
    """

    model: WireServer
    api: Api
    log: list[str]

    @property
    def base_url(self) -> str:
        """Return the address as the SDK is told it."""
        return str(self.api.base_url).rstrip("/") + "/api/v1"

    def will_say(self, *texts: str) -> None:
        """Let the model answer the next request with these pieces."""
        self.model.replies.append(said(*texts))

    def asked(self) -> list[tuple[str, str]]:
        """Return (role, text) of what the model was asked last, but for our own instructions."""
        told = [(one["role"], one["content"]) for one in self.model.requests[-1].body["messages"]]
        return [one for one in told if one[0] != "system"]


def said(*texts: str) -> Reply:
    """Return a whole answer in these pieces."""
    return stream(
        *(event(chunk(text)) for text in texts), event(chunk(finish="stop")), event(chunk(usage=(7, 3))), DONE
    )


def call(assistant: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Return the arguments of `Application.call`."""
    return {"api_key": assistant["api_key"], "app_id": "any-app", **arguments}


@contextlib.contextmanager
def served(folder: Path, **settings: str) -> Iterator[Place]:
    """Run a server with these settings besides."""
    with wire() as model:
        settings = {**SETTINGS, "OPENAI_BASE_URL": model.base_url, **settings}
        with running_server(folder, settings) as server, Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
            api.login(ADMIN["email"], ADMIN["password"])
            yield Place(model, api, server.log)
