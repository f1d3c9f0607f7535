"""Secrets that callbacks are signed with: `whsec_<base64>`, derived from the server's own, so that none is stored."""

import base64
from datetime import datetime

from models.assistants import Assistant
from services.sealing import derived_key


class WebhookSecrets:
    """Derive each assistant's secrets.

    Args:
        secret: the server's own; under another one, all of them are others.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def current(self, assistant: Assistant) -> str:
        """Return the secret that an assistant's callbacks are signed with."""
        return self._derive(assistant.id, assistant.webhook_version)

    def signing(self, assistant: Assistant, at: datetime) -> tuple[str, ...]:
        """Return every secret to sign with: the current one and, until the grace is over, the one before."""
        grace = assistant.webhook_grace_until
        if grace is None or grace <= at or assistant.webhook_version < 2:
            return (self.current(assistant),)
        return self.current(assistant), self._derive(assistant.id, assistant.webhook_version - 1)

    def _derive(self, assistant_id: str, version: int) -> str:
        key = derived_key(self._secret, f"orquestra webhook secrets/{assistant_id}/{version}")
        return "whsec_" + base64.b64encode(key).decode()
