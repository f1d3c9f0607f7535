"""API keys: `orq_<key id>_<secret>`, looked up by digest, kept encrypted so that they can be shown again."""

import hashlib
import re
import secrets
import string
from datetime import datetime

from models.assistants import ApiKey
from services.sealing import Sealer

_ALPHABET = string.digits + string.ascii_letters
_ID_LENGTH = 12
_SECRET_LENGTH = 32
"""Base62 characters: 190 bits."""

_FORM = re.compile(f"orq_[0-9A-Za-z]{{{_ID_LENGTH}}}_[0-9A-Za-z]{{{_SECRET_LENGTH}}}")


class ApiKeys:
    """Make API keys and show them again.

    Args:
        secret: the server's own; keys made under another one still work but cannot be shown.
    """

    def __init__(self, secret: str) -> None:
        self._sealer = Sealer(secret, "orquestra api keys")

    def create(self, at: datetime) -> tuple[str, ApiKey]:
        """Return a new key and its record."""
        key_id = _random(_ID_LENGTH)
        key = f"orq_{key_id}_{_random(_SECRET_LENGTH)}"
        return key, ApiKey(key_id, self.sha256(key), self._sealer.seal(key), created_at=at)

    def sha256(self, key: str) -> str:
        """Return the hex digest by which a key is looked up."""
        return hashlib.sha256(key.encode()).hexdigest()

    def reveal(self, api_key: ApiKey) -> str | None:
        """Return the whole key; None when it was encrypted under another secret."""
        return self._sealer.open(api_key.encrypted)

    def looks_like_key(self, text: str) -> bool:
        """Tell whether a text has the form of a key, to tell it from a token."""
        return _FORM.fullmatch(text) is not None


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
