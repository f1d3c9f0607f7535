"""Why the model was called: each call wrote a committed answer, or has a reason for not having done so."""

from collections.abc import Iterator, Sequence

from bench.chaos.records import PLANTED, Call, Ending, Fault, Kind, Record, Stored, Violation
from bench.chaos.run import Run

_COMMIT_SECONDS = 2.0
"""So much later than the model's last word a killed server may still not have committed it."""

_NOTICED_SECONDS = 2.0
"""So late, at most, a server notices that a caller left, and the model that the server did."""

_LEASE_SECONDS = 8.0
"""A store that was away for longer than this may have let leases end: the shortest time that one has left."""

_ASKED_AGAIN_AFTER = frozenset({Ending.REFUSED, Ending.BROKE})
"""Endings before the first byte of a text, after which an attempt asks the model again."""

_FAILS_ITS_ATTEMPT = frozenset({Ending.CUT, Ending.STALLED})
_KILLS = frozenset({Kind.KILL_SERVER, Kind.KILL_WORKER})


def calls_are_explained(run: Run) -> Iterator[Violation]:
    """Every answer is what one call of the model wrote, and every other call has a reason."""
    for message in run.record.messages:
        stored = run.chat(message.id)
        if stored is not None:
            yield from _calls_of(stored, run.calls.get(message.id, []), run.record)
    for call in run.record.calls:
        if call.message not in run.messages:
            yield Violation("calls", call.message, f"call {call.number} asked about no message")


def _calls_of(stored: Stored, calls: Sequence[Call], record: Record) -> Iterator[Violation]:
    if stored.status == "answered" and committed_call(stored, calls) is None:
        yield Violation("invented", stored.message, f"no call wrote {stored.response!r}")
    if stored.status == "merged" and stored.response is not None:
        yield Violation("invented", stored.message, f"it is merged, and has the answer {stored.response!r}")
    begun = [call for call in calls if call.ending not in _ASKED_AGAIN_AFTER]
    if len(begun) > stored.attempts:
        yield Violation("calls", stored.message, f"{len(begun)} calls with a text, but {stored.attempts} attempts")
    for call in _unexplained(stored, calls, record):
        detail = f"nothing explains call {call.number} of {call.server}, which ended {call.ending}"
        yield Violation("calls", stored.message, detail)


def committed_call(chat: Stored, calls: Sequence[Call]) -> Call | None:
    """Return the whole call about this chat that wrote its answer, also one that a human overtook."""
    whole = [call for call in calls if call.ending is Ending.WHOLE and call.text == chat.response]
    return whole[0] if chat.response is not None and len(whole) == 1 else None


def _unexplained(chat: Stored, calls: Sequence[Call], record: Record) -> Iterator[Call]:
    """Yield the calls about a chat that neither made its answer nor failed, died or lost their caller.

    A server that gives a call up for another reason, such as its deadline, has counted a failure.
    """
    committed = committed_call(chat, calls)
    failures = chat.failures - sum(call.ending in _FAILS_ITS_ATTEMPT for call in calls)
    for call in calls:
        if call is committed or call.ending in PLANTED or _died(call, record) or _left(call, chat, record):
            continue
        if call.ending is Ending.GONE and failures > 0:
            failures -= 1
            continue
        yield call


def _died(call: Call, record: Record) -> bool:
    """Tell whether a fault ended the attempt before it could commit."""
    return any(_ended(call, fault) for fault in record.faults)


def _ended(call: Call, fault: Fault) -> bool:
    """Tell whether a server was killed, handed a job back at its end, or missed the store until its lease was over."""
    if fault.kind in _KILLS:
        return fault.target == call.server and call.began <= fault.at <= call.ended + _COMMIT_SECONDS
    if fault.kind is Kind.STOP_SERVER:
        return fault.target == call.server and call.ending is Ending.GONE and fault.at <= call.ended <= fault.back
    return fault.kind is Kind.KILL_STORE and _lease_ended(call, fault)


def _lease_ended(call: Call, fault: Fault) -> bool:
    overlap = fault.at < call.ended + _COMMIT_SECONDS and call.began < fault.back + _COMMIT_SECONDS
    return overlap and fault.back - fault.at > _LEASE_SECONDS


def _left(call: Call, chat: Stored, record: Record) -> bool:
    """Tell whether a caller of the conversation left the server meanwhile, or was told that it takes too long."""
    conversation = {message.id for message in record.messages if message.conversation == chat.conversation}
    server = call.server.split(".")[0]
    return any(
        one.message in conversation
        and one.server.split(".")[0] == server
        and (one.left or one.status == 504)
        and call.began <= one.ended <= call.ended + _NOTICED_SECONDS
        for one in record.deliveries
    )
