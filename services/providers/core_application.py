"""Answers from the core application of Orquestradora-LabDeIA, which keeps the knowledge of its assistants itself."""

import json
import logging
from collections.abc import Generator
from typing import Any
from urllib.parse import quote

import httpx2

from models.answers import ModelEvent, ModelRequest, TextDelta, Usage
from models.chats import Tokens
from models.deadline import Deadline
from services.providers.http_calls import Endpoint, opened, read_on
from services.providers.http_sockets import Call, make_cuttable


class CoreModel:
    """Ask `POST {base_url}/llm/{assistant id}/query`; the answer comes in one piece.

    Args:
        client: is made cuttable, so that a cancel wakes whoever waits in it.
    """

    provider = "core"
    model = ""
    hosts_memory = False
    calls_tools = False

    def __init__(self, client: httpx2.Client, base_url: str) -> None:
        self._client = make_cuttable(client)
        self._base_url = base_url.rstrip("/")
        self._endpoint = Endpoint(
            name="The core application",
            key_hint="Check CORE_API_BASE_URL and what protects it.",
            model_hint="Check CORE_API_BASE_URL and that this assistant exists there.",
            url_hint="Check CORE_API_BASE_URL and that the core application is up.",
        )

    def stream(self, request: ModelRequest, deadline: Deadline) -> Generator[ModelEvent, None, None]:
        """Yield the answer, then its usage.

        The history has both sides of each turn, oldest first; a side that a turn lacks is sent as "".
        """
        call = Call(deadline)
        with opened(lambda: self._send(request, call), call, self._endpoint) as response:
            body = b"".join(read_on(call, response, self._endpoint))
        try:
            text, tokens = _read(json.loads(body))
        except (KeyError, TypeError, ValueError) as error:
            self._endpoint.log(logging.ERROR, "an answer of another protocol", body)
            raise self._endpoint.unreadable() from error
        if not text.strip():
            raise self._endpoint.empty()
        yield TextDelta(text)
        yield Usage(tokens)

    def _send(self, request: ModelRequest, call: Call) -> httpx2.Response:
        question = {
            "history": [{"message": turn.message or "", "response": turn.response or ""} for turn in request.history],
            "query": request.question,
        }
        url = f"{self._base_url}/llm/{quote(request.assistant_id, safe='')}/query"
        outgoing = self._client.build_request("POST", url, json=question, timeout=call.timeout())
        return self._client.send(outgoing, stream=True)


def _read(answer: Any) -> tuple[str, Tokens | None]:
    """Return text and tokens of `{"response": str, "tokens": {"in": n, "out": n}}`; tokens may be missing."""
    text = answer["response"]
    if not isinstance(text, str):
        raise TypeError("response is no string")
    tokens = answer.get("tokens")
    return text, Tokens(int(tokens["in"]), int(tokens["out"])) if tokens else None
