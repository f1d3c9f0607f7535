"""Accounts in MongoDB."""

from collections.abc import Sequence
from datetime import datetime

from models.errors import Conflict, Unavailable
from models.users import Role, User
from repositories.codec import USERS
from repositories.mongo.database import Documents
from repositories.mongo.table import Table, by_id


class MongoUserRepository:
    """Implement `UserRepository`."""

    def __init__(self, collection: Documents) -> None:
        self._users = Table(collection, USERS)

    def add(self, user: User) -> None:
        """Store a new account."""
        if self._users.add(user):
            return
        if self.find_by_email(user.email):
            raise Conflict("There is an account with this address. Log in, or use another.", code="email_taken")
        if user.founder and self._users.first({"founder": True}):
            raise Conflict("The first account exists already. Ask its owner for access.", code="founder_exists")
        raise Unavailable("The account could not be stored. Try again.", code="store_unavailable")

    def get(self, user_id: str) -> User | None:
        """Return the account with this id."""
        return self._users.get(user_id)

    def find_by_email(self, email: str) -> User | None:
        """Return the account with this lower-case address."""
        return self._users.first({"email": email})

    def count(self) -> int:
        """Return how many accounts there are."""
        return self._users.count({})

    def admins(self) -> Sequence[User]:
        """Return the accounts of all admins."""
        return self._users.all({"role": Role.ADMIN.value})

    def set_password(self, user_id: str, password_hash: str, tokens_valid_after: datetime, kept_session: str) -> None:
        """Change the password and, in the same update, end every login but one."""
        changes = {
            "password_hash": password_hash,
            "tokens_valid_after": tokens_valid_after,
            "kept_session": kept_session,
        }
        self._users.update(by_id(user_id), changes)
