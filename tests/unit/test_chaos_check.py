"""The checker of chaos runs sees what it is there to see: each broken promise is planted in a sound record."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.chaos.check import check
from bench.chaos.records import Call, Delivery, Ending, Fault, Kind, Message, Pause, Post, Record, Stored


def _answer(number: int, message: str) -> str:
    return f"Answer {number} to {message}: ab12cd"


def _chat(stored: Stored) -> dict[str, str | None]:
    response = stored.response if stored.status == "answered" else None
    return {"_id": stored.id, "status": stored.status, "response": response, "merged_into": stored.merged_into}


def _got(stored: Stored, began: float, ended: float, server: str = "s1.1", **more: object) -> Delivery:
    sent = Delivery(stored.message, server, began, ended, 200, chat=_chat(stored))
    return replace(sent, **more)  # type: ignore[arg-type]


# c001 waits for its answers; the server of the second one was killed, another one took it over.
ONE = Stored("a1", "c001", "c001-00", "answered", _answer(0, "c001-00"), created=10.0, answered=11.0)
TWO = Stored("a2", "c001", "c001-01", "answered", _answer(2, "c001-01"), attempts=2, created=20.0, answered=40.0)
# c002 writes a burst of two; the first attempt was turned away, the second one cut, the third went well.
EARLY = Stored("b1", "c002", "c002-00", "merged", merged_into="b2", created=50.0)
LATE = Stored(
    "b2", "c002", "c002-01", "answered", _answer(5, "c002-01"), attempts=2, failures=1, created=50.5, answered=56.0
)
BETWEEN = Stored("b1x", "c002", "c002-02", "answered", _answer(9, "c002-02"), created=50.2, answered=55.0)
# c003 is called back.
CALLED = Stored(
    "d1",
    "c003",
    "c003-00",
    "answered",
    _answer(6, "c003-00"),
    created=60.0,
    answered=61.0,
    delivery="delivered",
    event_id="d1-1",
)
# c004 is handed over to a human after its first message, which was being answered.
OVERTAKEN = Stored("e1", "c004", "c004-00", "suppressed", _answer(7, "c004-00"), created=70.0)
HUMAN = Stored("e2", "c004", "c004-01", "inactive", created=75.0)
BACK = Stored("e3", "c004", "c004-02", "answered", _answer(8, "c004-02"), created=80.0, answered=81.0)

POST = Post(61.5, "d1-1", True, True, "chat.answered", {**_chat(CALLED), "message_id": "c003-00"})

SOUND = Record(
    messages=(
        Message("c001-00", "c001"),
        Message("c001-01", "c001"),
        Message("c002-00", "c002"),
        Message("c002-01", "c002"),
        Message("c003-00", "c003", callback=True),
        Message("c004-00", "c004"),
        Message("c004-01", "c004"),
        Message("c004-02", "c004"),
    ),
    deliveries=(
        _got(ONE, 10.0, 11.1, text=ONE.response),
        _got(ONE, 10.0, 11.2, "s2.1", replayed=True),
        Delivery("c001-01", "s1.1", 20.0, 21.5, code="lost: ReadError"),
        _got(TWO, 22.0, 40.1, "s2.1"),
        _got(EARLY, 50.0, 56.2),
        Delivery("c002-01", "s2.1", 50.5, 53.0, 502, code="stream_cut"),
        _got(LATE, 53.5, 56.1),
        Delivery("c003-00", "s1.2", 60.0, 60.1, 202, chat={**_chat(CALLED), "status": "received", "response": None}),
        _got(OVERTAKEN, 70.0, 72.0),
        _got(HUMAN, 75.0, 75.2),
        _got(BACK, 80.0, 81.1),
    ),
    calls=(
        Call(0, "s1.1", "c001-00", ("user:c001-00",), 10.1, 10.9, Ending.WHOLE, _answer(0, "c001-00")),
        Call(
            1, "s1.1", "c001-01",
            ("user:c001-00", f"assistant:{ONE.response}", "user:c001-01"), 20.1, 21.5, Ending.GONE, "Answer 1",
        ),
        Call(
            2, "s2.1", "c001-01",
            ("user:c001-00", f"assistant:{ONE.response}", "user:c001-01"), 38.0, 39.9, Ending.WHOLE, TWO.response or "",
        ),
        Call(3, "s2.1", "c002-01", ("user:c002-00", "user:c002-01"), 51.5, 51.6, Ending.REFUSED, ""),
        Call(4, "s2.1", "c002-01", ("user:c002-00", "user:c002-01"), 52.0, 53.0, Ending.CUT, "Answer 4"),
        Call(5, "s1.2", "c002-01", ("user:c002-00", "user:c002-01"), 54.0, 55.9, Ending.WHOLE, LATE.response or ""),
        Call(6, "s1.2", "c003-00", ("user:c003-00",), 60.2, 60.9, Ending.WHOLE, CALLED.response or ""),
        Call(7, "s1.2", "c004-00", ("user:c004-00",), 70.2, 71.9, Ending.WHOLE, OVERTAKEN.response or ""),
        Call(
            8, "s1.2", "c004-02",
            ("user:c004-00", "user:c004-01", "user:c004-02"), 80.1, 80.9, Ending.WHOLE, BACK.response or "",
        ),
    ),
    chats=(ONE, TWO, EARLY, LATE, CALLED, OVERTAKEN, HUMAN, BACK),
    posts=(replace(POST, at=61.2, taken=False), POST),
    faults=(Fault(Kind.KILL_SERVER, "s1.1", 21.4, 25.0), Fault(Kind.STOP_SERVER, "s2.1", 90.0, 95.0, 0)),
    pauses=(Pause("c004", 70.9, 71.0, 76.0, 76.1),),
)  # fmt: skip


def _chats(changed: Stored, record: Record = SOUND) -> Record:
    """Return the record with another state of one chat."""
    return replace(record, chats=[changed if chat.message == changed.message else chat for chat in record.chats])


def _deliveries(number: int, **changes: object) -> Record:
    deliveries = list(SOUND.deliveries)
    deliveries[number] = replace(deliveries[number], **changes)  # type: ignore[arg-type]
    return replace(SOUND, deliveries=deliveries)


def _calls(number: int, **changes: object) -> Record:
    calls = list(SOUND.calls)
    calls[number] = replace(calls[number], **changes)  # type: ignore[arg-type]
    return replace(SOUND, calls=calls)


def _more(**more: object) -> Record:
    """Return the record with another item in some of its parts."""
    return replace(SOUND, **{name: (*getattr(SOUND, name), item) for name, item in more.items()})


def _swapped() -> Record:
    """Return the record of two messages at once, of which the later one was answered first."""
    second = Stored("a0", "c001", "c001-02", "answered", _answer(9, "c001-02"), created=10.0, answered=12.0)
    before = ("user:c001-02", f"assistant:{second.response}")
    return replace(
        SOUND,
        messages=(*SOUND.messages, Message("c001-02", "c001")),
        chats=(*SOUND.chats, second),
        deliveries=(*SOUND.deliveries, _got(second, 10.0, 12.1)),
        calls=(
            SOUND.calls[0],
            *(replace(call, shown=(*before, *call.shown)) for call in SOUND.calls[1:3]),
            *SOUND.calls[3:],
            Call(9, "s1.1", "c001-02", ("user:c001-02",), 11.0, 11.9, Ending.WHOLE, second.response or ""),
        ),
    )


def _other(chat: Stored) -> dict[str, str | None]:
    return {**_chat(chat), "response": "Something else."}


PLANTED: dict[str, tuple[str, Callable[[], Record]]] = {
    "a message without a chat": ("lost", lambda: replace(SOUND, chats=[c for c in SOUND.chats if c is not TWO])),
    "a message that failed": ("lost", lambda: _chats(replace(LATE, status="failed", response=None))),
    "a message merged into nothing": ("lost", lambda: _chats(replace(EARLY, merged_into="b9"))),
    "a message merged into an earlier one": ("lost", lambda: _chats(replace(EARLY, id="b3"))),
    "a message that no caller had an end of": ("lost", lambda: _deliveries(3, status=None, chat=None)),
    "a message with two chats": ("doubled", lambda: _more(chats=replace(TWO, id="a3"))),
    "a chat that nobody sent": ("invented message", lambda: _more(chats=replace(TWO, id="a3", message="c009-00"))),
    "a chat still received": ("left over", lambda: _chats(replace(TWO, status="received", response=None))),
    "a delivery still pending": ("left over", lambda: _chats(replace(CALLED, delivery="pending"))),
    "two callers with different texts": ("unequal", lambda: _deliveries(1, chat=_other(ONE))),
    "two callers with different chats": ("unequal", lambda: _deliveries(1, chat={**_chat(ONE), "_id": "a9"})),
    "a stream of another text than its end": ("unequal", lambda: _deliveries(0, text="Something else.")),
    "a caller with an overtaken answer": ("unequal", lambda: _deliveries(8, chat=_other(OVERTAKEN))),
    "a callback's sender with another text": ("unequal", lambda: _deliveries(7, chat=_other(CALLED))),
    "two firsts": ("replay", lambda: _deliveries(1, replayed=False)),
    "a status that nobody promised": ("status", lambda: _deliveries(2, status=500)),
    "a caller that waited for ever": ("hung", lambda: _deliveries(2, code="hung")),
    "a stream without an end": ("hung", lambda: _deliveries(2, code="unended")),
    "an answer before an earlier one's": ("swapped", lambda: _chats(replace(TWO, answered=10.5))),
    "an answer beside an earlier one's": ("swapped", _swapped),
    "a burst around a message of another": ("swapped", lambda: _chats(replace(LATE, failures=0), _more(chats=BETWEEN))),
    "a message behind a later one": ("swapped", lambda: _chats(replace(TWO, id="a0"))),
    "a turn that the model was not shown": ("memory", lambda: _calls(2, shown=("user:c001-01",))),
    "a turn that it was shown twice": ("memory", lambda: _calls(5, shown=("user:c002-00", *SOUND.calls[5].shown))),
    "turns in another order": ("memory", lambda: _calls(5, shown=SOUND.calls[5].shown[::-1])),
    "an answer that nobody wrote": ("invented", lambda: _chats(replace(ONE, response="Something else."))),
    "an answer that was never whole": ("invented", lambda: _calls(0, ending=Ending.GONE)),
    "an answer to another message": ("invented", lambda: _calls(0, message="c001-01")),
    "an answer of a merged message": ("invented", lambda: _chats(replace(EARLY, response="Something else."))),
    "a second whole call": ("calls", lambda: _more(calls=replace(SOUND.calls[0], number=9, text="Again."))),
    "a second call that was dropped": (
        "calls",
        lambda: _more(calls=replace(SOUND.calls[0], number=9, ending=Ending.GONE, text="Ag")),
    ),
    "more calls than attempts": ("calls", lambda: _chats(replace(TWO, attempts=1))),
    "a call about nothing": ("calls", lambda: _more(calls=replace(SOUND.calls[0], number=9, message="c009-00"))),
    "a call whose server was killed long after": (
        "calls",
        lambda: replace(SOUND, faults=(Fault(Kind.KILL_SERVER, "s1.1", 24.0, 25.0), *SOUND.faults[1:])),
    ),
    "a forged webhook": ("webhook", lambda: _more(posts=replace(POST, genuine=False))),
    "a webhook with another text": (
        "webhook",
        lambda: _more(posts=replace(POST, chat={**POST.chat, "response": "No."})),
    ),
    "a webhook of another answer": ("webhook", lambda: _more(posts=replace(POST, event_id="d1-2"))),
    "a webhook that nobody took": ("webhook", lambda: replace(SOUND, posts=SOUND.posts[:1])),
    "a webhook that nobody asked for": (
        "webhook",
        lambda: _more(posts=replace(POST, event_id="a1-1", chat={**_chat(ONE), "message_id": "c001-00"})),
    ),
    "an answer while a human had it": (
        "handoff",
        lambda: _chats(replace(HUMAN, status="suppressed")),
    ),
    "an unanswered message without a human": ("lost", lambda: replace(SOUND, pauses=())),
    "a stop that dropped a caller": (
        "drain",
        lambda: _more(deliveries=Delivery("c001-00", "s2.1", 89.0, 90.2, code="lost: ReadError")),
    ),
    "a stop that failed": (
        "drain",
        lambda: replace(SOUND, faults=(SOUND.faults[0], replace(SOUND.faults[1], exit_code=1))),
    ),
}


def test_a_sound_record_has_no_violation() -> None:
    assert check(SOUND) == []


@pytest.mark.parametrize("planted", PLANTED)
def test_a_broken_promise_is_seen(planted: str) -> None:
    rule, record = PLANTED[planted]
    assert rule in {violation.rule for violation in check(record())}


def test_without_redis_two_messages_may_change_places() -> None:
    beside = _swapped()
    away = replace(beside, faults=(*beside.faults, Fault(Kind.KILL_REDIS, "redis", 9.5, 10.5)))
    assert {violation.rule for violation in check(beside)} == {"swapped", "memory"}
    assert check(away) == []


def test_a_message_that_failed_gives_up_its_place() -> None:
    retried = replace(ONE, attempts=2, failures=1, answered=45.0)
    calls = (
        replace(SOUND.calls[0], ending=Ending.CUT, text="Ans"),
        *(replace(call, shown=("user:c001-01",)) for call in SOUND.calls[1:3]),
        *SOUND.calls[3:],
        replace(SOUND.calls[0], number=9, began=44.0, ended=44.9),
    )
    record = replace(
        _chats(retried),
        calls=calls,
        deliveries=(
            Delivery("c001-00", "s1.1", 10.0, 11.1, 502, code="stream_cut"),
            _got(retried, 43.0, 45.1),
            *SOUND.deliveries[2:],
        ),
    )
    assert check(record) == []


def test_a_burst_that_failed_gives_up_its_place() -> None:
    later = Stored("b3", "c002", "c002-02", "answered", _answer(9, "c002-02"), created=52.0, answered=55.0)
    shown = ("user:c002-00", "user:c002-02")
    record = _more(
        messages=Message("c002-02", "c002"),
        chats=later,
        deliveries=_got(later, 52.0, 55.1),
        calls=Call(9, "s1.2", "c002-02", shown, 54.0, 54.9, Ending.WHOLE, later.response or ""),
    )
    assert check(record) == []
    unfailed = _chats(replace(LATE, attempts=3, failures=0), record)
    assert [violation.about for violation in check(unfailed) if violation.rule == "swapped"] == ["c002-00", "c002-01"]


def test_a_job_that_a_stopping_server_hands_back_explains_a_second_call() -> None:
    handed_back = replace(SOUND.calls[6], number=9, ending=Ending.GONE, text="Ans")
    record = replace(_more(calls=handed_back), chats=[*SOUND.chats[:4], replace(CALLED, attempts=2), *SOUND.chats[5:]])
    assert {violation.rule for violation in check(record)} == {"calls"}
    stop = Fault(Kind.STOP_SERVER, "s1.2", 60.5, 70.0, 0)
    assert check(replace(record, faults=(*record.faults, stop))) == []
    whole = replace(record, calls=[*SOUND.calls, replace(handed_back, ending=Ending.WHOLE)])
    assert {one.rule for one in check(replace(whole, faults=(*record.faults, stop)))} == {"calls"}


def test_a_store_that_was_away_for_a_lease_explains_a_second_call() -> None:
    again = _more(calls=replace(SOUND.calls[0], number=9, text="Again."))
    record = replace(again, chats=[replace(ONE, attempts=2), *SOUND.chats[1:]])
    assert {violation.rule for violation in check(record)} == {"calls"}
    long = replace(record, faults=(*record.faults, Fault(Kind.KILL_STORE, "store", 10.5, 25.0)))
    short = replace(record, faults=(*record.faults, Fault(Kind.KILL_STORE, "store", 10.5, 12.0)))
    assert check(long) == []
    assert {violation.rule for violation in check(short)} == {"calls"}
