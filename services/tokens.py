"""Tokens and passwords: what a token says, and the ports of what signs and hashes."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

from werkzeug.security import check_password_hash, generate_password_hash

from models.errors import Unauthenticated

TokenKind = Literal["access", "refresh"]

_SCRYPT = "scrypt:32768:8:1"


@dataclass(frozen=True)
class TokenClaims:
    """What a token says.

    Attributes:
        login_at_ms: when its session's login began, in Unix milliseconds; refreshing does not change it.
    """

    user_id: str
    session: str
    kind: TokenKind
    token_id: str
    login_at_ms: int

    @classmethod
    def of(cls, claims: Mapping[str, Any], kind: TokenKind) -> "TokenClaims":
        """Read the claims of a token whose signature was verified.

        Raises:
            Unauthenticated: code `token_invalid`; it is of another kind, or not one of ours.
        """
        texts = [claims.get(name) for name in ("sub", "sid", "jti")]
        login_at = claims.get("login_at")
        if claims.get("type") != kind or not all(isinstance(text, str) and text for text in texts):
            raise invalid_token()
        if not isinstance(login_at, int):
            raise invalid_token()
        return cls(claims["sub"], claims["sid"], kind, claims["jti"], login_at)


class TokenIssuer(Protocol):
    """What signs tokens and verifies them."""

    def issue(self, claims: TokenClaims, lifetime: timedelta) -> str:
        """Return a signed token that expires after its lifetime."""

    def read(self, token: str, kind: TokenKind) -> TokenClaims:
        """Verify a token.

        Raises:
            Unauthenticated: code `token_expired`, or `token_invalid` for whatever else is wrong.
        """


class PasswordHasher(Protocol):
    """What turns passwords into hashes."""

    def hash(self, password: str) -> str:
        """Return a salted hash."""

    def decoy(self) -> str:
        """Return a hash of no password, which takes as long to verify as any."""

    def verify(self, password_hash: str, password: str) -> bool:
        """Tell whether the password is that of the hash, in the same time for every answer."""


class ScryptHasher:
    """Hash with werkzeug's scrypt."""

    def hash(self, password: str) -> str:
        """Return a salted hash."""
        return generate_password_hash(password, method=_SCRYPT)

    def decoy(self) -> str:
        """Return a hash of no password: its digest is drawn by lot, as hashing at every start would take 0.1 s."""
        return f"{_SCRYPT}${secrets.token_urlsafe(12)}${secrets.token_hex(64)}"

    def verify(self, password_hash: str, password: str) -> bool:
        """Tell whether the password is that of the hash, in the same time for every answer."""
        return check_password_hash(password_hash, password)


def invalid_token() -> Unauthenticated:
    """Return the error for a token that is not one of ours, or not of the kind that is asked for."""
    return Unauthenticated("The token is not valid here. Log in to get a new one.", code="token_invalid")
