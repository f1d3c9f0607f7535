"""Whole implementations of a few store ports in memory, for tests of services that need no server."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from models.errors import Conflict
from models.users import Role, User


class MemoryUserRepository:
    """Implement `UserRepository`."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self._lock = threading.Lock()

    def add(self, user: User) -> None:
        """Store a new account."""
        with self._lock:
            if any(other.email == user.email for other in self._users.values()):
                raise Conflict("There is an account with this email.", code="email_taken")
            if user.founder and any(other.founder for other in self._users.values()):
                raise Conflict("There is a first account.", code="founder_exists")
            self._users[user.id] = user

    def get(self, user_id: str) -> User | None:
        """Return the account with this id."""
        return self._users.get(user_id)

    def find_by_email(self, email: str) -> User | None:
        """Return the account with this lower-case address."""
        with self._lock:
            return next((user for user in self._users.values() if user.email == email), None)

    def count(self) -> int:
        """Return how many accounts there are."""
        return len(self._users)

    def admins(self) -> Sequence[User]:
        """Return the accounts of all admins."""
        with self._lock:
            return [user for user in self._users.values() if user.role is Role.ADMIN]

    def set_password(self, user_id: str, password_hash: str, tokens_valid_after: datetime, kept_session: str) -> None:
        """Change the password and, in the same update, end every login but one."""
        with self._lock:
            self._users[user_id] = replace(
                self._users[user_id],
                password_hash=password_hash,
                tokens_valid_after=tokens_valid_after,
                kept_session=kept_session,
            )

    def put(self, user: User) -> None:
        """Overwrite an account, as an operator would in the database."""
        self._users[user.id] = user

    def remove(self, user_id: str) -> None:
        """Delete an account, as an operator would in the database."""
        del self._users[user_id]


class MemorySessionRepository:
    """Implement `SessionRepository`."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def start(self, session: str, refresh_id: str, seconds: int) -> None:
        """Begin a session whose only valid refresh token is this one, for so long."""
        with self._lock:
            self._sessions[session] = refresh_id, time.monotonic() + seconds

    def rotate(self, session: str, used_id: str, next_id: str, seconds: int) -> bool:
        """Exchange the refresh token; a token that is not the current one ends the session and gives False."""
        with self._lock:
            current, end = self._sessions.pop(session, ("", 0.0))
            if current != used_id or end <= time.monotonic():
                return False
            self._sessions[session] = next_id, time.monotonic() + seconds
            return True

    def is_active(self, session: str) -> bool:
        """Tell whether the session goes on."""
        with self._lock:
            return self._sessions.get(session, ("", 0.0))[1] > time.monotonic()

    def end(self, session: str) -> None:
        """End the session: its access and refresh tokens are void at once."""
        with self._lock:
            self._sessions.pop(session, None)


class MemoryRateLimiter:
    """Implement `RateLimiter` with the time of every use."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], list[float]] = {}
        self._lock = threading.Lock()

    def hit(self, scope: str, key: str, limit: int, seconds: int = 60) -> float | None:
        """Count one use of `key` in `scope`; None within `limit` per so many seconds, else the seconds to wait."""
        if limit == 0:
            return None
        with self._lock:
            at = time.monotonic()
            uses = [use for use in self._uses.get((scope, key), []) if use > at - seconds]
            if len(uses) >= limit:
                return uses[0] + seconds - at
            self._uses[scope, key] = [*uses, at]
            return None
