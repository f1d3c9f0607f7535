"""OpenAIChatModel against exact bytes: framing, stalls, cuts, cancelling, dialects. Not an independent witness."""

import contextlib
import datetime
import gc
import ipaddress
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from models.answers import ModelRequest, TextDelta, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from services.providers.http_direct import DirectTransport
from services.providers.http_sockets import Call, make_cuttable
from services.providers.openai_chat import OpenAIChatModel, build_client
from tests.emulators.openai_wire import (
    DONE,
    STREAM,
    Action,
    Reply,
    WireServer,
    chunk,
    document,
    event,
    piece,
    stream,
    wire,
)

_KEY = "sk-test-0123456789abcdef"
_REQUEST = ModelRequest("a", "q")
_WHOLE = event(chunk("Olá, ")) + event(chunk("世界 😀")) + event(chunk(finish="stop")) + event(chunk(usage=(5, 7)))
_TEXT = "Olá, 世界 😀"


@contextlib.contextmanager
def _peer(*replies: Reply) -> Iterator[tuple[WireServer, OpenAIChatModel]]:
    with wire(*replies) as server, contextlib.closing(build_client(_KEY, server.base_url, 8)) as client:
        yield server, OpenAIChatModel(client, "default")


def _text(model: OpenAIChatModel, seconds: float = 5) -> str:
    events = model.stream(_REQUEST, Deadline(seconds))
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def _code(model: OpenAIChatModel, seconds: float = 5) -> str:
    with pytest.raises(ProviderFailed) as failure:
        _text(model, seconds)
    return failure.value.code


@pytest.mark.parametrize(
    "body",
    [
        _WHOLE + DONE,
        (_WHOLE + DONE).replace(b"\n", b"\r\n"),
        (_WHOLE + DONE).replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + _WHOLE + DONE,
        b": a comment\n\n" + _WHOLE.replace(b"data: ", b"id: 7\nevent: chunk\ndata:") + DONE,
        (_WHOLE + DONE).replace(b', "choices"', b',\ndata: "choices"'),
        (_WHOLE + DONE).replace(b', "choices"', b',\ndata: "choices"').replace(b"\n", b"\r\n"),
        _WHOLE.replace(b"\n\n", b"\n\n: ping\n\n\n") + DONE,
        _WHOLE,
        event(chunk("Olá, ")) + event(chunk("世界 😀")) + DONE,
    ],
    ids=["plain", "crlf", "cr", "bom", "fields", "lines", "lines-crlf", "pings", "no-done", "no-finish"],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_every_framing_of_a_stream_is_read(body: bytes, size: int) -> None:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    with _peer(stream(*pieces)) as (_, model):
        assert _text(model) == _TEXT


@pytest.mark.parametrize(
    "tail",
    [
        event(chunk(finish="stop")) + event(chunk(usage=(5, 7))),
        event(chunk("", finish="stop", usage=(5, 7))),
        event(chunk("", finish="stop", usage=(1, 1))) + event(chunk(usage=(5, 7))),
    ],
)
def test_usage_may_come_with_or_without_choices(tail: bytes) -> None:
    with _peer(stream(event(chunk("hi")), tail, DONE)) as (_, model):
        assert list(model.stream(_REQUEST, Deadline(5))) == [TextDelta("hi"), Usage(Tokens(5, 7), "wire-1")]


def test_an_answer_without_usage_has_none() -> None:
    with _peer(stream(event(chunk("hi", finish="stop")), DONE)) as (_, model):
        assert list(model.stream(_REQUEST, Deadline(5)))[-1] == Usage(None, "wire-1")


def test_halves_of_a_character_are_told_as_they_come() -> None:
    halves = [event(chunk("x").replace(b'"x"', half)) for half in (rb'"\ud83d"', rb'"\ude00"')]
    with _peer(stream(*halves, event(chunk(finish="stop")), DONE)) as (_, model):
        assert _text(model) == "\ud83d\ude00"


def test_text_comes_as_soon_as_it_is_sent() -> None:
    with _peer([STREAM, piece(event(chunk("first"))), Action.HANG]) as (_, model):
        events = model.stream(_REQUEST, Deadline(5))
        started = time.monotonic()
        assert next(events) == TextDelta("first")
        assert time.monotonic() - started < 3.0
        events.close()


def test_connections_are_used_again() -> None:
    with _peer(*[stream(_WHOLE, DONE)] * 5) as (server, model):
        for _ in range(5):
            assert _text(model) == _TEXT
        assert (len(server.requests), server.connections) == (5, 1)


def test_a_server_that_does_not_end_after_done_costs_little() -> None:
    with _peer([STREAM, piece(_WHOLE + DONE), Action.HANG], stream(_WHOLE, DONE)) as (_, model):
        started = time.monotonic()
        assert _text(model) == _TEXT
        assert time.monotonic() - started < 3.0
        assert _text(model) == _TEXT


@pytest.mark.parametrize("ending", [Action.CLOSE, Action.RESET])
@pytest.mark.parametrize("last", [b"", event(chunk("more"))[:-9]])
def test_a_cut_stream_is_a_failure(last: bytes, ending: Action) -> None:
    with _peer([STREAM, piece(event(chunk("some")) + last), ending]) as (server, model):
        assert _code(model) == "stream_cut"
        assert len(server.requests) == 1


def test_a_stream_that_ends_without_finish_is_cut() -> None:
    with _peer(stream(event(chunk("some")))) as (_, model):
        assert _code(model) == "stream_cut"


def test_a_cut_after_the_finish_is_none() -> None:
    with _peer([STREAM, piece(event(chunk("all", finish="stop"))), Action.RESET]) as (_, model):
        assert _text(model) == "all"


@pytest.mark.parametrize(
    "body",
    [
        event(b'{"error": {"message": "overloaded", "code": 503}}'),
        b'event: error\ndata: {"message": "overloaded"}\n\n',
        event(b"not json"),
        event(b"[1]"),
        event(b'{"choices": [3]}'),
        event(b'{"usage": {"prompt_tokens": "many"}}'),
    ],
)
def test_an_error_or_nonsense_within_the_stream_is_a_failure(body: bytes) -> None:
    with _peer(stream(event(chunk("some")), body)) as (_, model):
        assert _code(model) == "provider_failed"


def test_an_empty_and_a_filtered_answer_are_failures() -> None:
    empty = stream(event(chunk("")), event(chunk(finish="stop")), DONE)
    filtered = stream(event(chunk("so")), event(chunk(finish="content_filter")), DONE)
    with _peer(empty, filtered) as (_, model):
        assert _code(model) == "empty_answer"
        assert _code(model) == "content_filtered"


def test_a_document_instead_of_a_stream_is_a_failure_and_frees_its_connection() -> None:
    with wire(document(200, {"choices": []}), stream(_WHOLE, DONE)) as server:
        with contextlib.closing(build_client("", server.base_url, connections=1)) as client:
            model = OpenAIChatModel(client, "m")
            assert _code(model) == "provider_failed"
            assert _text(model) == _TEXT


@pytest.mark.parametrize(
    "reply",
    [
        [Action.HANG],
        [STREAM, Action.HANG],
        [b"HTTP/1.1 200 OK\r\n", *[0.1, b"X-Drip: 1\r\n"] * 40],
        [STREAM, *[piece(b": ping\n"), 0.1] * 40],
        [b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n", Action.HANG],
    ],
    ids=["no-head", "no-body", "drip-head", "pings", "error-body"],
)
def test_no_stall_outlives_the_deadline(reply: Reply) -> None:
    with _peer(reply) as (server, model):
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            _text(model, seconds=1.5)
        assert time.monotonic() - started < 3.0
        assert server.gone.wait(10), "the connection is given up"


@pytest.mark.parametrize(("after", "waits"), [("0.3", 0.3), ("nonsense", 0.4), ("-1", 0.4)])
def test_retry_after_is_honoured(after: str, waits: float) -> None:
    with _peer(document(429, {}, Retry_After=after), stream(_WHOLE, DONE)) as (_, model):
        started = time.monotonic()
        assert _text(model) == _TEXT
        assert waits <= time.monotonic() - started < 8.0


def test_an_idle_connection_that_the_server_closed_is_no_failure() -> None:
    with _peer(stream(_WHOLE, DONE), [Action.CLOSE], stream(_WHOLE, DONE)) as (server, model):
        assert _text(model) == _TEXT
        assert _text(model) == _TEXT
        assert (len(server.requests), server.connections) == (3, 2)


def test_a_server_that_is_away_is_unreachable() -> None:
    with wire() as server:
        base_url = server.base_url
    with contextlib.closing(build_client("", base_url, 2)) as client:
        assert _code(OpenAIChatModel(client, "m")) == "provider_unreachable"


@pytest.mark.parametrize("reply", [[Action.HANG], [STREAM, piece(event(chunk("some"))), Action.HANG]])
@pytest.mark.parametrize("reused", [False, True])
def test_a_cancel_wakes_a_blocked_read(reply: Reply, reused: bool) -> None:
    with _peer(*[stream(_WHOLE, DONE)] * reused, reply) as (server, model):
        if reused:
            _text(model)
        deadline = Deadline(10)
        timer = threading.Timer(0.2, deadline.cancel)
        started = time.monotonic()
        timer.start()
        with pytest.raises(CallCancelled):
            list(model.stream(_REQUEST, deadline))
        assert time.monotonic() - started < 5.0
        assert server.gone.wait(10), "the server learns of it"
        timer.join()


def test_a_cancel_ends_the_wait_between_retries() -> None:
    with _peer(document(503, {}, Retry_After="5")) as (_, model):
        deadline = Deadline(10)
        timer = threading.Timer(0.2, deadline.cancel)
        timer.start()
        with pytest.raises(CallCancelled):
            list(model.stream(_REQUEST, deadline))
        timer.join()


def test_a_late_cancel_leaves_the_next_call_on_that_connection_alone() -> None:
    slow: Reply = [STREAM, 0.3, *stream(_WHOLE, DONE)[1:]]
    with _peer(stream(_WHOLE, DONE), slow) as (server, model):
        first = Deadline(10)
        list(model.stream(_REQUEST, first))
        timer = threading.Timer(0.15, first.cancel)
        timer.start()
        assert _text(model) == _TEXT
        assert server.connections == 1
        timer.join()


def test_a_cancel_after_the_answer_keeps_the_connection() -> None:
    with _peer(*[stream(_WHOLE, DONE)] * 2) as (server, model):
        deadline = Deadline(5)
        list(model.stream(_REQUEST, deadline))
        deadline.cancel()
        assert _text(model) == _TEXT
        assert (len(server.requests), server.connections) == (2, 1)


def test_a_call_that_is_not_done_yet_leaves_a_connection_alone_that_another_uses() -> None:
    quick = document(200, {})
    with wire(quick, [0.3, *quick]) as server, make_cuttable(httpx2.Client()) as client:
        first, second = Call(Deadline(5)), Call(Deadline(5))
        first.run(lambda: client.get(server.url))
        timer = threading.Timer(0.1, first.deadline.cancel)
        timer.start()
        assert second.run(lambda: client.get(server.url)).is_success
        assert server.connections == 1
        timer.join()


def test_a_cancel_is_noticed_between_events_that_came_together() -> None:
    with _peer(stream(_WHOLE + DONE)) as (_, model):
        deadline = Deadline(5)
        events = model.stream(_REQUEST, deadline)
        next(events)
        deadline.cancel()
        with pytest.raises(CallCancelled):
            next(events)


@pytest.mark.parametrize("directly", [True, False])
def test_a_cancel_wakes_a_blocked_read_under_tls(tmp_path: Path, directly: bool) -> None:
    server_side, client_side = _tls(tmp_path)
    with wire(stream(_WHOLE, DONE), [STREAM, Action.HANG], tls=server_side) as server:
        http = make_cuttable(httpx2.Client(verify=client_side))
        if directly:
            http._transport = DirectTransport(http._transport, 4, client_side)
        with openai.OpenAI(api_key=_KEY, base_url=server.base_url, http_client=http) as client:
            model = OpenAIChatModel(client, "m")
            assert _text(model) == _TEXT
            deadline = Deadline(10)
            timer = threading.Timer(0.2, deadline.cancel)
            started = time.monotonic()
            timer.start()
            with pytest.raises(CallCancelled):
                list(model.stream(_REQUEST, deadline))
            assert time.monotonic() - started < 3.0
            timer.join()


def test_closing_or_dropping_the_stream_closes_the_connection() -> None:
    endless: Reply = [STREAM, piece(event(chunk("some"))), Action.HANG]
    with _peer(endless, endless) as (server, model):
        events = model.stream(_REQUEST, Deadline(10))
        next(events)
        events.close()
        assert server.gone.wait(10)
        server.gone.clear()
        dropped = model.stream(_REQUEST, Deadline(10))
        next(dropped)
        del dropped
        gc.collect()
        assert server.gone.wait(10)


def test_a_limit_is_sent_as_the_server_wants_it_and_remembered() -> None:
    refusal = document(400, {"error": {"message": "Unsupported: 'max_tokens'. Use 'max_completion_tokens' instead."}})
    with _peer(refusal, stream(_WHOLE, DONE), stream(_WHOLE, DONE)) as (server, model):
        for _ in range(2):
            list(model.stream(ModelRequest("a", "q", max_output_tokens=9), Deadline(5)))
        sent = [
            (request.body.get("max_tokens"), request.body.get("max_completion_tokens")) for request in server.requests
        ]
        assert sent == [(9, None), (None, 9), (None, 9)]


def test_a_server_without_stream_options_answers_without_usage() -> None:
    refusal = document(422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]})
    with _peer(refusal, stream(event(chunk("hi", finish="stop")), DONE)) as (server, model):
        assert list(model.stream(_REQUEST, Deadline(5))) == [TextDelta("hi"), Usage(None, "wire-1")]
        assert "stream_options" not in server.requests[-1].body


def test_the_log_has_the_providers_words_but_no_key(caplog: pytest.LogCaptureFixture) -> None:
    ours, another = "5f1e9c7a77", "sk-another-98765432"
    refusal = document(401, {"error": {"message": f"Incorrect API key provided: {ours}. Bearer {ours}x {another}"}})
    with wire(refusal) as server, contextlib.closing(build_client(ours, server.base_url, 1)) as client:
        with caplog.at_level(logging.DEBUG):
            assert _code(OpenAIChatModel(client, "m")) == "provider_auth"
    assert "Incorrect API key" in caplog.text
    assert ours not in caplog.text and another not in caplog.text


def test_many_threads_share_a_model() -> None:
    with _peer(*[stream(_WHOLE, DONE)] * 40) as (server, model):
        answers: list[str] = []
        threads = [threading.Thread(target=lambda: answers.extend(_text(model) for _ in range(5))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [_TEXT] * 40
        assert server.connections <= 8


def _tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return contexts of a server and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(private + pem)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(path)
    return server_side, ssl.create_default_context(cadata=pem.decode())
