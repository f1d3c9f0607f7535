"""`WebhookSender` against real servers: what is sent, where it never goes, and what it bears."""

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from pathlib import Path

import openai
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from models.assistants import Assistant
from models.callbacks import Posted
from models.clock import now
from services.ports import WebhookSender
from services.providers.guarded_network import Resolver
from services.providers.webhooks import StandardWebhookSender
from services.webhook_secrets import WebhookSecrets
from tests.emulators.openai_wire import Action, Step, document, wire
from tests.emulators.receiver import Answering, Received, Reply, certificate, receiver

ROOT = Path(__file__).parent.parent.parent
_SECRETS = WebhookSecrets("s" * 32).signing(
    Assistant(
        "a" * 24, "A", "b" * 24, (), now(), now(), webhook_version=2, webhook_grace_until=now() + timedelta(hours=1)
    ),
    now(),
)
_BODY = '{"type":"chat.answered","data":{"response":"Olá 中 \\u0000"}}'.encode()
_EVENT = "65f0c0ffee65f0c0ffee65f0-1"


def _at(*addresses: str) -> Resolver:
    """Return a resolver that knows these addresses for every name."""
    return lambda host: addresses


def _sender(
    *opened: str,
    resolver: Resolver = lambda host: ["127.0.0.1"],
    trust: ssl.SSLContext | None = None,
    seconds: float = 10.0,
) -> WebhookSender:
    return StandardWebhookSender([ip_network(one) for one in opened or ("127.0.0.0/8",)], resolver, trust, seconds)


def _send(sender: WebhookSender, url: str, *allowed_hosts: str, body: bytes = _BODY) -> Posted:
    return sender.send(url, allowed_hosts or ("hook.example", "*.hook.example"), _EVENT, _SECRETS, body)


def _outcome(posted: Posted) -> int | str | None:
    assert (posted.status_code is None) == (posted.error is not None)
    return posted.error or posted.status_code


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _redirect(location: str, status: int = 307) -> Answering:
    return lambda received: Reply(status, {"Location": location})


# What is sent


def test_two_libraries_of_others_accept_the_signatures_of_both_secrets() -> None:
    with receiver() as place:
        assert _outcome(_send(_sender(), place.url("/in", "hook.example"))) == 204
    (received,) = place.requests
    assert len(_SECRETS) == len(received.headers["webhook-signature"].split()) == 2
    webhooks = openai.OpenAI(api_key="none").webhooks
    for secret in _SECRETS:
        Webhook(secret).verify(received.body, dict(received.headers))
        webhooks.verify_signature(received.body, received.headers, secret=secret)
    for secret, body in ((_SECRETS[0], _BODY + b" "), ("whsec_" + "A" * 43 + "=", _BODY)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, dict(received.headers))
        with pytest.raises(openai.InvalidWebhookSignatureError):
            webhooks.verify_signature(body, received.headers, secret=secret)


def test_the_receiver_of_the_documentation_works() -> None:
    example = (ROOT / "docs" / "callbacks.md").read_text().split("```python\n")[1].split("```")[0]
    url = f"http://hook.example:{(port := _free_port())}/answers"
    environment = {"WEBHOOK_SECRET": _SECRETS[1], "PORT": str(port)}
    running = subprocess.Popen([sys.executable, "-c", example], env=environment, stdout=subprocess.PIPE, text=True)
    with running:
        assert running.stdout is not None
        try:
            while _outcome(_send(_sender(), url)) == "callback_unreachable":
                assert running.poll() is None
                time.sleep(0.05)
            assert _outcome(_send(_sender(), url)) == 204
            refused = _sender().send(url, ("hook.example",), "other", ["whsec_" + "A" * 43 + "="], _BODY)
            assert _outcome(refused) == 401
            assert _outcome(_sender().send(url, ("hook.example",), "third", _SECRETS, _BODY)) == 204
        finally:
            running.kill()
        assert running.stdout.read().splitlines() == ["chat.answered Olá 中 \0"] * 2


def test_a_post_says_nothing_but_what_it_must() -> None:
    with receiver(lambda received: Reply(200, {"Set-Cookie": "a=b"})) as place:
        sender = _sender()
        for _ in range(2):
            assert _outcome(_send(sender, place.url("/in/a%20b?c=d", "Hook.Example"))) == 200
    for received in place.requests:
        assert (received.method, received.path, received.body) == ("POST", "/in/a%20b?c=d", _BODY)
        assert set(received.headers) == {
            "host", "content-type", "content-length", "user-agent", "connection",
            "webhook-id", "webhook-timestamp", "webhook-signature",
        }  # fmt: skip
        assert received.headers["host"] == f"hook.example:{place.port}"
        assert received.headers["content-type"] == "application/json"
        assert received.headers["webhook-id"] == _EVENT
        assert abs(int(received.headers["webhook-timestamp"]) - now().timestamp()) < 60


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy, receiver() as place:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        assert _outcome(_send(_sender(), place.url(host="hook.example"))) == 204
    assert (len(proxy.requests), len(place.requests)) == (0, 1)


@pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 303, 304, 400, 404, 410, 429, 500, 503])
def test_the_receivers_status_is_the_result(status: int) -> None:
    with receiver(lambda received: Reply(status, {"Location": "/elsewhere"})) as place:
        posted = _send(_sender(), place.url(host="hook.example"))
    assert (posted.status_code, posted.error, posted.retry_after) == (status, None, None)
    assert len(place.requests) == 1


def test_the_receiver_says_when_to_come_back() -> None:
    date = format_datetime(datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1), usegmt=True)
    answers = {"/s": "120", "/d": date, "/past": "Wed, 21 Oct 2015 07:28:00 GMT", "/x": "soon", "/n": "-5"}
    with receiver(lambda received: Reply(503, {"Retry-After": answers[received.path]})) as place:
        asked = {path: _send(_sender(), place.url(path, "hook.example")).retry_after for path in answers}
    in_an_hour = asked.pop("/d")
    assert in_an_hour is not None
    assert 3500 < in_an_hour <= 3600
    assert asked == {"/s": 120.0, "/past": 0.0, "/x": None, "/n": None}


# Where it never goes

_SPELLINGS = (
    "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "0x7F.1", "2130706433", "0x7f000001",
    "017700000001", "0X7F000001", "127.0.0.1.0", "00127.0.0.1", "127.0.0.01", "0", "0.0.0.0", "0x0", "localhost",
    "LOCALHOST", "localhost.", "LocalHost.", "127。0。0。1", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "127.0.0.1%00",
    "127.0.0.1%2f", "%31%32%37.0.0.1", "user@127.0.0.1", "user:word@127.0.0.1", "hook.example@127.0.0.1",
    "hook.example\\@127.0.0.1", "127.0.0.1\t", "127.0.0.1\r\n", " 127.0.0.1", "[::1]", "[::]",
    "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]",
    "[0:0:0:0:0:FFFF:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::127.0.0.1]",
    "[2002:7f00:1::]", "[2001:0:0:0:0:0:80ff:fffe]", "[::1%lo]", "[::1%25lo]", "[fe80::1%25lo]", "[127.0.0.1]",
    "[::1]hook.example", "hook.example[::1]", "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "[ff02::1]",
)  # fmt: skip


@pytest.mark.parametrize("host", _SPELLINGS)
def test_no_spelling_of_a_private_address_gets_through(host: str) -> None:
    with receiver() as place:
        sender = StandardWebhookSender((), seconds=5)
        allowed = [host, host.lower(), "127.0.0.1", "localhost", "hook.example", "[::1]", "*.1", "0.0.0.0"]
        assert _outcome(sender.send(place.url(host=host), allowed, _EVENT, _SECRETS, _BODY)) == "callback_refused"
    assert place.requests == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "255.255.255.255", "224.0.0.1", "::1", "::",
     "fe80::1%lo", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::"],
)  # fmt: skip
def test_a_name_of_a_private_address_is_refused(address: str) -> None:
    with receiver() as place:
        sender = StandardWebhookSender((), _at(address))
        assert _outcome(_send(sender, place.url(host="hook.example"))) == "callback_refused"
    assert place.requests == []


def test_every_address_of_a_name_is_judged() -> None:
    with receiver(host="127.0.0.2") as place:
        url = place.url(host="hook.example")
        for addresses in (("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "::1")):
            assert _outcome(_send(_sender("127.0.0.2/32", resolver=_at(*addresses)), url)) == "callback_refused"
        assert place.requests == []
        assert _outcome(_send(_sender("127.0.0.2/32", resolver=_at("127.0.0.2")), url)) == 204


def test_a_name_that_changes_its_address_is_looked_up_once() -> None:
    answers = ["127.0.0.2", "127.0.0.1", "127.0.0.1"]
    with receiver(host="127.0.0.2") as allowed, receiver(port=allowed.port) as forbidden:
        sender = _sender("127.0.0.2/32", resolver=lambda host: [answers.pop(0)])
        assert _outcome(_send(sender, allowed.url(host="hook.example"))) == 204
        assert answers == ["127.0.0.1", "127.0.0.1"]
        assert _outcome(_send(sender, allowed.url(host="hook.example"))) == "callback_refused"
    assert (len(allowed.requests), len(forbidden.requests)) == (1, 0)


def test_the_hosts_are_held_to_at_every_post() -> None:
    with receiver() as place:
        for url in (place.url(), place.url(host="hook.example.evil"), place.url(host="evil.example")):
            assert _outcome(_send(_sender(), url)) == "callback_refused"
        url = place.url(host="hook.example")
        assert _outcome(_send(_sender(), url, f"hook.example:{place.port + 1}")) == "callback_refused"
        assert _outcome(_sender().send(url, (), _EVENT, _SECRETS, _BODY)) == "callback_refused"
        assert place.requests == []
        assert _outcome(_send(_sender(), url, f"hook.example:{place.port}")) == 204


def test_the_next_address_is_tried_when_one_takes_no_connection() -> None:
    with receiver() as place:
        sender = _sender("127.0.0.0/8", "::1/128", resolver=_at("::1", "127.0.0.1", "127.0.0.3"))
        assert _outcome(_send(sender, place.url(host="hook.example"))) == 204


# Redirects


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_is_followed_with_method_body_and_signature(status: int) -> None:
    with receiver() as there, receiver(_redirect(there.url("/there", "b.hook.example"), status)) as here:
        assert _outcome(_send(_sender(), here.url(host="hook.example"))) == 204
    (first,), (second,) = here.requests, there.requests
    assert (second.method, second.path, second.body) == ("POST", "/there", _BODY)
    assert second.headers["host"] == f"b.hook.example:{there.port}"
    assert second.headers["webhook-signature"] == first.headers["webhook-signature"]


def test_three_redirects_are_followed_and_no_more() -> None:
    def answer(received: Received) -> Reply:
        left = int(received.path[1:])
        return Reply(307, {"Location": str(left - 1)}) if left else Reply(204)

    with receiver(answer) as place:
        assert _outcome(_send(_sender(), place.url("/3", "hook.example"))) == 204
        assert [one.path for one in place.requests] == ["/3", "/2", "/1", "/0"]
        assert _outcome(_send(_sender(), place.url("/4", "hook.example"))) == "callback_redirects"
        assert len(place.requests) == 8


@pytest.mark.parametrize(
    "location",
    ["http://evil.example:{port}/", "//evil.example:{port}/", "http://127.0.0.1:{port}/", "http://localhost:{port}/",
     "http://[::1]:{port}/", "http://user@hook.example:{port}/", "file:///etc/passwd", "ftp://hook.example/",
     "http://[", "http://hook.example:{port}\\@evil.example/", "http://hook.example:0/", "javascript:1",
     "http://hook.example:{port}/\x7f", "http://hook.example:{port}/" + "a" * 3000],
)  # fmt: skip
def test_a_redirect_elsewhere_is_refused(location: str) -> None:
    with receiver() as there, receiver(_redirect(location.format(port=there.port))) as here:
        posted = _send(_sender(), here.url(host="hook.example"), f"hook.example:{here.port}", "hook.example")
    assert (_outcome(posted), len(here.requests), there.requests) == ("callback_refused", 1, [])


def test_a_redirect_to_a_private_address_is_refused_though_its_name_is_allowed() -> None:
    places = {"a.hook.example": ["127.0.0.2"], "b.hook.example": ["127.0.0.1"]}
    with receiver() as there, receiver(_redirect(there.url(host="b.hook.example")), host="127.0.0.2") as here:
        sender = _sender("127.0.0.2/32", resolver=lambda host: places[host])
        assert _outcome(_send(sender, here.url(host="a.hook.example"))) == "callback_refused"
        allowed = ("a.hook.example", "127.0.0.1")
        with receiver(_redirect(there.url()), host="127.0.0.2") as literal:
            assert _outcome(_send(sender, literal.url(host="a.hook.example"), *allowed)) == "callback_refused"
    assert (len(here.requests), len(literal.requests), there.requests) == (1, 1, [])


@pytest.mark.timeout(30)
def test_the_body_of_a_redirect_is_not_waited_for() -> None:
    with receiver() as there:
        head = f"HTTP/1.1 308 Permanent Redirect\r\nLocation: {there.url(host='hook.example')}\r\n\r\n"
        with wire([head.encode(), Action.HANG]) as here:
            port = here.url.rpartition(":")[2]
            assert _outcome(_send(_sender(seconds=3600), f"http://hook.example:{port}/")) == 204


def test_a_redirect_without_an_address_is_just_its_status() -> None:
    with receiver(lambda received: Reply(307)) as place:
        assert _outcome(_send(_sender(), place.url(host="hook.example"))) == 307


# TLS


def test_tls_is_checked_against_the_name(tmp_path: Path) -> None:
    server_side, trusting = certificate(tmp_path, "hook.example")
    names: list[str | None] = []
    server_side.sni_callback = lambda connection, name, context: names.append(name)
    with receiver(tls=server_side) as place:
        right = place.url(host="hook.example", scheme="https")
        assert _outcome(_send(_sender(trust=trusting), right)) == 204
        wrong = place.url(host="b.hook.example", scheme="https")
        assert _outcome(_send(_sender(trust=trusting), wrong)) == "callback_unreachable"
        assert _outcome(_send(_sender(), right)) == "callback_unreachable"  # self-signed, for who does not trust it
    assert names == ["hook.example", "b.hook.example", "hook.example"]
    assert len(place.requests) == 1


def test_a_certificate_for_the_address_is_none_for_the_name(tmp_path: Path) -> None:
    server_side, trusting = certificate(tmp_path, "127.0.0.1")
    with receiver(tls=server_side) as place:
        named = place.url(host="hook.example", scheme="https")
        assert _outcome(_send(_sender(trust=trusting), named)) == "callback_unreachable"
        assert place.requests == []
        assert _outcome(_send(_sender(trust=trusting), place.url(scheme="https"), "127.0.0.1")) == 204


def test_a_redirect_does_not_leave_tls(tmp_path: Path) -> None:
    server_side, trusting = certificate(tmp_path, "hook.example")
    with receiver() as plain, receiver(_redirect(plain.url(host="hook.example")), tls=server_side) as place:
        posted = _send(_sender(trust=trusting), place.url(host="hook.example", scheme="https"))
    assert (_outcome(posted), len(place.requests), plain.requests) == ("callback_refused", 1, [])


# What it bears

_OK = b"HTTP/1.1 200 OK\r\n"
_DRIP: Sequence[Step] = [step for _ in range(1200) for step in (b"x", 0.05)]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ([Action.HANG], "callback_timeout"),
        ([_OK + b"X-Drip: ", *_DRIP], "callback_timeout"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", 0.02] * 1000, "callback_timeout"),
        ([_OK, *[b"X-More: " + b"a" * 1000 + b"\r\n"] * 400], "callback_unreachable"),
        ([b"H" * 400_000], "callback_unreachable"),
        ([b"HTTP/1.1 999999 What\r\n\r\n"], "callback_unreachable"),
        ([b"220 smtp.example ESMTP\r\n", Action.CLOSE], "callback_unreachable"),
        ([_OK, Action.CLOSE], "callback_unreachable"),
        ([Action.CLOSE], "callback_unreachable"),
        ([Action.RESET], "callback_unreachable"),
        ([_OK + b"Content-Length: 9999\r\n\r\n", *_DRIP], 200),
        ([_OK + b"Content-Length: 99\r\n\r\nabc", Action.RESET], 200),
        ([_OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", Action.HANG], 200),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Action.HANG], "callback_unreachable"),
        (document(202, {"ok": True}), 202),
    ],
    ids=["silence", "head-drips", "endless-100", "endless-headers", "endless-line", "no-status", "smtp", "cut-head",
         "closed", "reset", "body-drips", "body-reset", "body-nonsense", "upgrade", "fine"],
)  # fmt: skip
def test_a_hostile_receiver_is_borne(reply: Sequence[Step], expected: int | str) -> None:
    with wire(reply) as server:
        port = server.url.rpartition(":")[2]
        patience = 1.0 if expected == "callback_timeout" else 3.0
        posted = _send(_sender(seconds=patience), f"http://hook.example:{port}/")
    assert _outcome(posted) == expected
    assert server.connections == 1


@pytest.mark.timeout(30)
def test_a_long_body_is_read_in_part() -> None:
    with wire([_OK + b"\r\n" + b"x" * 100_000, Action.HANG]) as server:
        port = server.url.rpartition(":")[2]
        assert _outcome(_send(_sender(seconds=3600), f"http://hook.example:{port}/")) == 200
        assert server.gone.wait(10)


def test_a_receiver_that_reads_nothing_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://hook.example:{listener.getsockname()[1]}/"
        posted = _send(_sender(seconds=0.5), url, body=b" " * 30_000_000)
    assert _outcome(posted) == "callback_timeout"
    assert posted.duration_ms >= 500


def test_a_handshake_that_never_comes_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://hook.example:{listener.getsockname()[1]}/"
        assert _outcome(_send(_sender(seconds=0.5), url)) == "callback_timeout"


def test_a_server_without_tls_is_no_receiver_of_https() -> None:
    with receiver() as place:
        posted = _send(_sender(), place.url(host="hook.example", scheme="https"))
    assert _outcome(posted) == "callback_unreachable"


def test_a_closed_port_is_unreachable() -> None:
    assert _outcome(_send(_sender(), f"http://hook.example:{_free_port()}/")) == "callback_unreachable"


def test_a_name_that_leads_nowhere_is_unresolved() -> None:
    def fail(host: str) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    for resolver in (fail, _at(), _at("nonsense")):
        assert _outcome(_send(_sender(resolver=resolver), "http://hook.example/")) == "callback_unresolved"


def test_a_resolver_that_never_answers_is_left() -> None:
    over = threading.Event()

    def wait(host: str) -> Sequence[str]:
        over.wait(60)
        return ["127.0.0.1"]

    assert _outcome(_send(_sender(resolver=wait, seconds=0.3), "http://hook.example/")) == "callback_unresolved"
    over.set()


def test_many_posts_at_once_do_not_disturb_each_other() -> None:
    sender = _sender()
    results: list[int | str | None] = []
    with receiver() as place:
        threads = [
            threading.Thread(target=lambda: results.append(_outcome(_send(sender, place.url(host="hook.example")))))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [204] * 16


def test_the_log_names_no_path_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "orquestra"):
        _send(_sender(resolver=_at("10.0.0.1")), "http://hook.example/token-in-the-path?key=value")
        _send(_sender(), "http://evil.example/token-in-the-path?key=value")
    assert [record.__dict__["code"] for record in caplog.records] == ["callback_refused"] * 2
    written = "".join(str(vars(record)) for record in caplog.records)
    assert "token-in-the-path" not in written
    assert "whsec_" not in written
