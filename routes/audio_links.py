"""Where the answer of a chat can be heard, as its channel is told."""

from dataclasses import dataclass
from urllib.parse import urlencode

from flask import current_app, request

from models.chats import Chat, ChatStatus
from models.clock import now
from routes.access import services
from services.voice.links import LinkSigner
from services.voice.script import is_said


@dataclass(frozen=True)
class AudibleChat(Chat):
    """A chat with the address of its answer's sound."""

    audio_url: str | None = None


@dataclass(frozen=True)
class AudioLinks:
    """Make the links.

    Attributes:
        root: address of this server, without a slash at the end; "" makes links that are paths.
    """

    signer: LinkSigner
    root: str = ""

    def on(self, chat: Chat) -> Chat:
        """Return a chat with a link that is valid for a day, if its sender wants its answer as sound and it has one."""
        if not (chat.reply_audio and chat.status is ChatStatus.ANSWERED and is_said(chat.response or "")):
            return chat
        signed = self.signer.sign(chat.id, now())
        query = urlencode({"expires": signed.expires, "signature": signed.hex})
        return AudibleChat(**vars(chat), audio_url=f"{self.root}/chats/audio/{chat.id}?{query}")


def audio_links() -> AudioLinks:
    """Return the links that a caller of this request is given."""
    return AudioLinks(services().replies.signer, current_app.config["PUBLIC_URL"] or request.root_url.rstrip("/"))
