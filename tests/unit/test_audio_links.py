"""Links to spoken answers: valid for one chat, for a day, and under one secret."""

from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from models.chats import Chat, ChatStatus
from routes.access import SERVICES_KEY
from routes.audio_links import AudioLinks, audio_links
from routes.schemas.chats import ChannelAnswerSchema
from services.voice.links import LinkSignature, LinkSigner
from services.voice.script import is_said
from tests.contract.stores import NOW, make_chat

SIGNER = LinkSigner("the server's own secret")


@dataclass(frozen=True)
class Replies:
    """What of `SpokenReplies` makes links."""

    signer: LinkSigner


@dataclass(frozen=True)
class Held:
    """What of `Services` makes links."""

    replies: Replies


CHAT = make_chat(response="Olá.", reply_audio=True)
SIGNED = SIGNER.sign(CHAT.id, NOW)
UNANSWERED = [status for status in ChatStatus if status is not ChatStatus.ANSWERED]


def test_a_link_is_valid_for_a_day() -> None:
    assert SIGNER.is_valid(CHAT.id, SIGNED, NOW)
    assert SIGNER.is_valid(CHAT.id, SIGNED, NOW + timedelta(hours=23, minutes=59))
    assert not SIGNER.is_valid(CHAT.id, SIGNED, NOW + timedelta(hours=24))


@pytest.mark.parametrize(
    "other",
    [
        replace(SIGNED, expires=SIGNED.expires + 1),
        replace(SIGNED, hex=SIGNED.hex.upper()),
        replace(SIGNED, hex=SIGNED.hex[:-1]),
        replace(SIGNED, hex=""),
        replace(SIGNED, hex="ñ" * 64),
        LinkSigner("another secret").sign(CHAT.id, NOW),
        SIGNER.sign(make_chat().id, NOW),
    ],
    ids=["later", "case", "shorter", "none", "letters", "secret", "chat"],
)
def test_what_was_not_signed_is_not_valid(other: LinkSignature) -> None:
    assert not SIGNER.is_valid(CHAT.id, other, NOW)


def shown(chat: Chat, root: str = "https://api.example.com") -> str | None:
    """Return the link that a channel is given."""
    dumped = ChannelAnswerSchema().dump(AudioLinks(SIGNER, root).on(chat))
    assert dumped["_id"] == chat.id and dumped["status"] == chat.status.value
    url: str | None = dumped["audio_url"]
    return url


def test_a_channel_is_given_a_whole_link_and_a_callback_without_an_address_a_path() -> None:
    link = urlsplit(shown(CHAT) or "")
    assert (link.scheme, link.netloc, link.path) == ("https", "api.example.com", f"/chats/audio/{CHAT.id}")
    query = parse_qs(link.query, strict_parsing=True)
    assert set(query) == {"expires", "signature"} and len(query["signature"][0]) == 64
    assert (shown(CHAT, "") or "").startswith(f"/chats/audio/{CHAT.id}?expires=")


@pytest.mark.parametrize(
    ("public_url", "root"),
    [("", "https://chat.example.com:8443"), ("https://api.example.com/orquestra", "https://api.example.com/orquestra")],
    ids=["request", "setting"],
)
def test_links_lead_to_the_address_of_the_setting_or_of_the_request(public_url: str, root: str) -> None:
    app = Flask(__name__)
    app.config["PUBLIC_URL"] = public_url
    app.extensions[SERVICES_KEY] = Held(Replies(SIGNER))
    with app.test_request_context("/chats/enviarMensagemLLM?a=1", base_url="https://chat.example.com:8443/"):
        assert audio_links() == AudioLinks(SIGNER, root)


@pytest.mark.parametrize(
    "chat",
    [
        replace(CHAT, reply_audio=False),
        replace(CHAT, response="```\nx = 1\n```"),
        replace(CHAT, response=""),
        replace(CHAT, response=None),
        *(replace(CHAT, status=status) for status in ChatStatus if status is not ChatStatus.ANSWERED),
    ],
    ids=[
        "unasked",
        "code",
        "empty",
        "none",
        *(status.value for status in ChatStatus if status is not ChatStatus.ANSWERED),
    ],
)
def test_what_is_no_answer_has_no_link(chat: Chat) -> None:
    assert shown(chat) is None


def test_what_is_said_far_behind_code_is_found() -> None:
    code = "```\n" + "print(1)\n" * 500
    assert not is_said(code)
    assert is_said(f"{code}```\nDone")
