"""What is kept of an assistant's tools, and where it leads."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from models.errors import Invalid, ProviderFailed
from models.tools import SourceKind, ToolServer, ToolSource, Transport
from services.api_keys import ApiKeys
from services.sealing import Sealer
from services.tools.source_rules import check_header_name, check_header_value, check_name, check_url, fitting_name
from services.tools.sources import SEALING_PURPOSE, UNCHANGED, ToolSources, hidden

DESK = ToolServer("support_desk", Transport.STDIO, command="python", trusted=True)
SHARED = ToolSource("support_desk", SourceKind.SHARED)
CLOCK = ToolSource("current_time", SourceKind.BUILTIN)
TIME = ToolSource(
    "time",
    SourceKind.MCP,
    Transport.SSE,
    "https://time.example.com/sse",
    headers=(("Authorization", "Bearer secret"), ("X-Tenant", "7")),
)


class Catalog:
    """Implement `ToolServerCatalog` with one server, or none."""

    def __init__(self, *servers: ToolServer) -> None:
        self._servers = {server.name: server for server in servers}

    def names(self) -> Sequence[str]:
        """Return the servers' names."""
        return tuple(self._servers)

    def find(self, name: str) -> ToolServer | None:
        """Return the server of this name."""
        return self._servers.get(name)


def sources_of(*servers: ToolServer, secret: str = "server secret") -> ToolSources:
    return ToolSources(Sealer(secret, SEALING_PURPOSE), Catalog(*servers))


@pytest.fixture
def sources() -> ToolSources:
    """Give sources of a server that allows the support desk."""
    return sources_of(DESK)


def faults(sources: ToolSources, given: ToolSource, *stored: ToolSource) -> dict[str, list[str]]:
    """Return what is said against a source."""
    with pytest.raises(Invalid) as refused:
        sources.sealed([given], stored)
    assert "secret" not in refused.value.detail + str(refused.value.errors)
    return dict(refused.value.errors)


def test_headers_are_sealed_and_come_back_in_a_connection(sources: ToolSources) -> None:
    (kept,) = sources.sealed([TIME], [])
    assert [name for name, _ in kept.headers] == ["Authorization", "X-Tenant"]
    assert "secret" not in str(kept.headers) and "Bearer" not in str(kept.headers)
    assert sources.resolve(kept) == ToolServer("time", Transport.SSE, TIME.url, TIME.headers, trusted=False)
    assert "secret" not in repr(kept) + repr(sources.resolve(kept))


def test_what_is_shown_and_sent_back_keeps_the_values(sources: ToolSources) -> None:
    stored = sources.sealed([TIME, SHARED, CLOCK], [])
    shown = [hidden(source) for source in stored]
    assert [value for _, value in shown[0].headers] == [UNCHANGED, UNCHANGED]
    assert sources.sealed(shown, stored) == stored


def test_the_same_value_entered_again_changes_nothing(sources: ToolSources) -> None:
    stored = sources.sealed([TIME], [])
    assert sources.sealed([TIME], stored) == stored


def test_one_value_can_be_replaced_and_another_kept(sources: ToolSources) -> None:
    stored = sources.sealed([TIME], [])
    changed = replace(TIME, headers=(("authorization", UNCHANGED), ("X-Tenant", "8")))
    (kept,) = sources.sealed([changed], stored)
    assert sources.resolve(kept).headers == (("authorization", "Bearer secret"), ("X-Tenant", "8"))


@pytest.mark.parametrize(
    "given",
    [
        replace(TIME, url="https://thief.example.com/sse"),
        replace(TIME, name="other"),
        replace(TIME, headers=(("Authorization", UNCHANGED), ("X-Other", UNCHANGED))),
    ],
    ids=["another URL", "another name", "another header"],
)
def test_a_kept_value_goes_nowhere_else(sources: ToolSources, given: ToolSource) -> None:
    stored = sources.sealed([TIME], [])
    told = faults(sources, hidden(given), *stored)
    assert f"tools.0.headers.{given.headers[1][0]}" in told
    assert all(messages[0].startswith("Enter the header's value") for messages in told.values())


def test_names_of_this_server_must_be_known(sources: ToolSources) -> None:
    assert sources.sealed([SHARED, CLOCK], []) == (SHARED, CLOCK)
    assert faults(sources, replace(SHARED, name="x")) == {"tools.0.name": ["Must be one of: support_desk."]}
    told = faults(sources, replace(CLOCK, name="x"))
    assert told == {"tools.0.name": ["Must be one of: current_time, search_documents."]}


def test_what_the_operator_took_away_can_still_be_sent_back_but_not_connected_to() -> None:
    poor = sources_of()
    assert poor.sealed([SHARED], [SHARED]) == (SHARED,)
    with pytest.raises(ProviderFailed) as failed:
        poor.resolve(SHARED)
    assert failed.value.code == "tool_server_unknown"


def test_a_shared_source_is_the_operators_server(sources: ToolSources) -> None:
    assert sources.resolve(SHARED) == DESK
    with pytest.raises(ProviderFailed):
        sources.resolve(replace(SHARED, kind=SourceKind.BUILTIN))


def test_another_secret_asks_for_the_headers_again(sources: ToolSources) -> None:
    stored = sources.sealed([TIME], [])
    other = sources_of(secret="another one")
    with pytest.raises(ProviderFailed) as failed:
        other.resolve(stored[0])
    assert failed.value.code == "tool_headers_unreadable"
    assert "Enter their values again" in failed.value.detail
    assert other.sealed([hidden(stored[0])], stored) == stored
    (entered,) = other.sealed([TIME], stored)
    assert other.resolve(entered).headers == TIME.headers
    (without,) = other.sealed([replace(TIME, headers=())], stored)
    assert other.resolve(without).headers == ()


def test_what_is_sealed_for_one_purpose_opens_for_no_other() -> None:
    sealer = Sealer("secret", "one")
    sealed = sealer.seal("text")
    assert sealer.open(sealed) == Sealer("secret", "one").open(sealed) == "text"
    assert Sealer("secret", "two").open(sealed) is None
    assert Sealer("other", "one").open(sealed) is None
    assert sealer.open("no token") is sealer.open("") is sealer.open("ü") is None
    assert sealer.seal("text") != sealed
    assert ApiKeys("secret").looks_like_key(sealed) is False


@pytest.mark.parametrize("name", ["a", "A-b_9", "x" * 64])
def test_names_that_models_take_are_accepted(name: str) -> None:
    check_name(name)
    assert fitting_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "ä", "a\n", "a.b"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        check_name(name)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/mcp", "https://a.example.com", "http://[::1]:9/sse?x=1"])
def test_urls_of_servers_are_accepted(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url", ["", "a.example.com", "ws://a.example.com", "file:///etc/passwd", "http://u:p@a.example.com", "http://a b/"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        check_url(url)


@pytest.mark.parametrize("name", ["", "A B", "A:", "Ä", "A\r\nB", "Content-Length", "host", "Mcp-Session-Id"])
def test_names_that_are_no_headers_of_theirs_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        check_header_name(name)


@pytest.mark.parametrize("value", ["", " a", "a ", "a\nb", "a\rb", "a\0b", "ä", "x" * 8193, "a\tb"])
def test_values_that_cannot_be_sent_are_refused_without_being_told(value: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_header_value(value)
    assert not value.strip() or len(value) < 3 or value not in str(refused.value)


def test_usual_headers_are_accepted() -> None:
    check_header_name("Authorization")
    check_header_name("X-API-Key")
    check_header_value("Bearer abc def")
