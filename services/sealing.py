"""Sealing: texts that are stored encrypted under the server's secret, so that the store alone gives none away."""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derived_key(secret: str, purpose: str) -> bytes:
    """Return 32 bytes for one purpose (HKDF, RFC 5869), from which neither the secret nor another key follows."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode()).derive(secret.encode())


class Sealer:
    """Seal texts of one purpose (Fernet, with a key derived by HKDF).

    Args:
        secret: the server's own; what was sealed under another one cannot be opened.
        purpose: texts that were sealed for another one cannot be opened either.
    """

    def __init__(self, secret: str, purpose: str) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(derived_key(secret, purpose)))

    def seal(self, text: str) -> str:
        """Return a text sealed; twice the same gives two that differ."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str | None:
        """Return what was sealed; None when it was sealed under another secret or for another purpose."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            return None
