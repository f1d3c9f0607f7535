"""The registry of threads and leftovers, against the embedded server and against one over TCP."""

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import Unavailable
from models.ids import new_id
from models.threads import Leftover, LeftoverKind, Thread
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from services.ports import ThreadRegistry

_BUSY = 0.5
_PATIENCE = 2.0


@pytest.fixture
def threads(database: RedisDatabase) -> ThreadRegistry:
    """Give a registry whose conversations are not in use for long, of a store of its own."""
    return RedisThreads(database, new_id(), busy_seconds=_BUSY, patience_seconds=_PATIENCE)


@pytest.fixture
def ours() -> tuple[str, str]:
    """Give the ids of an assistant and of a conversation."""
    return new_id(), new_id()


def _settle(threads: ThreadRegistry, assistant: str, conversation: str, name: str) -> None:
    threads.take(assistant, conversation, "before")
    assert threads.keep(assistant, conversation, "before", Thread(name, ("t1",), settled=True))


def _claimed(threads: ThreadRegistry, assistant: str) -> list[str]:
    return sorted(one.id for one in threads.claim(assistant, 1000, 60))


def _conversation(name: str) -> Leftover:
    return Leftover(LeftoverKind.CONVERSATION, name)


def _response(name: str) -> Leftover:
    return Leftover(LeftoverKind.RESPONSE, name)


# Threads


def test_a_thread_is_kept_by_the_attempt_that_took_it(threads: ThreadRegistry, ours: tuple[str, str]) -> None:
    assert threads.take(*ours, "a1") == Thread()
    one = Thread("conv_1", ("t1", "t2"), settled=True, context="é 中")
    assert threads.keep(*ours, "a1", one)
    assert threads.keep(*ours, "a1", one), "sent twice, as the driver does when the connection breaks"
    assert threads.take(*ours, "a2") == one


def test_a_thread_that_was_taken_and_not_kept_is_not_settled(threads: ThreadRegistry, ours: tuple[str, str]) -> None:
    one = Thread("conv_1", (), settled=True)
    threads.take(*ours, "a1")
    threads.keep(*ours, "a1", one)
    threads.take(*ours, "a2")
    assert threads.take(*ours, "a3") == dataclasses.replace(one, settled=False)


def test_of_two_attempts_the_last_one_that_took_a_thread_keeps_it(
    threads: ThreadRegistry, ours: tuple[str, str]
) -> None:
    threads.take(*ours, "slow")
    threads.take(*ours, "quick")
    assert not threads.keep(*ours, "slow", Thread("conv_slow", ("t1",), settled=True))
    assert threads.keep(*ours, "quick", Thread("conv_quick", ("t1",), settled=True))
    assert not threads.keep(*ours, "slow", Thread("conv_slow", ("t1",), settled=True))
    assert threads.take(*ours, "next").id == "conv_quick"


def test_of_many_simultaneous_takers_one_finds_a_thread_settled(threads: ThreadRegistry, ours: tuple[str, str]) -> None:
    _settle(threads, *ours, "conv_1")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda number: threads.take(*ours, f"a{number}"), range(16)))
    assert [thread.settled for thread in taken].count(True) == 1


def test_what_is_replaced_is_to_be_deleted_once_it_cannot_be_in_use(
    threads: ThreadRegistry, ours: tuple[str, str]
) -> None:
    _settle(threads, *ours, "conv_1")
    threads.take(*ours, "a1")
    threads.keep(*ours, "a1", Thread("conv_2"))
    threads.keep(*ours, "a1", Thread("conv_2", ("t1",), settled=True))
    assert _claimed(threads, ours[0]) == []
    time.sleep(_BUSY)
    assert _claimed(threads, ours[0]) == ["conv_1"]


# The end of threads


def test_a_forgotten_thread_is_to_be_deleted_and_not_kept_any_more(
    threads: ThreadRegistry, ours: tuple[str, str]
) -> None:
    assistant, conversation = ours
    other = new_id()
    _settle(threads, *ours, "conv_1")
    _settle(threads, assistant, other, "conv_other")
    threads.forget(*ours)
    threads.forget(*ours)
    assert not threads.keep(*ours, "before", Thread("conv_late", ("t1",), settled=True))
    assert threads.take(assistant, other, "a2").settled
    assert threads.claim(assistant, 10, 60) == [_conversation("conv_1")]
    assert threads.take(assistant, conversation, "late") == Thread()
    assert not threads.keep(assistant, conversation, "late", Thread("conv_late"))


def test_a_conversation_that_is_in_use_when_it_is_forgotten_is_deleted_later(
    threads: ThreadRegistry, ours: tuple[str, str]
) -> None:
    _settle(threads, *ours, "conv_1")
    threads.take(*ours, "in use")
    threads.forget(*ours)
    assert _claimed(threads, ours[0]) == []
    time.sleep(_BUSY)
    assert _claimed(threads, ours[0]) == ["conv_1"]


def test_all_threads_of_an_assistant_are_flushed_and_begin_anew(threads: ThreadRegistry) -> None:
    assistant, other = new_id(), new_id()
    conversations = [new_id() for _ in range(250)]
    for number, one in enumerate(conversations):
        _settle(threads, assistant, one, f"conv_{number}")
    threads.take(assistant, conversations[0], "in use")
    _settle(threads, other, conversations[0], "conv_other")
    assert threads.flush(assistant) == 250
    assert threads.flush(assistant) == 0
    assert threads.take(other, conversations[0], "look").settled
    assert not threads.keep(assistant, conversations[0], "in use", Thread("conv_0", ("t1",), settled=True))
    _settle(threads, assistant, conversations[1], "conv_new")
    gone: list[str] = []
    while claimed := threads.claim(assistant, 20, 60):
        gone += [one.id for one in claimed]
    assert sorted(gone) == sorted(f"conv_{number}" for number in range(1, 250))
    time.sleep(_BUSY)
    assert _claimed(threads, assistant) == ["conv_0"]
    assert threads.take(assistant, conversations[1], "look").id == "conv_new"


def test_two_flushes_before_a_job_lose_nothing(threads: ThreadRegistry, ours: tuple[str, str]) -> None:
    for name in ("conv_1", "conv_2"):
        _settle(threads, *ours, name)
        assert threads.flush(ours[0]) == 1
    assert sorted([*_claimed(threads, ours[0]), *_claimed(threads, ours[0])]) == ["conv_1", "conv_2"]


def test_an_assistant_that_is_gone_gets_no_thread_for_a_while(threads: ThreadRegistry, ours: tuple[str, str]) -> None:
    _settle(threads, *ours, "conv_1")
    assert threads.flush(ours[0], gone=True) == 1
    assert threads.take(*ours, "late") == Thread()
    assert not threads.keep(*ours, "late", Thread("conv_late"))
    assert _claimed(threads, ours[0]) == ["conv_1"]
    time.sleep(_BUSY)
    threads.take(*ours, "a")
    assert threads.keep(*ours, "a", Thread("conv_2")), "the mark has ended, or marks would add up"


# Leftovers


def test_a_leftover_is_given_to_one_until_its_time_is_over(threads: ThreadRegistry) -> None:
    assistant = new_id()
    one, two = _conversation("conv_1"), _response("resp_2")
    threads.leave(assistant, [one, two])
    threads.leave(assistant, [one])
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: tuple(threads.claim(assistant, 1, 2.0)), range(8)))
    assert sorted(claimed, key=len)[-2:] in ([(one,), (two,)], [(two,), (one,)])
    assert sum(map(len, claimed)) == 2
    time.sleep(2.0)
    assert len(threads.claim(assistant, 10, 60)) == 2, "whoever had them has died"


def test_a_leftover_that_is_put_back_is_due_again_and_one_that_is_gone_is_not(threads: ThreadRegistry) -> None:
    assistant = new_id()
    one, two = _conversation("conv:with:colons"), _response("resp_2")
    threads.leave(assistant, [one, two])
    claimed = threads.claim(assistant, 10, 60)
    assert set(claimed) == {one, two}
    threads.deleted(assistant, [two])
    threads.put_back(assistant, claimed)
    time.sleep(1.1)
    assert threads.claim(assistant, 10, 60) == [one]


def test_thousands_of_leftovers_are_noted(threads: ThreadRegistry) -> None:
    assistant = new_id()
    threads.leave(assistant, (_response(f"resp_{number}") for number in range(1200)))
    threads.leave(assistant, ())
    assert len(threads.claim(assistant, 2000, 60)) == 1200


def test_assistants_with_leftovers_are_named_when_these_are_due(threads: ThreadRegistry) -> None:
    now, later, flushed = new_id(), new_id(), new_id()
    threads.leave(now, [_response("resp_1")])
    threads.leave(later, [_response("resp_2")], in_use=True)
    _settle(threads, flushed, new_id(), "conv_1")
    threads.flush(flushed)
    assert set(threads.due(10)) == {now, flushed}
    assert threads.due(10) == []
    time.sleep(_PATIENCE)
    assert set(threads.due(10)) == {now, later, flushed}, "again, for their jobs may be lost"


def test_an_assistant_without_leftovers_is_not_named(threads: ThreadRegistry) -> None:
    done, empty, half = new_id(), new_id(), new_id()
    threads.leave(done, [_response("resp_1")])
    threads.leave(half, [_response("resp_1"), _response("resp_2")])
    threads.take(empty, new_id(), "never kept")
    threads.flush(empty)
    for assistant in (done, empty, half):
        threads.deleted(assistant, threads.claim(assistant, 1, 0.1))
    threads.claim(empty, 1, 0.1)
    time.sleep(0.1)
    assert threads.due(10) == [half]


def test_an_assistant_whose_threads_were_flushed_meanwhile_is_named_though_its_leftovers_are_gone(
    threads: ThreadRegistry,
) -> None:
    assistant = new_id()
    threads.leave(assistant, [_response("resp_1")])
    claimed = threads.claim(assistant, 1, 60)
    _settle(threads, assistant, new_id(), "conv_1")
    threads.flush(assistant)
    threads.deleted(assistant, claimed)
    assert threads.due(10) == [assistant]
    assert _claimed(threads, assistant) == ["conv_1"]


def test_what_could_not_be_deleted_is_named_when_its_job_has_given_up(threads: ThreadRegistry) -> None:
    assistant = new_id()
    threads.leave(assistant, [_response("resp_1")])
    threads.put_back(assistant, threads.claim(assistant, 1, 60))
    assert threads.due(10) == []
    time.sleep(_PATIENCE)
    assert threads.due(10) == [assistant]


def test_stores_that_share_a_redis_do_not_name_each_others_assistants(database: RedisDatabase) -> None:
    one, other = RedisThreads(database, new_id()), RedisThreads(database, new_id())
    assistant = new_id()
    one.leave(assistant, [_response("resp_1")])
    assert other.due(10) == []
    assert one.due(10) == [assistant]


# Without a server


@pytest.mark.parametrize(
    "use",
    [
        lambda threads: threads.take("a", "c", "x"),
        lambda threads: threads.keep("a", "c", "x", Thread()),
        lambda threads: threads.forget("a", "c"),
        lambda threads: threads.flush("a"),
        lambda threads: threads.leave("a", [_response("r")]),
        lambda threads: threads.claim("a", 1, 1),
        lambda threads: threads.deleted("a", []),
        lambda threads: threads.put_back("a", []),
        lambda threads: threads.due(1),
    ],
    ids=["take", "keep", "forget", "flush", "leave", "claim", "deleted", "put_back", "due"],
)
def test_without_a_server_everything_is_unavailable(use: Callable[[ThreadRegistry], object]) -> None:
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as nowhere:
        with pytest.raises(Unavailable) as raised:
            use(RedisThreads(nowhere))
    assert raised.value.code == "redis_unavailable"


def test_an_embedded_server_that_is_killed_has_threads_and_leftovers_still(tmp_path: Path) -> None:
    assistant, conversation = new_id(), new_id()
    with EmbeddedRedis(tmp_path) as server, contextlib.closing(RedisDatabase(server.url)) as database:
        threads = RedisThreads(database)
        _settle(threads, assistant, conversation, "conv_1")
        threads.leave(assistant, [_response("resp_1")])
        time.sleep(1.2)  # its file is written once a second
        os.kill(database.client.info("server")["process_id"], signal.SIGKILL)
        assert threads.take(assistant, conversation, "a") == Thread("conv_1", ("t1",), settled=True)
        assert threads.claim(assistant, 1, 60) == [_response("resp_1")]
