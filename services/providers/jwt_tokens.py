"""Tokens as signed JWTs, by PyJWT, laid out as flask-jwt-extended 4.7 reads them."""

from datetime import UTC, datetime, timedelta

import jwt

from models.errors import Unauthenticated
from services.tokens import TokenClaims, TokenKind, invalid_token

ALGORITHM = "HS256"
ISSUER = "orquestra"
LEEWAY_SECONDS = 10
"""How far the clocks of a fleet may be apart."""


class JwtTokens:
    """Implement `TokenIssuer`.

    Args:
        secret: at least 32 characters; whoever knows it can make tokens.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def issue(self, claims: TokenClaims, lifetime: timedelta) -> str:
        """Return a signed token that expires after its lifetime."""
        issued_at = datetime.now(UTC)
        payload = {
            "iss": ISSUER,
            "sub": claims.user_id,
            "sid": claims.session,
            "jti": claims.token_id,
            "type": claims.kind,
            "login_at": claims.login_at_ms,
            "fresh": False,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + lifetime,
        }
        return jwt.encode(payload, self._secret, ALGORITHM)

    def read(self, token: str, kind: TokenKind) -> TokenClaims:
        """Verify a token.

        Raises:
            Unauthenticated: code `token_expired`, or `token_invalid` for whatever else is wrong.
        """
        try:
            payload = jwt.decode(
                token,
                self._secret,
                [ALGORITHM],
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "nbf"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated(
                "The token has expired. Get a new one with the refresh token, or log in again.", code="token_expired"
            ) from error
        except jwt.InvalidTokenError as error:
            raise invalid_token() from error
        return TokenClaims.of(payload, kind)
