"""People who manage assistants."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a user may do: an admin sees everything, a user what they own."""

    ADMIN = "admin"
    USER = "user"


@dataclass(frozen=True)
class User:
    """A person with an account.

    Attributes:
        email: lower case, unique.
        password_hash: werkzeug's format, `method$salt$hash`.
        founder: True for the first account only; unique, so that two first accounts cannot both be made.
        tokens_valid_after: logins older than this are over.
        kept_session: the one login that outlives `tokens_valid_after`: that in which the password was changed.
    """

    id: str
    name: str
    email: str
    password_hash: str
    role: Role
    created_at: datetime
    founder: bool = False
    tokens_valid_after: datetime | None = None
    kept_session: str | None = None


@dataclass(frozen=True)
class Principal:
    """The user behind a request, as the services need it."""

    user_id: str
    role: Role
    session: str = ""

    @property
    def is_admin(self) -> bool:
        """Tell whether this caller sees every owner's things."""
        return self.role is Role.ADMIN

    @property
    def owner_filter(self) -> str | None:
        """Return the owner whose things this caller sees, or None for all owners."""
        return None if self.is_admin else self.user_id


OPERATOR = Principal("", Role.ADMIN)
"""Whoever runs commands on the machine itself; no account, and may do everything."""
