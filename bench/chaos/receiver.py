"""The receiver of a chaos run's callbacks: it checks each signature, and by chance does not take what it gets."""

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from random import Random

from standardwebhooks import Webhook, WebhookVerificationError

from bench.chaos.records import Post

_REFUSED, _DROPPED = 0.06, 0.1
"""Below which share a post is answered 500, or the connection closed; an event that came before is taken."""

_KEPT = ("_id", "message_id", "status", "response", "merged_into")


class Receiver:
    """Take webhooks on a free port of the loopback address.

    Attributes:
        posts: all so far.
        secrets: of the assistants; a signature of any of them is right.
    """

    def __init__(self, seed: str) -> None:
        self.posts: list[Post] = []
        self.secrets: list[str] = []
        self.url = ""
        self._chance = Random(f"{seed}/receiver")
        self._seen: Counter[str] = Counter()
        self._taken: set[str] = set()
        self._news = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen while the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=256)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callbacks"
        try:
            yield
        finally:
            server.close()

    async def outcome(self, message_id: str) -> None:
        """Wait until a post about a message has been taken."""
        async with self._news:
            await self._news.wait_for(lambda: message_id in self._taken)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one post, and take it, refuse it or hang up."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            headers = {name.lower(): value for name, value in re.findall(r"(?m)^([\w-]+): *(.*?)\r$", head)}
            body = await reader.readexactly(int(headers["content-length"]))
            event_id, share = headers.get("webhook-id", ""), self._chance.random()
            self._seen[event_id] += 1
            taken = share >= _DROPPED or self._seen[event_id] > 1
            await self._note(headers, body, taken)
            if taken:
                writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            elif share < _REFUSED:
                writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    async def _note(self, headers: Mapping[str, str], body: bytes, taken: bool) -> None:
        event = json.loads(body)
        chat = {name: event["data"].get(name) for name in _KEPT}
        genuine = any(_is_signed(secret, headers, body) for secret in self.secrets)
        async with self._news:
            self.posts.append(Post(time.time(), headers.get("webhook-id", ""), genuine, taken, event["type"], chat))
            if taken:
                self._taken.add(chat["message_id"])
            self._news.notify_all()


def _is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, dict(headers))
    except WebhookVerificationError:
        return False
    return True
