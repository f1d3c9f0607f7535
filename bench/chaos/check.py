"""The promises, checked over what a run has left behind: records in, violations out, nothing else is touched.

What may excuse a departure is said at each rule, and nothing else does. Two excuses come from the design: an attempt
that failed gives its place up (the messages behind it do not wait for its next delivery), and without Redis two
messages that arrive together may change places.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from bench.chaos.calls import calls_are_explained, committed_call
from bench.chaos.records import Call, Delivery, Kind, Record, Stored, Violation
from bench.chaos.run import Run, grouped
from bench.chaos.webhooks import webhooks_are_true

_ACCEPTED = 202
_GOT = frozenset({200, _ACCEPTED})
_MAY_FAIL_WITH = frozenset({502, 503, 504})
_NEVER = frozenset({"hung", "unended"})
_MARGIN_SECONDS = 1.0
_IN_FLIGHT_SECONDS = 0.5
_UNANSWERED = frozenset({"inactive", "suppressed"})


def check(record: Record) -> list[Violation]:
    """Return every promise that was not kept."""
    run = Run(record)
    rules = (
        _stored_once,
        _answered,
        _callers,
        _statuses,
        _arrival,
        _order,
        _memory,
        calls_are_explained,
        webhooks_are_true,
        _stops,
    )
    return [violation for rule in rules for violation in rule(run)]


def _stored_once(run: Run) -> Iterator[Violation]:
    """Every message has one chat, and every chat is a message's."""
    for message in run.record.messages:
        count = len(run.chats.get(message.id, []))
        if count != 1:
            yield Violation("lost" if count == 0 else "doubled", message.id, f"it has {count} chats")
    for chat in run.record.chats:
        sent = run.messages.get(chat.message)
        if sent is None or sent.conversation != chat.conversation:
            yield Violation("invented message", chat.message, f"nobody sent chat {chat.id} to {chat.conversation}")


def _answered(run: Run) -> Iterator[Violation]:
    """Every chat is answered, by itself or together with a later one; nothing is under way any more.

    Only what a human took over may stay without an answer, and what came while they had it must.
    """
    for chat in run.record.chats:
        if chat.delivery not in (None, "delivered"):
            yield Violation("left over", chat.message, f"its delivery is {chat.delivery}")
        if chat.status == "merged":
            into = run.by_id.get(chat.merged_into or "")
            if into is None or into.status != "answered" or into.id < chat.id or into.conversation != chat.conversation:
                yield Violation("lost", chat.message, f"it was merged into {chat.merged_into}, which is no answer")
        elif chat.status != "answered" and not _may_be(chat.status, run, chat):
            kind = "left over" if chat.status == "received" else "lost"
            yield Violation(kind, chat.message, f"in the end it is {chat.status}")
        if chat.status != "inactive" and _came_to_a_human(run, chat):
            yield Violation("handoff", chat.message, f"a human had the conversation, and it is {chat.status}")


def _may_be(status: str, run: Run, chat: Stored) -> bool:
    """Tell whether a human had the conversation at some time between the message and its end."""
    began, ended = _life(run, chat)
    pauses = run.pauses.get(chat.conversation, [])
    return status in _UNANSWERED and any(began < pause.on_ended and pause.off_began < ended for pause in pauses)


def _came_to_a_human(run: Run, chat: Stored) -> bool:
    """Tell whether the message came, and its caller had its end, while a human had the conversation."""
    began, ended = _life(run, chat)
    pauses = run.pauses.get(chat.conversation, [])
    return any(pause.off_ended < began and ended < pause.on_began for pause in pauses)


def _life(run: Run, chat: Stored) -> tuple[float, float]:
    """Return when the message was first sent, and when its first caller had its end."""
    deliveries = run.deliveries.get(chat.message, [])
    ends = [one.ended for one in deliveries if one.status == 200]
    return min((one.began for one in deliveries), default=chat.created), min(ends, default=float("inf"))


def _callers(run: Run) -> Iterator[Violation]:
    """Every caller of a message was given the same chat, at most one of them as the first.

    The mark stands in the head, so a stream that has begun before there was anything to tell cannot carry it.
    """
    for message in run.record.messages:
        got = [one for one in run.deliveries.get(message.id, []) if one.status in _GOT]
        stored = run.chat(message.id)
        firsts = [one for one in got if not one.replayed and not one.early]
        if len(firsts) > 1:
            yield Violation("replay", message.id, f"{len(firsts)} callers were told that theirs was the first")
        if stored is not None:
            yield from (_unequal(message.id, stored, one) for one in got if not _agrees(stored, one))
        if not got:
            yield Violation("lost", message.id, "no caller was given anything")


def _agrees(stored: Stored, delivery: Delivery) -> bool:
    """Tell whether a caller was given what is stored; who was told to wait for the receiver may know less."""
    chat = delivery.chat or {}
    if chat.get("_id") != stored.id:
        return False
    if delivery.status == _ACCEPTED:
        return chat.get("response") in (None, stored.response)
    response = stored.response if stored.status == "answered" else None
    told = (chat.get("status"), chat.get("response"), chat.get("merged_into"))
    streamed = delivery.text is None or stored.status != "answered" or delivery.text == stored.response
    return told == (stored.status, response, stored.merged_into) and streamed


def _unequal(message: str, stored: Stored, delivery: Delivery) -> Violation:
    was = f"{stored.id} {stored.status} {stored.response!r} merged into {stored.merged_into}"
    streamed = "" if delivery.text is None else f", streamed {delivery.text!r}"
    return Violation("unequal", message, f"stored {was}; a caller got {dict(delivery.chat or {})}{streamed}")


def _statuses(run: Run) -> Iterator[Violation]:
    """Every caller has an end; failures are those that the contract names: the model's, a store's, the deadline's."""
    for one in run.record.deliveries:
        if one.status is not None and one.status not in _GOT | _MAY_FAIL_WITH:
            yield Violation("status", one.message, f"{one.server} answered {one.status} {one.code}")
        if one.code in _NEVER:
            yield Violation("hung", one.message, f"{one.server} gave its caller no end: {one.code}")


def _arrival(run: Run) -> Iterator[Violation]:
    """What was sent after an earlier message had been taken comes behind it."""
    for conversation, messages in grouped(run.record.messages, lambda message: message.conversation).items():
        for one, other in combinations(messages, 2):
            earlier, later = run.chat(one.id), run.chat(other.id)
            if earlier is None or later is None:
                continue
            for first, second in ((earlier, later), (later, earlier)):
                if _taken(run, first) < _sent(run, second) and first.id > second.id:
                    yield Violation("swapped", second.message, f"it came after {first.message} to {conversation}")


def _taken(run: Run, chat: Stored) -> float:
    ends = [one.ended for one in run.deliveries.get(chat.message, []) if one.status in _GOT]
    return min(ends, default=float("inf"))


def _sent(run: Run, chat: Stored) -> float:
    return min((one.began for one in run.deliveries.get(chat.message, [])), default=chat.created)


def _order(run: Run) -> Iterator[Violation]:
    """Answers come in the order of their messages, a merged one's with that of the message that took it in.

    One whose attempt had failed has given up its place, those of the messages it took in, and that within its burst; so
    has one whose server died between closing its burst and taking the others in, which the next message does then.
    """
    for chats in run.conversations.values():
        for earlier, later in combinations(chats, 2):
            first, second = run.holder(earlier).answered, run.holder(later).answered
            if first is None or second is None or first <= second:
                continue
            torn = earlier.merged_into and (later.failures or later.attempts > 1)
            gave_up = earlier.failures or run.holder(earlier).failures or torn
            if not gave_up and not run.without_redis(earlier, later):
                detail = f"{later.message} was answered {first - second:.3f} s before it"
                yield Violation("swapped", earlier.message, detail)


def _memory(run: Run) -> Iterator[Violation]:
    """A committed answer was made from the turns before it, each once and in order; what it took in comes last."""
    for chats in run.conversations.values():
        for position, chat in enumerate(chats):
            call = committed_call(chat, run.calls.get(chat.message, []))
            if call is None:
                continue
            before = sorted(chats[:position], key=lambda one: one.merged_into == chat.id)
            expected = [turn for one in before for turn in _turns(run, one, chat, call)]
            expected.append(f"user:{chat.message}")
            if list(call.shown) != expected:
                yield Violation("memory", chat.message, f"call {call.number} was shown\n{_difference(call, expected)}")


def _turns(run: Run, one: Stored, chat: Stored, call: Call) -> list[str]:
    """Return what a chat must have been shown of an earlier one; of what was just being decided, either is right."""
    turns = [f"user:{one.message}"]
    if one.status == "answered":
        turns.append(f"assistant:{one.response}")
    if one.failures and one.answered is not None and one.answered > call.began + _MARGIN_SECONDS:
        return []
    undecided = one.failures or run.holder(one).failures or run.without_redis(one, chat)
    late = one.answered is None or one.answered > call.began - _MARGIN_SECONDS
    if undecided and late and turns[0] not in call.shown:
        return []
    return turns


def _difference(call: Call, expected: Sequence[str]) -> str:
    shown = "\n".join(f"      {turn}" for turn in call.shown)
    return f"{shown}\n    and not\n" + "\n".join(f"      {turn}" for turn in expected)


def _stops(run: Run) -> Iterator[Violation]:
    """A server that is told to stop finishes what it has begun, and exits with 0."""
    for fault in run.record.faults:
        if fault.kind is not Kind.STOP_SERVER:
            continue
        if fault.exit_code != 0:
            yield Violation("drain", fault.target, f"it was told to stop, and its exit code is {fault.exit_code}")
        for one in run.record.deliveries:
            in_flight = one.began < fault.at - _IN_FLIGHT_SECONDS and one.ended > fault.at
            if one.server == fault.target and in_flight and one.status is None and not one.left:
                yield Violation("drain", one.message, f"{fault.target} dropped it when it was told to stop")
