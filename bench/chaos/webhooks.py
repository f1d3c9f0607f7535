"""What the receiver of a chaos run must have got."""

from collections.abc import Iterator, Sequence

from bench.chaos.records import Message, Post, Stored, Violation
from bench.chaos.run import Run, grouped


def webhooks_are_true(run: Run) -> Iterator[Violation]:
    """Every callback was taken, genuine, and says what is stored; one event says one thing."""
    for message in run.record.messages:
        posts, stored = run.posts.get(message.id, []), run.chat(message.id)
        if not message.callback:
            continue
        if stored is not None and not any(one.taken and one.event_id == stored.event_id for one in posts):
            yield Violation("webhook", message.id, f"the receiver took no {stored.event_id}")
        for event_id, tries in grouped(posts, lambda one: one.event_id).items():
            if len({(one.type, tuple(sorted(one.chat.items(), key=str))) for one in tries}) > 1:
                yield Violation("webhook", message.id, f"{event_id} said different things")
        outcomes = {one.event_id for one in posts if one.type == "chat.answered"}
        if len(outcomes) > 1:
            yield Violation("webhook", message.id, f"several events tell of an answer: {sorted(outcomes)}")
        if stored is not None:
            yield from _untrue(stored, posts)
    yield from _strange_posts(run)


def _untrue(stored: Stored, posts: Sequence[Post]) -> Iterator[Violation]:
    for one in posts:
        said = (one.chat.get("_id"), one.chat.get("response"), one.chat.get("merged_into"))
        final = (stored.id, stored.response if stored.status == "answered" else None, stored.merged_into)
        if one.type != "chat.failed" and (said != final or one.type != f"chat.{stored.status}"):
            yield Violation("webhook", stored.message, f"{one.event_id} said {one.type} {said}, stored is {final}")


def _strange_posts(run: Run) -> Iterator[Violation]:
    """The receiver gets nothing that is not signed, and nothing that nobody asked for."""
    for one in run.record.posts:
        about = one.chat.get("message_id") or ""
        message: Message | None = run.messages.get(about)
        if not one.genuine:
            yield Violation("webhook", about, f"{one.event_id} has a wrong signature")
        if message is None or not message.callback:
            yield Violation("webhook", about, f"nobody asked for {one.event_id}")
