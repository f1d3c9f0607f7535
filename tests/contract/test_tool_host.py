"""MCP servers behind the port, over every transport: servers of others, our sample, and one that keeps a record."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from models.tools import ToolServer, Transport
from services.providers.mcp_session import SessionTimes
from services.providers.mcp_tools import McpToolHost
from tests.emulators.mcp_servers import (
    Start,
    descendants,
    everything,
    listening_addresses,
    recorder,
    support_desk,
    time_server,
)

pytestmark = pytest.mark.filterwarnings("error")
SOON = 60.0

DESK = {
    "get_customer_info": ["customer_id"],
    "check_order_status": ["customer_id", "order_id"],
    "process_return": ["customer_id", "order_id", "reason"],
    "get_product_info": ["customer_id", "product_id"],
    "update_account_info": ["customer_id", "field", "value"],
    "cancel_order": ["customer_id", "order_id", "reason"],
    "schedule_callback": ["customer_id", "callback_time"],
}

_VICTIM = """
import sys, time
from models.deadline import Deadline
from models.tools import ToolServer, Transport
from services.providers.mcp_tools import McpToolHost

server = ToolServer("victim", Transport.STDIO, command=sys.argv[1], args=tuple(sys.argv[2:]), trusted=True)
McpToolHost().call(server, "say", {"text": "x", "times": 1}, 20, Deadline(60))
time.sleep(60)
"""

Record = Callable[[str], None]
"""Waits until a line is in the recorder's file."""


@pytest.fixture
def host() -> Iterator[McpToolHost]:
    """Give a host; afterwards nothing of it may be left."""
    before, children = set(threading.enumerate()), descendants_now()
    opened = McpToolHost(times=SessionTimes(opening=SOON))
    yield opened
    opened.close()
    assert [thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()] == []
    assert descendants_now() - children == set()


@pytest.fixture(params=list(Transport), ids=lambda transport: transport.value)
def transport(request: pytest.FixtureRequest) -> Transport:
    """Give each transport in turn."""
    chosen: Transport = request.param
    return chosen


def descendants_now() -> set[int]:
    """Return the processes below this one."""
    return descendants(threading.main_thread().native_id or 0)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def running_anywhere(argument: bytes) -> list[str]:
    """Return the processes of this machine that have something in their command lines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if argument in (process / "cmdline").read_bytes() and process.name != str(os.getpid()):
                found.append(process.name)
    return found


@contextlib.contextmanager
def recording(transport: Transport, folder: Path, *, old: bool = False) -> Iterator[tuple[ToolServer, Record, Path]]:
    """Run the recorder."""
    file = folder / "record"
    with recorder(transport, file, old=old) as running:
        yield running.server, lambda line: until(lambda: line in lines(file)), file


def lines(file: Path) -> list[str]:
    """Return what the recorder has written."""
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


class TestServersOfOthers:
    def test_everything_lists_and_answers(self, host: McpToolHost, transport: Transport) -> None:
        with everything(transport) as running:
            tools = {tool.name: tool for tool in host.tools(running.server, Deadline(SOON))}
            assert tools["get-sum"].parameters["required"] == ["a", "b"]
            summed = host.call(running.server, "get-sum", {"a": 2, "b": 40}, 20, Deadline(SOON))
            assert (summed.text, summed.failed) == ("The sum of 2 and 40 is 42.", False)

    def test_everything_listens_on_the_loopback_address_only(self) -> None:
        for transport in (Transport.SSE, Transport.STREAMABLE_HTTP):
            with everything(transport) as running:
                assert listening_addresses(running.pid) == {"127.0.0.1"}

    def test_what_is_wrong_comes_back_as_an_output_for_the_model(self, host: McpToolHost, transport: Transport) -> None:
        with everything(transport) as running:
            wrong = host.call(running.server, "get-sum", {"a": "two"}, 20, Deadline(SOON))
            unknown = host.call(running.server, "divide", {}, 20, Deadline(SOON))
        assert wrong.failed and "expected number" in wrong.text
        assert unknown.failed and "divide not found" in unknown.text

    def test_parts_that_are_no_text_are_named(self, host: McpToolHost) -> None:
        with everything(Transport.STREAMABLE_HTTP) as running:
            image = host.call(running.server, "get-tiny-image", {}, 20, Deadline(SOON))
            linked = host.call(running.server, "get-resource-links", {"count": 1}, 20, Deadline(SOON))
            held = host.call(
                running.server, "get-resource-reference", {"resourceType": "Blob", "resourceId": 1}, 20, Deadline(SOON)
            )
        assert "[image, image/png, 4033 bytes]" in image.text
        assert "[link to " in linked.text
        assert "[resource demo://resource/dynamic/blob/1, " in held.text

    def test_fifty_threads_share_a_session_and_each_gets_its_own_answer(
        self, host: McpToolHost, transport: Transport
    ) -> None:
        with everything(transport) as running, ThreadPoolExecutor(50) as threads:

            def ten(thread: int) -> list[str]:
                return [
                    host.call(running.server, "get-sum", {"a": thread, "b": call}, 30, Deadline(60)).text
                    for call in range(10)
                ]

            answers = list(threads.map(ten, range(50)))
            assert len(host._sessions) == 1
        expected = [
            [f"The sum of {thread} and {call} is {thread + call}." for call in range(10)] for thread in range(50)
        ]
        assert answers == expected

    @pytest.mark.parametrize("start", [everything, support_desk], ids=["everything", "support_desk"])
    def test_a_call_dies_with_the_server_and_the_next_one_works(
        self, host: McpToolHost, transport: Transport, start: Start, tmp_path: Path
    ) -> None:
        with start(transport) as running:
            tool, arguments = (
                ("echo", {"message": "hi"})
                if start is everything
                else ("get_product_info", {"customer_id": "C001", "product_id": "P001"})
            )
            host.call(running.server, tool, arguments, 20, Deadline(SOON))
            running.kill()
            if transport is not Transport.STREAMABLE_HTTP:  # which has no connection that could end
                until(lambda: all(session.over for session in host._sessions.values()))
            if transport is not Transport.STDIO:  # whose program is started by its user
                with pytest.raises(ProviderFailed, match="cannot be reached") as failed:
                    host.call(running.server, tool, arguments, 20, Deadline(SOON))
                assert failed.value.code == "tool_server_failed"
                running.start()
            assert not host.call(running.server, tool, arguments, 20, Deadline(SOON)).failed

    @pytest.mark.parametrize("start", [everything, support_desk], ids=["everything", "support_desk"])
    def test_nobody_notices_a_server_that_was_started_again(
        self, host: McpToolHost, transport: Transport, start: Start
    ) -> None:
        tool = "echo" if start is everything else "get_customer_info"
        arguments = {"message": "hi", "customer_id": "C001"}
        with start(transport) as running:
            assert not host.call(running.server, tool, arguments, 20, Deadline(SOON)).failed
            running.kill()
            if transport is not Transport.STREAMABLE_HTTP:
                until(lambda: all(session.over for session in host._sessions.values()))
            running.start()
            assert not host.call(running.server, tool, arguments, 20, Deadline(SOON)).failed

    def test_a_call_that_is_under_way_fails_clearly_when_the_server_is_killed(
        self, host: McpToolHost, transport: Transport
    ) -> None:
        with everything(transport) as running, ThreadPoolExecutor(1) as thread:
            host.tools(running.server, Deadline(SOON))
            slow = {"duration": 30, "steps": 30}
            call = thread.submit(host.call, running.server, "trigger-long-running-operation", slow, 40, Deadline(60))
            until(lambda: any(session.busy for session in host._sessions.values()))
            time.sleep(0.3)
            running.kill()
            lost = call.result(SOON)
            assert lost.failed and "Whether the call took effect is not known" in lost.text
            running.start()
            assert host.call(running.server, "echo", {"message": "again"}, 20, Deadline(SOON)).text == "Echo: again"

    def test_the_time_of_another_project_over_each_transport(self, host: McpToolHost, transport: Transport) -> None:
        with time_server(transport) as running:
            names = [tool.name for tool in host.tools(running.server, Deadline(SOON))]
            there = host.call(
                running.server,
                "convert_time",
                {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
                10,
                Deadline(SOON),
            )
            nowhere = host.call(running.server, "get_current_time", {"timezone": "Nowhere/No"}, 20, Deadline(SOON))
        assert names == ["get_current_time", "convert_time"]
        assert '"time_difference": "+9.0h"' in there.text and not there.failed
        assert nowhere.failed


class TestSupportDesk:
    def test_the_seven_tools_take_texts_that_are_all_required(self, host: McpToolHost, transport: Transport) -> None:
        with support_desk(transport) as running:
            tools = host.tools(running.server, Deadline(SOON))
        assert {tool.name: tool.parameters["required"] for tool in tools} == DESK
        assert all(tool.parameters["type"] == "object" and tool.description for tool in tools)
        kinds = {kind["type"] for tool in tools for kind in tool.parameters["properties"].values()}
        assert kinds == {"string"}

    @pytest.mark.parametrize(
        ("tool", "arguments", "text"),
        [
            (
                "get_customer_info",
                {"customer_id": "C001"},
                '{"customer_id": "C001", "membership_level": "Gold", "account_status": "Active"}',
            ),
            ("get_customer_info", {"customer_id": "C9"}, "Customer with ID C9 not found."),
            (
                "process_return",
                {"customer_id": "C001", "order_id": "O1", "reason": "too small"},
                "Return for order O1 initiated by customer C001. Reason: too small. "
                "Please expect a refund within 5-7 business days.",
            ),
            (
                "get_product_info",
                {"customer_id": "C001", "product_id": "P002"},
                'Product information for customer C001: {"name": "Smart Watch", "price": 199.99, "stock": 30}',
            ),
            (
                "get_product_info",
                {"customer_id": "C001", "product_id": "P9"},
                "Product information for customer C001: Product not found",
            ),
            (
                "update_account_info",
                {"customer_id": "C001", "field": "email", "value": "a@b.c"},
                "Account information updated for customer C001. Email changed to: a@b.c",
            ),
        ],
    )
    def test_answers(
        self, desk: tuple[McpToolHost, ToolServer], tool: str, arguments: dict[str, str], text: str
    ) -> None:
        host, server = desk
        assert host.call(server, tool, arguments, 20, Deadline(SOON)).text == text

    @pytest.mark.parametrize(
        ("tool", "arguments", "text"),
        [
            ("check_order_status", {"order_id": "O1"}, "Order O1 status for customer C001: In Transit"),
            (
                "cancel_order",
                {"order_id": "O1", "reason": "<b>late</b>"},
                "Order O1 for customer C001 has been cancelled. Reason: <b>late</b>. "
                "A confirmation email has been sent.",
            ),
            (
                "schedule_callback",
                {"callback_time": "2026-12-01T10:00:00Z"},
                "Callback scheduled for customer C001 at 2026-12-01T10:00:00Z. A representative will contact you then.",
            ),
        ],
    )
    def test_answers_with_a_card(
        self, desk: tuple[McpToolHost, ToolServer], tool: str, arguments: dict[str, str], text: str
    ) -> None:
        host, server = desk
        card, _, said = host.call(
            server, tool, {"customer_id": "C001", **arguments}, 20, Deadline(SOON)
        ).text.partition("\n")
        assert card.startswith("<section><h3>") and card.endswith("</table></section>")
        assert "<td>C001</td>" in card and "<b>" not in card
        assert said == text

    @pytest.fixture
    def desk(self) -> Iterator[tuple[McpToolHost, ToolServer]]:
        """Give a host and the running sample."""
        opened = McpToolHost()
        with support_desk(Transport.STDIO) as running:
            yield opened, running.server
            opened.close()


@pytest.mark.parametrize(
    ("transport", "old"),
    [*((transport, False) for transport in Transport), (Transport.STREAMABLE_HTTP, True)],  # differs in cancelling
    ids=[*Transport, "streamable_http_of_2025"],
)
class TestCancelling:
    def test_a_cancelled_deadline_ends_the_call_at_once_and_the_server_hears_of_it(
        self, host: McpToolHost, transport: Transport, tmp_path: Path, old: bool
    ) -> None:
        with recording(transport, tmp_path, old=old) as (server, wait_for, _), ThreadPoolExecutor(2) as threads:
            assert host.tools(server, Deadline(SOON)), "the session is there"
            deadline = Deadline(SOON)
            call = threads.submit(host.call, server, "sleep", {"name": "a"}, 30, deadline)
            other = threads.submit(host.call, server, "sleep", {"name": "b"}, 30, Deadline(8))
            wait_for("begun a")
            wait_for("begun b")
            began = time.monotonic()
            deadline.cancel()
            with pytest.raises(CallCancelled):
                call.result(30)
            assert time.monotonic() - began < 5
            wait_for("cancelled a")
            assert not other.done(), "the other call of the session goes on"
            assert host.call(server, "say", {"text": "x", "times": 3}, 20, Deadline(SOON)).text == "xxx"
            with pytest.raises(DeadlineExceeded):
                other.result(SOON)
            wait_for("cancelled b")
            assert len(host._sessions) == 1

    def test_a_call_that_takes_too_long_is_a_failed_output_and_the_server_hears_of_it(
        self, host: McpToolHost, transport: Transport, tmp_path: Path, old: bool
    ) -> None:
        with recording(transport, tmp_path, old=old) as (server, wait_for, _):
            late = host.call(server, "sleep", {"name": "c"}, 0.5, Deadline(SOON))
            assert late.failed and late.text.startswith("The call timed out after 0.5 s.")
            wait_for("cancelled c")
            assert not host.call(server, "say", {"text": "x", "times": 1}, 20, Deadline(SOON)).failed

    def test_new_tools_are_seen_when_the_server_says_so(
        self, host: McpToolHost, transport: Transport, tmp_path: Path, old: bool
    ) -> None:
        with recording(transport, tmp_path, old=old) as (server, _, _file):
            names = {tool.name for tool in host.tools(server, Deadline(SOON))}
            host.call(server, "learn", {"name": "sing"}, 20, Deadline(SOON))
            until(lambda: {tool.name for tool in host.tools(server, Deadline(SOON))} == names | {"sing"})


class TestBounds:
    def test_a_huge_output_is_cut_and_says_how_much_is_missing(
        self, host: McpToolHost, transport: Transport, tmp_path: Path
    ) -> None:
        with recording(transport, tmp_path) as (server, _, _file):
            long = host.call(server, "say", {"text": "abcde", "times": 10_000}, 20, Deadline(SOON))
        assert long.text == "abcde" * 4000 + "\n[30000 more characters were cut off]"

    def test_an_answer_beyond_all_measure_is_not_read_and_the_next_call_works(
        self, host: McpToolHost, transport: Transport, tmp_path: Path
    ) -> None:
        with recording(transport, tmp_path) as (server, _, _file):
            flood = host.call(server, "say", {"text": "x" * 1000, "times": 20_000}, 20, Deadline(SOON))
            assert flood.failed and len(flood.text) < 500
            assert host.call(server, "say", {"text": "x", "times": 2}, 20, Deadline(SOON)).text == "xx"

    def test_a_server_that_stands_still_keeps_nobody_waiting(
        self, host: McpToolHost, transport: Transport, tmp_path: Path
    ) -> None:
        with recording(transport, tmp_path) as (server, wait_for, _):
            assert host.call(server, "freeze", {}, 0.5, Deadline(SOON)).failed
            wait_for("frozen")
            began = time.monotonic()
            assert host.call(server, "say", {"text": "x", "times": 2}, 0.5, Deadline(SOON)).failed
            with pytest.raises(DeadlineExceeded):
                host.call(server, "say", {"text": "x", "times": 2}, 30, Deadline(0.5))
            assert time.monotonic() - began < 12

    def test_a_session_that_left_many_calls_unanswered_is_replaced(self, host: McpToolHost, tmp_path: Path) -> None:
        with recording(Transport.STDIO, tmp_path) as (server, _, file), ThreadPoolExecutor(20) as threads:
            list(threads.map(lambda n: host.call(server, "sleep", {"name": str(n)}, 0.3, Deadline(SOON)), range(20)))

            def started_again() -> bool:
                assert host.call(server, "say", {"text": "x", "times": 2}, 20, Deadline(SOON)).text == "xx"
                return len([line for line in lines(file) if line.startswith("started")]) == 2

            until(started_again)

    def test_the_session_that_was_not_used_for_longest_makes_room(self, tmp_path: Path) -> None:
        small = McpToolHost(most=2)
        with contextlib.ExitStack() as running:
            running.callback(small.close)
            servers = []
            for name in "abc":
                (tmp_path / name).mkdir()
                servers.append(running.enter_context(recording(Transport.STDIO, tmp_path / name))[0])
                small.call(servers[-1], "say", {"text": name, "times": 1}, 20, Deadline(SOON))
            assert set(small._sessions) == set(servers[1:])
            assert small.call(servers[0], "say", {"text": "a", "times": 1}, 20, Deadline(SOON)).text == "a"

    def test_strangers_servers_that_hang_leave_room_for_the_operators_own(self, tmp_path: Path) -> None:
        host = McpToolHost(most=4)
        with contextlib.ExitStack() as running:
            servers = []
            for number in range(4):
                (tmp_path / str(number)).mkdir()
                server, wait_for, _ = running.enter_context(recording(Transport.STDIO, tmp_path / str(number)))
                servers.append((replace(server, trusted=number == 3), wait_for))
            threads = running.enter_context(ThreadPoolExecutor(2))
            running.callback(host.close)
            for server, wait_for in servers[:2]:
                threads.submit(host.call, server, "sleep", {"name": "a"}, 30, Deadline(SOON))
                wait_for("begun a")
            with pytest.raises(ProviderFailed):
                host.call(servers[2][0], "say", {"text": "x", "times": 1}, 20, Deadline(SOON))
            assert host.call(servers[3][0], "say", {"text": "x", "times": 1}, 20, Deadline(SOON)).text == "x"


class TestTimes:
    def test_a_session_that_nobody_uses_ends_and_the_next_call_has_a_new_one(self, tmp_path: Path) -> None:
        host = McpToolHost(times=SessionTimes(idle=3))
        with recording(Transport.STDIO, tmp_path) as (server, wait_for, file), contextlib.closing(host):
            host.call(server, "say", {"text": "x", "times": 1}, 20, Deadline(SOON))
            with ThreadPoolExecutor(1) as thread:
                long = thread.submit(host.call, server, "sleep", {"name": "a"}, 5, Deadline(SOON))
                wait_for("begun a")
                program = Path("/proc", lines(file)[0].removeprefix("started "))
                long.result(SOON)
            assert program.exists(), "a session with a call under way is in use"
            until(lambda: not program.exists())
            host.call(server, "say", {"text": "x", "times": 1}, 20, Deadline(SOON))
            assert len([line for line in lines(file) if line.startswith("started")]) == 2

    def test_what_a_server_offers_is_asked_again_after_a_while(self, tmp_path: Path) -> None:
        for listed, calls in ((600.0, 1), (0.0, 3)):
            file = tmp_path / str(calls)
            host = McpToolHost(times=SessionTimes(listed=listed))
            with recorder(Transport.STDIO, file) as running, contextlib.closing(host):
                for _ in range(3):
                    host.tools(running.server, Deadline(SOON))
            assert lines(file).count("listed") == calls


class TestPrograms:
    def test_a_program_sees_none_of_our_variables(
        self, host: McpToolHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JWT_SECRET_KEY", "s" * 40)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        with recorder(Transport.STDIO, tmp_path / "record") as running:
            server = ToolServer(**{**vars(running.server), "env": (("DESK_TOKEN", "for the desk"),)})
            seen = host.call(server, "environment", {}, 20, Deadline(SOON)).text
        names = {line.partition("=")[0] for line in seen.splitlines()}
        assert "DESK_TOKEN=for the desk" in seen
        assert names <= {"DESK_TOKEN", "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LC_CTYPE", "PWD"}

    def test_a_program_that_dies_in_a_call_is_started_again_for_the_next(
        self, host: McpToolHost, tmp_path: Path
    ) -> None:
        with recording(Transport.STDIO, tmp_path) as (server, _, file):
            dead = host.call(server, "die", {}, 20, Deadline(SOON))
            assert dead.failed and "Whether the call took effect is not known" in dead.text
            assert host.call(server, "say", {"text": "x", "times": 2}, 20, Deadline(SOON)).text == "xx"
            assert lines(file).count("dying") == 1, "the call was not made again"

    def test_a_program_ends_when_we_are_killed(self, tmp_path: Path) -> None:
        with recorder(Transport.STDIO, tmp_path / "record") as running:
            victim = subprocess.Popen(
                [sys.executable, "-c", _VICTIM, running.server.command, *running.server.args],
                cwd=Path(__file__).parent.parent.parent,
            )
            until(lambda: "said" in lines(tmp_path / "record"))
            program = Path("/proc", lines(tmp_path / "record")[0].removeprefix("started "))
            assert program.exists()
            victim.kill()
            victim.wait()
            until(lambda: not program.exists() or "zombie" in (program / "status").read_text())

    @pytest.mark.parametrize(
        "script",
        [
            "trap '' TERM; while :; do sleep {0}; done",
            "sleep {0} & exit 0",
            "sleep {0} & while :; do sleep 1; done",
        ],
        ids=["stubborn", "left_behind", "with_a_child"],
    )
    def test_programs_are_ended_with_all_that_they_started(self, script: str) -> None:
        mark = f"61.{time.monotonic_ns()}"
        host = McpToolHost(times=SessionTimes(opening=0.5))
        server = ToolServer("odd", Transport.STDIO, command="/bin/sh", args=("-c", script.format(mark)), trusted=True)
        with contextlib.closing(host), pytest.raises(ProviderFailed):
            host.tools(server, Deadline(SOON))
        until(lambda: running_anywhere(mark.encode()) == [])

    @pytest.mark.parametrize("command", [("/nowhere/at/all",), ("/bin/true",), ("/bin/echo", "hello")])
    def test_a_program_that_is_none_is_said_so(self, host: McpToolHost, command: tuple[str, ...]) -> None:
        server = ToolServer("desk", Transport.STDIO, command=command[0], args=command[1:], trusted=True)
        with pytest.raises(ProviderFailed, match="desk could not be started") as failed:
            host.tools(server, Deadline(SOON))
        assert failed.value.code == "tool_server_failed"

    def test_an_endless_line_is_not_kept(self, host: McpToolHost) -> None:
        server = ToolServer("flood", Transport.STDIO, command="/bin/cat", args=("/dev/zero",), trusted=True)
        with pytest.raises(ProviderFailed, match="flood sent more at once than is read"):
            host.tools(server, Deadline(SOON))

    def test_a_silent_program_is_not_waited_for_without_end(self) -> None:
        host = McpToolHost(times=SessionTimes(opening=1))
        server = ToolServer("silent", Transport.STDIO, command="/bin/sleep", args=("60",), trusted=True)
        with contextlib.closing(host), pytest.raises(ProviderFailed, match="silent did not answer in time"):
            host.tools(server, Deadline(60))


def test_closing_ends_calls_that_are_under_way(tmp_path: Path, transport: Transport) -> None:
    host = McpToolHost()
    with recording(transport, tmp_path) as (server, wait_for, _), ThreadPoolExecutor(1) as thread:
        call = thread.submit(host.call, server, "sleep", {"name": "a"}, 50, Deadline(60))
        wait_for("begun a")
        host.close()
        try:
            assert call.result(SOON).failed
        except ProviderFailed as error:
            assert error.code == "tool_server_failed"
        with pytest.raises(ProviderFailed, match="this server stops"):
            host.tools(server, Deadline(SOON))


def test_a_host_that_was_never_used_closes_too() -> None:
    host = McpToolHost()
    host.close()
    host.close()
