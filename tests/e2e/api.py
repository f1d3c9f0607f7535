"""An HTTP client that knows the routes, as a frontend or a channel would."""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from bench.running import RunningServer, running_server

_numbers = itertools.count(1)

SETTINGS = {
    "LOGINS_PER_MINUTE": "0",
    "MESSAGES_PER_MINUTE": "0",
    "MAX_UPLOAD_MB": "1",
    "METRICS_TOKEN": "metrics-token-of-the-tests",
    "ANSWER_DEADLINE_SECONDS": "20",
}
ADMIN = {"name": "Ada", "email": "ada@example.com", "password": "ada-password"}


class Api(httpx2.Client):
    """A client of one server; after `login` it sends the access token."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=60)
        self.user: dict[str, str] = {}
        self.refresh_token = ""

    def login(self, email: str, password: str) -> httpx2.Response:
        """Log in and keep the token."""
        answer = self.post("/auth/login", json={"email": email, "password": password})
        if answer.status_code == 200:
            body = answer.json()
            self.headers["Authorization"] = f"Bearer {body['token']}"
            self.user, self.refresh_token = body["user"], body["refresh_token"]
        return answer

    def new_assistant(self, **changes: Any) -> dict[str, Any]:
        """Create an assistant, with these fields set."""
        made = self.post("/assistants/add", json={"name": f"Assistant {next(_numbers)}"})
        assert made.status_code == 201, made.text
        if changes:
            made = self.put(f"/assistants/update/{made.json()['_id']}", json=changes)
            assert made.status_code == 200, made.text
        return dict(made.json())

    def upload(self, assistant: dict[str, Any], name: str, content: bytes | str, type: str = "rag") -> httpx2.Response:
        """Upload a document."""
        data = content.encode() if isinstance(content, str) else content
        form = {"assistant_id": assistant["_id"], "type": type}
        return self.post("/documents/add?wait=true", data=form, files={"file": (name, data)})

    def say(self, assistant: dict[str, Any], message: str, **fields: Any) -> httpx2.Response:
        """Send a message as a channel does, with the assistant's key."""
        body = json.dumps(_message(message, fields))  # ASCII, so that tests can send half a surrogate pair
        headers = {"X-API-Key": assistant["api_key"], "Content-Type": "application/json"}
        return self.post("/chats/enviarMensagemLLM", content=body, headers=headers)

    def say_streamed(
        self, assistant: dict[str, Any], message: str, **fields: Any
    ) -> tuple[httpx2.Response, list[tuple[str, Any]]]:
        """Send a message and read the server-sent events of its answer to the end."""
        request = self.build_request(
            "POST",
            "/chats/enviarMensagemLLM",
            json=_message(message, {**fields, "stream": True}),
            headers={"X-API-Key": assistant["api_key"]},
        )
        answer = super().send(request, stream=True)
        try:
            return answer, list(events_of(answer.iter_lines())) if answer.status_code == 200 else []
        finally:
            answer.close()


def events_of(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Parse server-sent events; comments are left out."""
    event = ""
    for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield event, json.loads(line.removeprefix("data: "))


def _message(text: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"id": "+5511988887777", "message_service": "whatsapp", "username": "Bia", "message": text, **fields}


@contextmanager
def registered_server(folder: Path, settings: Mapping[str, str]) -> Iterator[RunningServer]:
    """Run a server on which the admin has an account."""
    with running_server(folder, settings) as server:
        with Api(server.url) as api:
            api.post("/auth/register", json=ADMIN).raise_for_status()
        yield server
