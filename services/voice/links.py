"""Signed links to spoken answers: channels hand them on to programs that send no credentials along."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.sealing import derived_key

_VALID = timedelta(hours=24)
_PURPOSE = "orquestra links to spoken answers"


@dataclass(frozen=True)
class LinkSignature:
    """What lets whoever has it listen to one answer.

    Attributes:
        expires: Unix time from which it does not any more.
        hex: HMAC-SHA256 of the chat's id and `expires`.
    """

    expires: int
    hex: str


class LinkSigner:
    """Sign links to the sound of chats' answers.

    Args:
        secret: the server's own; signatures under another one are not valid.
    """

    def __init__(self, secret: str) -> None:
        self._key = derived_key(secret, _PURPOSE)

    def sign(self, chat_id: str, at: datetime) -> LinkSignature:
        """Return a signature that is valid for a day."""
        expires = int((at + _VALID).timestamp())
        return LinkSignature(expires, self._mac(chat_id, expires))

    def is_valid(self, chat_id: str, signature: LinkSignature, at: datetime) -> bool:
        """Tell whether it was made for this chat, and has not ended."""
        expected = self._mac(chat_id, signature.expires)
        return hmac.compare_digest(expected.encode(), signature.hex.encode()) and at.timestamp() < signature.expires

    def _mac(self, chat_id: str, expires: int) -> str:
        return hmac.digest(self._key, f"{chat_id}/{expires}".encode(), "sha256").hex()
