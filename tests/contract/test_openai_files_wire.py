"""Files and vector stores against exact replies: requests, paging, what is sent again. Not an independent witness."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, NotFound, OrquestraError, ProviderFailed
from models.hosting import FoundFile, HostedFile
from services.providers.openai_chat import build_client
from services.providers.openai_files import OpenAIFiles
from tests.contract.hosted import KEY
from tests.emulators.openai_wire import Action, Reply, WireServer, document, wire
from tests.emulators.response_wire import refusal

_FILE = HostedFile(7, "doc_1", "policy.md", "b", "file-1")
_DONE = document(200, {"id": "x", "deleted": True})
_MADE = document(200, {"id": "made-1"})
_EMPTY = document(200, {"object": "list", "data": [], "has_more": False})
_BUSY = document(503, {"error": {"message": "busy"}}, Retry_After="0.01")
_LOST: Reply = [Action.CLOSE]
_CUT: Reply = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Action.CLOSE]
_NO_ROUTE = document(404, {"detail": "Not Found"})

_Ask = Callable[[OpenAIFiles, Deadline], object]


@dataclass(frozen=True)
class _Peer:
    server: WireServer
    files: OpenAIFiles

    def asked(self) -> list[str]:
        return [f"{one.method} {one.path.removeprefix('/v1/')}" for one in self.server.requests]


@contextlib.contextmanager
def _scripted(*replies: Reply) -> Iterator[_Peer]:
    with wire(*replies) as server, contextlib.closing(build_client(KEY, server.base_url, 8)) as client:
        yield _Peer(server, OpenAIFiles(client))
        assert not server.replies, "a reply was not asked for"


def _file(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "object": "vector_store.file", "status": "completed", "last_error": None, **fields}


def _list(*objects: dict[str, Any], more: bool = False) -> Reply:
    return document(200, {"object": "list", "data": list(objects), "has_more": more})


def _failure(ask: _Ask, *replies: Reply, seconds: float = 5) -> OrquestraError:
    with _scripted(*replies) as peer, pytest.raises(OrquestraError) as failure:
        ask(peer.files, Deadline(seconds))
    return failure.value


def test_an_upload_is_a_file_of_markdown_to_be_searched() -> None:
    with _scripted(_MADE) as peer:
        assert peer.files.upload('pol"í\r\n.a.b.md', "Olá 😀".encode(), Deadline(5)) == "made-1"
    (request,) = peer.server.requests
    assert peer.asked() == ["POST files"]
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    purpose, file, _ = request.content.split(b"--" + request.headers["content-type"].split("=")[1].encode())[1:]
    assert purpose == b'\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
    head, content = file.split(b"\r\n\r\n")
    name = 'filename="pol%22í%0D%0A.a.b.md"'.encode()
    assert sorted(head.strip().split(b"\r\n")) == [
        b'Content-Disposition: form-data; name="file"; ' + name, b"Content-Type: text/markdown",
    ]  # fmt: skip
    assert content == "Olá 😀\r\n".encode()


def test_a_store_has_a_name() -> None:
    with _scripted(_MADE) as peer:
        assert peer.files.create_store("orquestra-a", Deadline(5)) == "made-1"
        assert (peer.asked(), peer.server.requests[0].body) == (["POST vector_stores"], {"name": "orquestra-a"})


def test_a_file_is_attached_with_our_number_and_document() -> None:
    attributes = {"number": 7.0, "document": "doc_1"}
    absent = refusal(404, "No file found with id 'file-1' in vector store 'vs_1'.")
    held = document(200, _file("file-1", status="in_progress", attributes=attributes))
    with _scripted(absent, held) as peer:
        assert peer.files.attach("vs_1", _FILE, Deadline(5)) == FoundFile("file-1", "", 7, "in_progress")
        assert peer.asked() == ["GET vector_stores/vs_1/files/file-1", "POST vector_stores/vs_1/files"]
        assert peer.server.requests[1].body == {
            "file_id": "file-1", "attributes": {"number": 7, "document": "doc_1"},
        }  # fmt: skip


def test_a_file_that_is_in_the_store_is_left_as_it_is() -> None:
    with _scripted(document(200, _file("file-1", status="failed", attributes={"number": 7}))) as peer:
        assert peer.files.attach("vs_1", _FILE, Deadline(5)) == FoundFile("file-1", "", 7, "failed")


def test_lists_are_read_to_their_end() -> None:
    pages = [
        _list(_file("file-1", attributes={"number": 1.0}), _file("file-2", attributes=None), more=True),
        _list(_file("file-3", status="in_progress", attributes={"number": "3"}), more=True),
        _EMPTY,
    ]
    with _scripted(*pages) as peer:
        assert list(peer.files.attached("vs_1", Deadline(5))) == [
            FoundFile("file-1", "", 1, "completed"), FoundFile("file-2", "", 0, "completed"),
            FoundFile("file-3", "", 0, "in_progress"),
        ]  # fmt: skip
        assert peer.asked() == [
            "GET vector_stores/vs_1/files?limit=100",
            "GET vector_stores/vs_1/files?after=file-2&limit=100",
            "GET vector_stores/vs_1/files?after=file-3&limit=100",
        ]
    named = [{"id": "file-1", "filename": "a.md"}, {"id": "file-2", "filename": "b.md"}]
    with _scripted(_list(named[0], more=True), _list(named[1])) as peer:
        assert list(peer.files.list_files(Deadline(5))) == [FoundFile("file-1", "a.md"), FoundFile("file-2", "b.md")]
        assert peer.asked() == [
            "GET files?limit=1000&purpose=assistants", "GET files?after=file-1&limit=1000&purpose=assistants",
        ]  # fmt: skip


def test_an_empty_page_that_promises_more_is_the_end() -> None:
    with _scripted(document(200, {"data": [], "has_more": True})) as peer:
        assert list(peer.files.list_files(Deadline(5))) == []


def test_of_several_stores_of_a_name_the_oldest_that_lives_is_found() -> None:
    stores: list[dict[str, Any]] = [
        {"id": "vs_1", "name": "other"}, {"id": "vs_2", "name": "ours", "status": "expired"},
        {"id": "vs_3", "name": None}, {"id": "vs_4", "name": "ours"}, {"id": "vs_5", "name": "ours"},
    ]  # fmt: skip
    with _scripted(_list(*stores[:3], more=True), _list(*stores[3:], more=True)) as peer:
        assert peer.files.find_store("ours", Deadline(5)) == "vs_4"
        first, second = peer.asked()
        assert "order=asc" in first and "order=asc" in second and "after=vs_3" in second
    with _scripted(_list(*stores[:3])) as peer:
        assert peer.files.find_store("ours", Deadline(5)) is None


_DELETIONS: list[_Ask] = [
    lambda files, deadline: files.delete_store("vs_1", deadline),
    lambda files, deadline: files.delete_file("file-1", deadline),
    lambda files, deadline: files.detach("vs_1", "file-1", deadline),
]


@pytest.mark.parametrize("delete", _DELETIONS)
def test_what_is_not_there_is_as_good_as_deleted(delete: _Ask) -> None:
    with _scripted(
        _DONE, refusal(404, "No such File object: file-1"), refusal(400, "Vector_store 'vs_1' not found")
    ) as peer:
        for _ in range(3):
            delete(peer.files, Deadline(5))
        assert len(set(peer.asked())) == 1 and peer.asked()[0].startswith("DELETE ")


@pytest.mark.parametrize("delete", _DELETIONS)
@pytest.mark.parametrize("reply", [_NO_ROUTE, refusal(404, "Invalid URL (DELETE /v1/files/file-1)")])
def test_a_server_without_such_routes_has_deleted_nothing(delete: _Ask, reply: Reply) -> None:
    assert _failure(delete, reply).code == "hosting_unsupported"


def test_a_refusal_for_another_reason_is_no_absence() -> None:
    failure = _failure(_DELETIONS[0], refusal(400, "The vector store is being changed."))
    assert failure.code == "provider_failed"


def test_what_is_not_there_has_no_status_and_takes_no_file() -> None:
    absent = refusal(404, "Vector store with id 'vs_1' not found.")
    with _scripted(absent) as peer:
        assert peer.files.status("vs_1", "file-1", Deadline(5)) is None
    assert isinstance(_failure(lambda files, deadline: files.attach("vs_1", _FILE, deadline), absent, absent), NotFound)
    assert isinstance(_failure(lambda files, deadline: list(files.attached("vs_1", deadline)), absent), NotFound)


_OF_THE_ACCOUNT: list[_Ask] = [
    lambda files, deadline: files.find_store("orquestra-a", deadline),
    lambda files, deadline: files.create_store("orquestra-a", deadline),
    lambda files, deadline: files.upload("a.md", b"text", deadline),
    lambda files, deadline: list(files.list_files(deadline)),
]
_PAGE: Reply = [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"]


@pytest.mark.parametrize("ask", _OF_THE_ACCOUNT)
@pytest.mark.parametrize(
    "reply", [_NO_ROUTE, refusal(404, "Resource not found"), document(405, {}), document(501, {}), _PAGE]
)
def test_an_endpoint_that_holds_no_documents_says_which_provider_to_choose(ask: _Ask, reply: Reply) -> None:
    failure = _failure(ask, reply)
    assert isinstance(failure, ProviderFailed) and failure.code == "hosting_unsupported"
    assert "openai_chat" in failure.detail and "Resource" not in failure.detail


@pytest.mark.parametrize("reply", [document(200, {}), document(200, []), document(200, {"id": ""})])
@pytest.mark.parametrize("ask", _OF_THE_ACCOUNT)
def test_an_answer_of_another_protocol_is_a_failure(ask: _Ask, reply: Reply) -> None:
    assert _failure(ask, reply).code == "provider_failed"


@pytest.mark.parametrize("trouble", [_BUSY, _LOST, _CUT, document(429, {}, Retry_After="0.01")])
@pytest.mark.parametrize("ask", [*_DELETIONS, _OF_THE_ACCOUNT[0], _OF_THE_ACCOUNT[3]])
def test_what_may_be_repeated_is_sent_again_until_it_succeeds(ask: _Ask, trouble: Reply) -> None:
    with _scripted(trouble, *[_BUSY] * 4, _EMPTY) as peer:
        ask(peer.files, Deadline(10))


@pytest.mark.parametrize("ask", _OF_THE_ACCOUNT[1:3])
def test_what_makes_something_is_sent_again_when_it_was_certainly_not_made(ask: _Ask) -> None:
    with _scripted(_BUSY, document(429, {}, Retry_After="0.01"), _MADE) as peer:
        assert ask(peer.files, Deadline(5)) == "made-1"


@pytest.mark.parametrize("trouble", [_LOST, _CUT, [Action.RESET], document(500, {}), document(504, {})])
@pytest.mark.parametrize("ask", _OF_THE_ACCOUNT[1:3])
def test_what_may_have_been_made_is_not_made_again(ask: _Ask, trouble: Reply) -> None:
    assert _failure(ask, trouble).code in ("provider_unreachable", "provider_failed")


def test_attaching_again_is_no_second_file() -> None:
    with _scripted(refusal(404, "No file found with id 'file-1'"), _LOST, document(200, _file("file-1"))) as peer:
        assert peer.files.attach("vs_1", _FILE, Deadline(5)).file_id == "file-1"


@pytest.mark.parametrize("ask", [*_DELETIONS, *_OF_THE_ACCOUNT])
def test_a_wait_beyond_the_deadline_is_not_begun(ask: _Ask) -> None:
    failure = _failure(ask, document(429, {}, Retry_After="60"), seconds=5)
    assert failure.code == "provider_rate_limited", "else it is that of a deadline that is over"


@pytest.mark.parametrize("ask", [*_DELETIONS, *_OF_THE_ACCOUNT])
def test_a_server_that_hangs_is_left_at_the_deadline(ask: _Ask) -> None:
    assert isinstance(_failure(ask, [Action.HANG], seconds=0.2), DeadlineExceeded)


def test_a_cancel_wakes_the_call() -> None:
    deadline = Deadline(60)
    with _scripted([Action.HANG]) as peer, pytest.raises(CallCancelled):
        timer = threading.Timer(0.2, deadline.cancel)
        timer.start()
        peer.files.upload("a.md", b"text", deadline)
    timer.join()


def test_refused_credentials_are_told_as_that() -> None:
    failure = _failure(_OF_THE_ACCOUNT[1], refusal(401, "Incorrect API key"))
    assert failure.code == "provider_auth" and "OPENAI_API_KEY" in failure.detail


def test_the_reason_why_a_file_was_not_processed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    key = "an unusual one"
    error = {"code": "unsupported_file", "message": f"no text in it; key {key}"}
    with caplog.at_level(logging.INFO), wire(document(200, _file("file-1", last_error=error))) as server:
        with contextlib.closing(build_client(key, server.base_url, 1)) as client:
            OpenAIFiles(client).status("vs_1", "file-1", Deadline(5))
    assert "file-1 could not be processed" in caplog.text and "no text in it" in caplog.text
    assert key not in caplog.text
