"""Callback URLs, the hosts and addresses they may name, and the secrets they are signed with."""

import base64
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest

from models.assistants import Assistant
from models.clock import now
from models.errors import Invalid
from services.callback_urls import callback_origin, check_callback_url, check_host_rule, read_callback_url
from services.providers.guarded_network import is_reachable
from services.webhook_secrets import WebhookSecrets


def _refusal(url: str, *allowed_hosts: str) -> str:
    """Return why a URL is refused, "" if it is not."""
    try:
        check_callback_url(url, allowed_hosts)
    except Invalid as refused:
        assert refused.code == "callback_not_allowed"
        assert list(refused.errors) == ["callback_url"]
        return refused.errors["callback_url"][0]
    return ""


# Forms


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://example.com", "https://example.com:443", "/"),
        ("HTTP://EXAMPLE.com:80/a", "http://example.com:80", "/a"),
        ("https://example.com:8443/a/b?c=d&e=%20#f", "https://example.com:8443", "/a/b?c=d&e=%20"),
        ("https://example.com#@evil.example/", "https://example.com:443", "/"),
        ("https://example.com.?q", "https://example.com:443", "/?q"),
        (
            "https://my_host-1.example.com/ação?é=中",
            "https://my_host-1.example.com:443",
            "/a%C3%A7%C3%A3o?%C3%A9=%E4%B8%AD",
        ),
        ("https://bücher.example/", "https://xn--bcher-kva.example:443", "/"),
        ("https://XN--BCHER-KVA.example/", "https://xn--bcher-kva.example:443", "/"),
        ("http://192.0.2.7:1/", "http://192.0.2.7:1", "/"),
        ("http://[2001:DB8:0::1]:65535/", "http://[2001:db8::1]:65535", "/"),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: str, target: str) -> None:
    place = read_callback_url(url)
    assert (place.origin, place.target) == (origin, target)
    assert callback_origin(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "//example.com/", "https:example.com", "https:///a", "https://", "ftp://example.com/",
        "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "https://user@example.com/",
        "https://user:word@example.com/", "https://@example.com/", "https://example.com\\@evil.example/",
        "https://example.com:0/", "https://example.com:65536/", "https://example.com:-1/", "https://example.com:/",
        "https://example.com:８０/", "https://example.com:80a/", "https://exa mple.com/", "https://example.com/a b",
        "https://example.com/\r\nHost: evil.example", "https://example.com\t/", " https://example.com/",
        "https://example.com/\x00", "https://example.com/\ud800", "https://example..com/", "https://.example.com/",
        "https://-example.com/", "https://exa%6dple.com/", "https://example.com%2f.evil.example/",
        "https://ex*ample.com/", f"https://{'a' * 64}.com/", f"https://{'a.' * 127}com/", "https://[::1/",
        "https://[::1]evil.example/", "https://evil[::1]/", "https://[::1%25eth0]/", "https://[fe80::1%eth0]/",
        "https://[v1.example]/", "https://[1.2.3.4]/", "https://[:::]/", "https://1.2.3/", "https://1.2.3.4.5/",
        "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://1.2.3.0x4/", "https://1.2.3.256/",
        "https://ex／ample.com/", "https://example℀.com/", "https://straße.example/",
        "https://ex\u200damp.example/", "https://example.com/" + "a" * 2048,
    ],
)  # fmt: skip
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^Must |^The port "):
        read_callback_url(url)
    assert _refusal(url, "example.com", "*.example.com").startswith(("Must ", "The port "))


def test_a_refusal_says_what_to_do() -> None:
    assert _refusal("https://user:word@example.com/") == "Must not contain a user name or password."
    assert _refusal("https://a.example/", "b.example") == (
        "The assistant's callback_hosts do not allow a.example:443. Add the host there."
    )


# Hosts


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://example.com/", "example.com"),
        ("http://EXAMPLE.COM:8080/", "Example.Com"),
        ("https://a.example.com/", "*.example.com"),
        ("https://a.b.c.example.com/", "*.EXAMPLE.com"),
        ("https://example.com:8443/", "example.com:8443"),
        ("https://example.com/", "example.com:443"),
        ("https://a.example.com:8443/", "*.example.com:8443"),
        ("https://xn--bcher-kva.example/", "bücher.example"),
        ("https://bücher.example/", "*.example"),
        ("http://192.0.2.7/", "192.0.2.7"),
        ("http://[2001:db8::1]:81/", "[2001:DB8:0:0::1]"),
        ("http://[2001:db8::1]:81/", "[2001:db8::1]:81"),
    ],
)
def test_a_rule_allows_a_host(url: str, rule: str) -> None:
    check_host_rule(rule)
    assert _refusal(url, "other.example", rule) == ""


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://example.com/", "*.example.com"),
        ("https://evilexample.com/", "*.example.com"),
        ("https://evilexample.com/", "example.com"),
        ("https://a.example.com/", "example.com"),
        ("https://example.com.evil.example/", "example.com"),
        ("https://example.com.evil.example/", "*.example.com"),
        ("https://example.com/", "example.com:8443"),
        ("https://example.com:444/", "example.com:443"),
        ("https://192.0.2.77/", "192.0.2.7"),
        ("https://192.0.2.7/", "*.2.7"),
        ("https://[2001:db8::2]/", "[2001:db8::1]"),
        ("https://example.com/", "*"),
        ("https://example.com/", ""),
    ],
)
def test_a_rule_allows_no_other_host(url: str, rule: str) -> None:
    assert "callback_hosts do not allow" in _refusal(url, rule)
    assert _refusal(url) != ""


@pytest.mark.parametrize(
    "rule",
    ["", "*", "*.", "**.example.com", "*example.com", "a.*.example.com", "https://example.com", "example.com/a", "a b",
     "example.com:", "example.com:0", "example.com:99999", "user@example.com", "*.192.0.2.7", "*.[2001:db8::1]",
     "2001:db8::1", "[::1%eth0]", "1.2.3", "exa_mple..com", "straße.example", "x" * 300],
)  # fmt: skip
def test_a_rule_of_another_form_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match=r"^Must be "):
        check_host_rule(rule)


# Addresses

_PRIVATE = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255", "127.0.0.1",
    "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8", "100::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::",
    "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip
_PUBLIC = (
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "198.17.255.255", "198.20.0.0",
    "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2003::1",
    "64:ff9b::8.8.8.8",
)  # fmt: skip


@pytest.mark.parametrize("address", _PRIVATE)
def test_an_address_that_is_not_public_is_out_of_reach(address: str) -> None:
    assert not is_reachable(ip_address(address), ())


@pytest.mark.parametrize("address", _PUBLIC)
def test_a_public_address_is_in_reach(address: str) -> None:
    assert is_reachable(ip_address(address), ())


def test_a_setting_opens_its_networks_and_no_other() -> None:
    opened = (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    for address in ("127.0.0.1", "127.9.9.9", "fd12::1", "8.8.8.8"):
        assert is_reachable(ip_address(address), opened)
    for address in ("10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::", "fc00::1"):
        assert not is_reachable(ip_address(address), opened)


# Secrets


def _assistant(**changes: object) -> Assistant:
    made = Assistant("a" * 24, "A", "b" * 24, (), created_at=now(), updated_at=now())
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_secret_has_its_form_and_belongs_to_one_assistant_version_and_server() -> None:
    secrets = WebhookSecrets("s" * 32)
    secret = secrets.current(_assistant())
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert WebhookSecrets("s" * 32).current(_assistant(name="B")) == secret
    others = {
        secrets.current(_assistant(id="c" * 24)),
        secrets.current(_assistant(webhook_version=2)),
        WebhookSecrets("t" * 32).current(_assistant()),
    }
    assert len(others | {secret}) == 4


def test_the_secret_before_signs_until_the_grace_is_over() -> None:
    secrets, at = WebhookSecrets("s" * 32), now()
    before = secrets.current(_assistant())
    rotated = _assistant(webhook_version=2, webhook_grace_until=at + timedelta(seconds=1))
    assert secrets.signing(_assistant(), at) == (before,)
    assert secrets.signing(rotated, at) == (secrets.current(rotated), before)
    assert secrets.signing(rotated, at + timedelta(seconds=1)) == (secrets.current(rotated),)
    assert secrets.signing(replace(rotated, webhook_grace_until=None), at) == (secrets.current(rotated),)
