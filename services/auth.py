"""Accounts, logins and tokens.

A login starts a session. Its access tokens are short-lived; its refresh token works once and is exchanged for the
next pair. Every request asks again whether the session goes on and what the user's role is, so that a logout, a
stolen refresh token that was used twice or a new password count at once, and tokens carry nothing to believe but who
they are for.
"""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from models.clock import now
from models.errors import Conflict, Forbidden, Invalid, RateLimited, Unauthenticated
from models.ids import new_id
from models.users import Principal, Role, User
from services.ports import RateLimiter, SessionRepository, UserRepository
from services.tokens import PasswordHasher, ScryptHasher, TokenClaims, TokenIssuer

PASSWORD_LENGTH = range(8, 201)


@dataclass(frozen=True)
class AuthPolicy:
    """What the operator decides about logins.

    Attributes:
        registration_open: whether anybody may register, not only who an admin registers.
        logins_per_minute: logins, and registrations, per address and per email; 0 for no limit.
    """

    registration_open: bool = False
    access_lifetime: timedelta = timedelta(minutes=15)
    refresh_lifetime: timedelta = timedelta(days=7)
    logins_per_minute: int = 10


@dataclass(frozen=True)
class Login:
    """A user who proved to be one, with the pair of tokens for what follows."""

    user: User
    token: str
    refresh_token: str


class AuthService:
    """Register, log in and out, and tell who is behind a token.

    Args:
        hasher: scrypt unless told otherwise.
    """

    def __init__(
        self,
        users: UserRepository,
        sessions: SessionRepository,
        limiter: RateLimiter,
        tokens: TokenIssuer,
        policy: AuthPolicy,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._limiter = limiter
        self._tokens = tokens
        self._policy = policy
        self._hasher = hasher or ScryptHasher()
        self._decoy = self._hasher.decoy()

    def register(self, name: str, email: str, password: str, by: Principal | None, address: str) -> User:
        """Create an account: the first one for whoever asks, as admin; later ones as the policy says.

        Args:
            by: who asks, if a token came along.
            address: the network address that asks, for the rate limit.

        Raises:
            RateLimited: too many registrations from there, or of that email.
            Unauthenticated, Forbidden: code `registration_closed`.
            Invalid: the password is too short or too long.
            Conflict: code `email_taken`.
        """
        email = _normal(email)
        self._limit("register", address, email)
        founder = self._users.count() == 0
        if not founder:
            self._check_may_register(by)
        _check_length(password, "password")
        role = Role.ADMIN if founder else Role.USER
        user = User(new_id(), name.strip(), email, self._hasher.hash(password), role, now(), founder)
        try:
            self._users.add(user)
        except Conflict as conflict:
            if conflict.code != "founder_exists":
                raise
            self._check_may_register(by)  # somebody else was first, after we looked
            user = replace(user, role=Role.USER, founder=False)
            self._users.add(user)
        return user

    def login(self, email: str, password: str, address: str) -> Login:
        """Start a session.

        A wrong email takes the same steps as a wrong password, so that neither answer nor time tells them apart.

        Raises:
            RateLimited: too many logins from that address, or of that email.
            Unauthenticated: code `bad_credentials`.
        """
        email = _normal(email)
        self._limit("login", address, email)
        login_at = now()  # before the look-up: a password changed from here on ends this login
        user = self._users.find_by_email(email)
        right = self._hasher.verify(user.password_hash if user else self._decoy, password)
        if user is None or not right:
            raise Unauthenticated(
                "Email or password is wrong. Check both, or ask an administrator.", code="bad_credentials"
            )
        session, refresh_id = _random_id(), _random_id()
        self._sessions.start(session, refresh_id, self._refresh_seconds)
        return self._pair(user, session, refresh_id, _milliseconds(login_at))

    def refresh(self, refresh_token: str) -> Login:
        """Exchange a refresh token for the next pair; using one twice ends its session.

        Raises:
            Unauthenticated: code `token_invalid`, `token_expired` or `token_revoked`.
        """
        claims = self._tokens.read(refresh_token, "refresh")
        user = self._user_of(claims)
        next_id = _random_id()
        if not self._sessions.rotate(claims.session, claims.token_id, next_id, self._refresh_seconds):
            raise _revoked()
        return self._pair(user, claims.session, next_id, claims.login_at_ms)

    def authenticate(self, access_token: str) -> Principal:
        """Return who is behind an access token now.

        Raises:
            Unauthenticated: code `token_invalid`, `token_expired` or `token_revoked`.
        """
        return self._principal(self._tokens.read(access_token, "access"))

    def principal_of(self, claims: Mapping[str, Any]) -> Principal:
        """Return who is behind the claims of an access token whose signature and times were verified already.

        Raises:
            Unauthenticated: code `token_invalid` (a refresh token's claims, too) or `token_revoked`.
        """
        return self._principal(TokenClaims.of(claims, "access"))

    def logout(self, principal: Principal) -> None:
        """End the caller's session: both its tokens are void at once."""
        self._sessions.end(principal.session)

    def me(self, principal: Principal) -> User:
        """Return the caller's account.

        Raises:
            Unauthenticated: code `token_revoked`; it was deleted.
        """
        user = self._users.get(principal.user_id)
        if user is None:
            raise _revoked()
        return user

    def change_password(self, principal: Principal, current: str, new: str) -> None:
        """Change the caller's password and end their other logins.

        Raises:
            RateLimited: too many tries.
            Invalid: the current password is wrong, or the new one too short or too long.
        """
        self._hit("password", principal.user_id)
        user = self.me(principal)
        _check_length(new, "new_password")
        if not self._hasher.verify(user.password_hash, current):
            raise Invalid(
                "The current password is wrong. Enter the one you log in with.",
                code="wrong_password",
                errors={"current_password": ["Wrong password."]},
            )
        new_hash = self._hasher.hash(new)
        self._users.set_password(user.id, new_hash, tokens_valid_after=now(), kept_session=principal.session)

    @property
    def _refresh_seconds(self) -> int:
        return int(self._policy.refresh_lifetime.total_seconds())

    def _pair(self, user: User, session: str, refresh_id: str, login_at_ms: int) -> Login:
        access = TokenClaims(user.id, session, "access", _random_id(), login_at_ms)
        refresh = replace(access, kind="refresh", token_id=refresh_id)
        return Login(
            user,
            self._tokens.issue(access, self._policy.access_lifetime),
            self._tokens.issue(refresh, self._policy.refresh_lifetime),
        )

    def _principal(self, claims: TokenClaims) -> Principal:
        user = self._user_of(claims)
        if not self._sessions.is_active(claims.session):
            raise _revoked()
        return Principal(user.id, user.role, claims.session)

    def _user_of(self, claims: TokenClaims) -> User:
        """Return the user of a token whose login was not ended by a change of the password."""
        user = self._users.get(claims.user_id)
        if user is None:
            raise _revoked()
        ended = user.tokens_valid_after is not None and claims.login_at_ms < _milliseconds(user.tokens_valid_after)
        if ended and claims.session != user.kept_session:
            raise _revoked()
        return user

    def _check_may_register(self, by: Principal | None) -> None:
        if self._policy.registration_open or (by is not None and by.is_admin):
            return
        detail = "Registration is closed. Ask an administrator to create the account, or set REGISTRATION=open."
        error = Unauthenticated if by is None else Forbidden
        raise error(detail, code="registration_closed")

    def _limit(self, action: str, address: str, email: str) -> None:
        self._hit(f"{action}-address", address)
        self._hit(f"{action}-email", email)

    def _hit(self, scope: str, key: str) -> None:
        wait = self._limiter.hit(scope, key, self._policy.logins_per_minute)
        if wait is not None:
            raise RateLimited(f"Too many attempts. Try again in {math.ceil(wait)} s.", retry_after=wait)


def _revoked() -> Unauthenticated:
    return Unauthenticated("This login has ended. Log in again.", code="token_revoked")


def _check_length(password: str, field: str) -> None:
    if len(password) not in PASSWORD_LENGTH:
        rule = f"Choose {PASSWORD_LENGTH[0]} to {PASSWORD_LENGTH[-1]} characters."
        raise Invalid(f"The password is too short or too long. {rule}", errors={field: [rule]})


def _normal(email: str) -> str:
    return email.strip().lower()


def _random_id() -> str:
    return secrets.token_urlsafe(16)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
