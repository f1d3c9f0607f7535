"""What a chaos run says about itself: a table in Markdown, and a timeline for each promise that was not kept."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median, quantiles

from bench.chaos.records import Call, Delivery, Ending, Kind, Record, Stored, Violation

_SHOWN = 5
_KILLS = frozenset({Kind.KILL_SERVER, Kind.KILL_WORKER, Kind.KILL_REDIS, Kind.KILL_STORE})
_NEAR_SECONDS = 2.0


def kills(record: Record) -> int:
    """Return how many processes were killed with -9."""
    return sum(fault.kind in _KILLS for fault in record.faults)


def rows(record: Record, settled: float, violations: Sequence[Violation]) -> list[tuple[str, str]]:
    """Return the rows of the table: what, and how much."""
    faults = Counter(fault.kind for fault in record.faults)
    endings = Counter(call.ending for call in record.calls)
    statuses = Counter(chat.status for chat in record.chats)
    replays = sum(one.replayed for one in record.deliveries)
    left = sum(one.left for one in record.deliveries)
    failed = sum(one.status not in (200, 202) and not one.left for one in record.deliveries)
    waits = _waits(record)
    return [
        ("conversations", str(len({message.conversation for message in record.messages}))),
        ("messages", str(len(record.messages))),
        ("deliveries", f"{len(record.deliveries)} ({left} callers left, {failed} got an error or no answer)"),
        *((kind.value, str(faults[kind])) for kind in Kind if faults[kind]),
        ("model calls", f"{len(record.calls)}: " + ", ".join(f"{endings[one]} {one}" for one in Ending)),
        ("chats", ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))),
        ("answers given again", str(replays)),
        ("attempts that died and were taken over", str(sum(map(_died, record.chats)))),
        ("attempts that failed and were made again", str(sum(chat.failures for chat in record.chats))),
        ("callbacks", f"{sum(post.taken for post in record.posts)} taken of {len(record.posts)} posts"),
        ("wait for an answer: median / 99 % / longest", " / ".join(f"{wait:.1f} s" for wait in waits)),
        ("nothing under way any more", f"{settled:.0f} s after the last caller had an end"),
        ("promises broken", str(len(violations))),
    ]


def _died(chat: Stored) -> int:
    ended = chat.failures + (chat.status in {"answered", "suppressed"})
    return max(0, chat.attempts - ended - (chat.status in {"merged", "inactive"}))


def _waits(record: Record) -> tuple[float, float, float]:
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    for one in record.deliveries:
        began[one.message] = min(one.began, began.get(one.message, one.began))
        if one.status == 200:
            ended[one.message] = min(one.ended, ended.get(one.message, one.ended))
    for post in record.posts:
        message = post.chat.get("message_id") or ""
        if post.taken:
            ended[message] = min(post.at, ended.get(message, post.at))
    waits = [ended[message] - began[message] for message in began if message in ended] or [0.0]
    return median(waits), quantiles([*waits, max(waits)], n=100, method="inclusive")[98], max(waits)


def table(columns: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Return a table with a column for each run."""
    names = list(dict.fromkeys(name for _, column in columns for name, _ in column))
    head = ["", *(title for title, _ in columns)]
    lines = [head, ["---"] * len(head)]
    lines += [[name, *(dict(column).get(name, "") for _, column in columns)] for name in names]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def details(record: Record, violations: Sequence[Violation]) -> Iterator[str]:
    """Yield what is known about some violations of each rule: the message's timeline."""
    for rule, count in Counter(violation.rule for violation in violations).items():
        yield f"\n=== {rule}: {count}"
        for violation in [one for one in violations if one.rule == rule][:_SHOWN]:
            yield f"\n{violation.about}: {violation.detail}"
            yield from (f"    {line}" for line in timeline(record, violation.about))


def timeline(record: Record, message: str) -> list[str]:
    """Return everything that happened to a message, in order, with the faults near it."""
    zero = min((one.began for one in record.deliveries), default=0.0)
    events = [event for one in record.deliveries if one.message == message for event in _sent(one)]
    events += [event for call in record.calls if call.message == message for event in _called(call)]
    events += [
        (post.at, f"webhook {post.event_id} {post.type}{'' if post.taken else ' NOT TAKEN'}")
        for post in record.posts
        if post.chat.get("message_id") == message
    ]
    first = min((at for at, _ in events), default=0.0) - _NEAR_SECONDS
    last = max((at for at, _ in events), default=0.0) + _NEAR_SECONDS
    events += [
        (fault.at, f"--- {fault.kind}: {fault.target} (back after {fault.back - fault.at:.1f} s)")
        for fault in record.faults
        if first < fault.at < last
    ]
    stored = [f"stored: {chat}" for chat in record.chats if chat.message == message]
    return [f"{at - zero:8.3f}  {what}" for at, what in sorted(events)] + stored


def _sent(one: Delivery) -> list[tuple[float, str]]:
    got = f"{one.status} {one.code or ''} {dict(one.chat or {})}"
    marks = (
        " REPLAYED" * one.replayed + " LEFT" * one.left + " EARLY" * one.early + " STREAMED" * (one.text is not None)
    )
    return [(one.began, f"sent to {one.server}"), (one.ended, f"its caller has {got}{marks} from {one.server}")]


def _called(call: Call) -> list[tuple[float, str]]:
    name = f"call {call.number} by {call.server}"
    return [(call.began, name), (call.ended, f"{name} ends {call.ending}: {call.text!r}")]
