"""A receiver of callbacks on a port of 127.0.0.1, as an integrator would write one."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

_CONTENT_LENGTH = "Content-Length"


@dataclass(frozen=True)
class Post:
    """One request that came; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        """Return its `webhook-id`."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """Return the body as JSON, not verified."""
        return dict(json.loads(self.body))

    def verified(self, secret: str) -> dict[str, Any]:
        """Return the event, if its signature is right, by the reference library of Standard Webhooks."""
        return dict(Webhook(secret).verify(self.body, dict(self.headers)))


Answer = tuple[int, Mapping[str, str]]


@dataclass
class Receiver:
    """Keep every post and answer as told.

    Attributes:
        url: of the receiver, without a path.
        answer: what to do with a post, in the receiver's own thread.
        most_at_once: so many posts were in progress together.
    """

    url: str
    answer: Callable[[Post], Answer] = lambda post: (204, {})
    posts: list[Post] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def says(self, *statuses: int, headers: Mapping[str, str] | None = None) -> None:
        """Answer the next posts with these statuses, and all later ones with the last of them."""
        left = list(statuses)
        self.answer = lambda post: (left.pop(0) if len(left) > 1 else left[0], headers or {})

    def wait_for(self, count: int, seconds: float = 60.0) -> list[Post]:
        """Return the posts once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.posts) >= count, seconds), f"only {len(self.posts)} posts"
            return list(self.posts)

    def take(self, post: Post) -> Answer:
        """Keep a post and return the answer to it."""
        with self._changed:
            self.posts.append(post)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            self._changed.notify_all()
        try:
            return self.answer(post)
        finally:
            with self._changed:
                self._now -= 1


@contextmanager
def running_receiver(port: int = 0) -> Iterator[Receiver]:
    """Listen on a port, a free one for 0, until the block ends."""
    receiver = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(self.headers[_CONTENT_LENGTH]))
            status, answered = receiver.take(Post(self.path, headers, body))
            try:
                self.send_response(status)
                for name, value in {_CONTENT_LENGTH: "0", **answered}.items():
                    self.send_header(name, value)
                self.end_headers()
            except ConnectionError:  # whoever posted was killed
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the tests look at what came."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join(10)
