"""Accounts, logins and tokens."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jwt
import pytest
from flask import Flask
from flask_jwt_extended import JWTManager, get_jwt, verify_jwt_in_request

from models.errors import Conflict, Forbidden, Invalid, OrquestraError, RateLimited, Unauthenticated
from models.users import Principal, Role, User
from services.auth import AuthPolicy, AuthService
from services.ports import RateLimiter, SessionRepository, UserRepository
from services.providers.jwt_tokens import JwtTokens
from services.tokens import ScryptHasher, TokenClaims
from tests.unit.memory import MemoryRateLimiter, MemorySessionRepository, MemoryUserRepository

SECRET = "s" * 32
EMAIL, PASSWORD = "ana@example.com", "correct horse"
HOST = "192.0.2.1"


class CountingHasher:
    """Hash fast, and remember which hashes were verified."""

    def __init__(self) -> None:
        self.verified: list[str] = []

    def hash(self, password: str) -> str:
        """Return something that only this password verifies against."""
        return f"hash of {password}"

    def decoy(self) -> str:
        """Return what no password verifies against."""
        return "decoy"

    def verify(self, password_hash: str, password: str) -> bool:
        """Compare, and count."""
        self.verified.append(password_hash)
        return password_hash == self.hash(password)


@dataclass
class House:
    """An AuthService with everything it rests on."""

    policy: AuthPolicy = field(default_factory=lambda: AuthPolicy(logins_per_minute=0))

    def __post_init__(self) -> None:
        self.users = MemoryUserRepository()
        self.sessions = MemorySessionRepository()
        self.hasher = CountingHasher()
        self.tokens = JwtTokens(SECRET)
        users: UserRepository = self.users
        sessions: SessionRepository = self.sessions
        limiter: RateLimiter = MemoryRateLimiter()
        self.auth = AuthService(users, sessions, limiter, self.tokens, self.policy, self.hasher)

    def founder(self) -> User:
        """Register the first account."""
        return self.auth.register("Ana", EMAIL, PASSWORD, None, HOST)

    def admin(self) -> Principal:
        """Return the first account's principal, registered and logged in."""
        self.founder()
        return self.auth.authenticate(self.auth.login(EMAIL, PASSWORD, HOST).token)


@pytest.fixture
def house() -> House:
    """Give a fresh installation without rate limits, registration closed."""
    return House()


def code_of(call: Callable[[], object], kind: type[OrquestraError] = Unauthenticated) -> str:
    """Return the code of the error that a call raises."""
    with pytest.raises(kind) as raised:
        call()
    assert type(raised.value) is kind
    assert raised.value.detail.count(".") >= 2, "say what is wrong, and what to do next"
    return raised.value.code


# Registration


def test_the_first_account_is_the_founder_and_admin(house: House) -> None:
    user = house.auth.register("  Ana ", "  Ana@Example.COM ", PASSWORD, None, HOST)
    assert (user.name, user.email, user.role, user.founder) == ("Ana", EMAIL, Role.ADMIN, True)
    assert house.users.get(user.id) == user
    assert PASSWORD not in user.password_hash or user.password_hash.startswith("hash of")


def test_afterwards_only_an_admin_registers_others(house: House) -> None:
    admin = house.admin()
    bob = house.auth.register("Bob", "bob@example.com", PASSWORD, admin, HOST)
    assert (bob.role, bob.founder) == (Role.USER, False)
    as_bob = Principal(bob.id, bob.role)

    def register(by: Principal | None) -> Callable[[], User]:
        return lambda: house.auth.register("Eve", "eve@example.com", PASSWORD, by, HOST)

    assert code_of(register(None)) == "registration_closed"
    assert code_of(register(as_bob), Forbidden) == "registration_closed"
    assert house.users.count() == 2


def test_open_registration_lets_anybody_in_as_a_user() -> None:
    house = House(AuthPolicy(registration_open=True, logins_per_minute=0))
    house.founder()
    eve = house.auth.register("Eve", "eve@example.com", PASSWORD, None, HOST)
    assert (eve.role, eve.founder) == (Role.USER, False)


def test_an_email_is_taken_in_any_case(house: House) -> None:
    admin = house.admin()
    with pytest.raises(Conflict) as raised:
        house.auth.register("Ana II", EMAIL.upper(), PASSWORD, admin, HOST)
    assert raised.value.code == "email_taken"


@pytest.mark.parametrize("length", [0, 7, 201])
def test_passwords_that_are_too_short_or_too_long_are_refused(house: House, length: int) -> None:
    with pytest.raises(Invalid) as raised:
        house.auth.register("Ana", EMAIL, "x" * length, None, HOST)
    assert list(raised.value.errors) == ["password"]
    assert house.users.count() == 0


@pytest.mark.parametrize("length", [8, 200])
def test_passwords_at_the_bounds_are_fine(house: House, length: int) -> None:
    assert house.auth.register("Ana", EMAIL, "x" * length, None, HOST).founder


class SimultaneousHasher(CountingHasher):
    """Make two registrations meet between looking for accounts and storing theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.barrier = threading.Barrier(2)

    def hash(self, password: str) -> str:
        """Wait for the other one, except for comparisons."""
        if password == PASSWORD:
            self.barrier.wait(10)
        return super().hash(password)


@pytest.mark.parametrize("registration_open", [False, True])
def test_of_two_simultaneous_first_accounts_one_is_the_founder(registration_open: bool) -> None:
    users = MemoryUserRepository()
    policy = AuthPolicy(registration_open=registration_open, logins_per_minute=0)
    auth = AuthService(
        users, MemorySessionRepository(), MemoryRateLimiter(), JwtTokens(SECRET), policy, SimultaneousHasher()
    )

    def register(name: str) -> User | Unauthenticated:
        try:
            return auth.register(name, f"{name}@example.com", PASSWORD, None, HOST)
        except Unauthenticated as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(register, ["ana", "bob"]))
    made = [result for result in results if isinstance(result, User)]
    errors = [result.code for result in results if isinstance(result, Unauthenticated)]
    assert sum(user.founder for user in made) == 1
    if registration_open:
        assert sorted(user.role for user in made) == [Role.ADMIN, Role.USER]
    else:
        assert errors == ["registration_closed"]
        assert users.count() == 1


# Login


def test_a_login_gives_tokens_that_name_the_user(house: House) -> None:
    founder = house.founder()
    login = house.auth.login(f" {EMAIL.upper()} ", PASSWORD, HOST)
    assert login.user == founder
    principal = house.auth.authenticate(login.token)
    assert (principal.user_id, principal.role) == (founder.id, Role.ADMIN)
    assert principal.session
    assert house.auth.me(principal) == founder


def test_wrong_email_and_wrong_password_look_and_cost_the_same(house: House) -> None:
    house.founder()
    errors = []
    for email, password in [(EMAIL, "wrong password"), ("nobody@example.com", PASSWORD)]:
        house.hasher.verified.clear()
        with pytest.raises(Unauthenticated) as raised:
            house.auth.login(email, password, HOST)
        errors.append((raised.value.code, raised.value.detail, len(house.hasher.verified)))
    assert errors[0] == errors[1]
    assert errors[0][0] == "bad_credentials"
    assert errors[0][2] == 1


def test_the_decoy_is_verified_as_slowly_as_a_real_hash() -> None:
    hasher = ScryptHasher()
    one, decoy = hasher.hash(PASSWORD), hasher.decoy()
    assert decoy != hasher.decoy()
    assert [len(part) for part in one.split("$")] == [len(part) for part in decoy.split("$")]
    assert one.split("$")[0] == decoy.split("$")[0]
    assert one.startswith("scrypt:")
    assert hasher.verify(one, PASSWORD)
    assert not hasher.verify(one, "decoy")
    assert not hasher.verify(decoy, PASSWORD)


def test_even_the_password_of_no_account_logs_nobody_in(house: House) -> None:
    assert code_of(lambda: house.auth.login("nobody@example.com", "", HOST)) == "bad_credentials"


@pytest.mark.parametrize(
    ("email", "address"),
    [(EMAIL, "192.0.2.{}"), ("{}@example.com", HOST), ("nobody@example.com", "192.0.2.{}")],
    ids=["an email from everywhere", "everybody from an address", "an unknown email from everywhere"],
)
def test_logins_are_limited_by_email_and_by_address_before_the_password_is_looked_at(email: str, address: str) -> None:
    house = House(AuthPolicy(logins_per_minute=3))
    house.founder()
    for number in range(3):
        attempt = partial(house.auth.login, email.format(number), "wrong", address.format(number))
        assert code_of(attempt) == "bad_credentials"
    house.hasher.verified.clear()
    with pytest.raises(RateLimited) as raised:
        house.auth.login(email.format(9), PASSWORD, address.format(9))
    assert 0 < raised.value.retry_after <= 60
    assert house.hasher.verified == []


def test_registrations_are_limited_too_and_apart_from_logins() -> None:
    house = House(AuthPolicy(logins_per_minute=2))
    house.founder()
    house.auth.login(EMAIL, PASSWORD, HOST)
    house.auth.login(EMAIL, PASSWORD, HOST)
    assert code_of(lambda: house.auth.register("E", "e@example.com", PASSWORD, None, HOST)) == "registration_closed"
    with pytest.raises(RateLimited):
        house.auth.register("E", "e@example.com", PASSWORD, None, HOST)
    with pytest.raises(RateLimited):
        house.auth.login("bob@example.com", PASSWORD, HOST)


# Tokens


def test_a_refresh_gives_the_next_pair_of_the_same_session(house: House) -> None:
    house.founder()
    first = house.auth.login(EMAIL, PASSWORD, HOST)
    second = house.auth.refresh(first.refresh_token)
    third = house.auth.refresh(second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    sessions = {house.auth.authenticate(login.token).session for login in (first, second, third)}
    assert len(sessions) == 1


def test_a_refresh_token_used_twice_ends_its_session_and_no_other(house: House) -> None:
    house.founder()
    other = house.auth.login(EMAIL, PASSWORD, HOST)
    first = house.auth.login(EMAIL, PASSWORD, HOST)
    second = house.auth.refresh(first.refresh_token)
    assert code_of(lambda: house.auth.refresh(first.refresh_token)) == "token_revoked"
    for login in (first, second):
        assert code_of(partial(house.auth.authenticate, login.token)) == "token_revoked"
    assert code_of(lambda: house.auth.refresh(second.refresh_token)) == "token_revoked"
    assert house.auth.authenticate(other.token)


def test_a_logout_voids_both_tokens_of_that_login_only(house: House) -> None:
    house.founder()
    one, other = house.auth.login(EMAIL, PASSWORD, HOST), house.auth.login(EMAIL, PASSWORD, HOST)
    house.auth.logout(house.auth.authenticate(one.token))
    assert code_of(lambda: house.auth.authenticate(one.token)) == "token_revoked"
    assert code_of(lambda: house.auth.refresh(one.refresh_token)) == "token_revoked"
    assert house.auth.authenticate(other.token)


def test_tokens_are_not_taken_for_each_other(house: House) -> None:
    house.founder()
    login = house.auth.login(EMAIL, PASSWORD, HOST)
    assert code_of(lambda: house.auth.authenticate(login.refresh_token)) == "token_invalid"
    assert code_of(lambda: house.auth.refresh(login.token)) == "token_invalid"
    assert house.auth.refresh(login.refresh_token)  # the mistake has not cost the session


def test_the_role_comes_from_the_store(house: House) -> None:
    founder = house.founder()
    token = house.auth.login(EMAIL, PASSWORD, HOST).token
    house.users.put(replace(founder, role=Role.USER))
    assert house.auth.authenticate(token).role is Role.USER


def test_a_deleted_user_is_out_at_once(house: House) -> None:
    founder = house.founder()
    login = house.auth.login(EMAIL, PASSWORD, HOST)
    principal = house.auth.authenticate(login.token)
    house.users.remove(founder.id)
    assert code_of(lambda: house.auth.authenticate(login.token)) == "token_revoked"
    assert code_of(lambda: house.auth.refresh(login.refresh_token)) == "token_revoked"
    assert code_of(lambda: house.auth.me(principal)) == "token_revoked"


CLAIMS = TokenClaims("u", "s", "access", "t", 1)
MINUTE = timedelta(minutes=1)


def payload(**changes: Any) -> dict[str, Any]:
    """Return the payload of a good token, changed; None drops a claim."""
    good = jwt.decode(JwtTokens(SECRET).issue(CLAIMS, 60 * MINUTE), options={"verify_signature": False})
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def test_tokens_read_back_what_was_issued_and_are_laid_out_for_flask_jwt_extended() -> None:
    tokens = JwtTokens(SECRET)
    assert tokens.read(tokens.issue(CLAIMS, MINUTE), "access") == CLAIMS
    assert payload().keys() == {"iss", "sub", "sid", "jti", "type", "login_at", "fresh", "iat", "nbf", "exp"}
    assert (payload()["iss"], payload()["sub"], payload()["type"]) == ("orquestra", "u", "access")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        "é",
        jwt.encode(payload(), "x" * 32, "HS256"),
        jwt.encode(payload(), SECRET + SECRET, "HS512"),
        jwt.encode(payload(), "", "none"),
        jwt.encode(payload(iss="else"), SECRET, "HS256"),
        jwt.encode(payload(iss=None), SECRET, "HS256"),
        jwt.encode(payload(exp=None), SECRET, "HS256"),
        jwt.encode(payload(sid=None), SECRET, "HS256"),
        jwt.encode(payload(sid=""), SECRET, "HS256"),
        jwt.encode(payload(login_at="1"), SECRET, "HS256"),
        jwt.encode(payload(type="refresh"), SECRET, "HS256"),
        jwt.encode(payload(nbf=int(time.time()) + 3000), SECRET, "HS256"),
    ],
)
def test_whatever_is_wrong_with_a_token_makes_it_invalid(token: str) -> None:
    assert code_of(lambda: JwtTokens(SECRET).read(token, "access")) == "token_invalid"


def test_an_expired_token_is_told_apart() -> None:
    tokens = JwtTokens(SECRET)
    assert code_of(lambda: tokens.read(tokens.issue(CLAIMS, -MINUTE), "access")) == "token_expired"


def test_lifetimes_are_the_policys() -> None:
    house = House(AuthPolicy(access_lifetime=MINUTE, refresh_lifetime=timedelta(days=2), logins_per_minute=0))
    house.founder()
    login = house.auth.login(EMAIL, PASSWORD, HOST)

    def lifetime(token: str) -> timedelta:
        claims = jwt.decode(token, options={"verify_signature": False})
        return datetime.fromtimestamp(claims["exp"], UTC) - datetime.fromtimestamp(claims["iat"], UTC)

    assert (lifetime(login.token), lifetime(login.refresh_token)) == (MINUTE, timedelta(days=2))


def test_flask_jwt_extended_takes_the_tokens_and_asks_the_service(house: House) -> None:
    app = Flask(__name__)
    app.config.update(JWT_SECRET_KEY=SECRET, JWT_DECODE_ISSUER="orquestra")
    manager = JWTManager(app)

    @manager.token_in_blocklist_loader
    def ended(header: dict[str, Any], claims: dict[str, Any]) -> bool:
        house.auth.principal_of(claims)
        return False

    @app.errorhandler(Unauthenticated)
    def refuse(error: Unauthenticated) -> tuple[str, int]:
        return error.code, 401

    @app.get("/")
    def who() -> str:
        verify_jwt_in_request()
        return house.auth.principal_of(get_jwt()).user_id

    founder = house.founder()
    login = house.auth.login(EMAIL, PASSWORD, HOST)
    client = app.test_client()
    headers = {"Authorization": f"Bearer {login.token}"}
    assert client.get("/", headers=headers).text == founder.id
    assert client.get("/", headers={"Authorization": f"Bearer {login.refresh_token}"}).status_code == 422
    house.auth.logout(house.auth.authenticate(login.token))
    answer = client.get("/", headers=headers)
    assert (answer.status_code, answer.text) == (401, "token_revoked")


def test_the_claims_of_a_refresh_token_are_no_principal(house: House) -> None:
    house.founder()
    token = house.auth.login(EMAIL, PASSWORD, HOST).refresh_token
    claims = jwt.decode(token, options={"verify_signature": False})
    assert code_of(lambda: house.auth.principal_of(claims)) == "token_invalid"


# Passwords


def test_a_new_password_ends_every_other_login(house: House) -> None:
    house.founder()
    other, mine = house.auth.login(EMAIL, PASSWORD, HOST), house.auth.login(EMAIL, PASSWORD, HOST)
    time.sleep(0.002)
    house.auth.change_password(house.auth.authenticate(mine.token), PASSWORD, "another horse")
    assert house.auth.authenticate(mine.token)
    assert house.auth.authenticate(house.auth.refresh(mine.refresh_token).token)
    assert code_of(lambda: house.auth.authenticate(other.token)) == "token_revoked"
    assert code_of(lambda: house.auth.refresh(other.refresh_token)) == "token_revoked"
    assert code_of(lambda: house.auth.login(EMAIL, PASSWORD, HOST)) == "bad_credentials"
    later = house.auth.login(EMAIL, "another horse", HOST)
    assert house.auth.authenticate(later.token)


def test_refreshing_does_not_make_a_login_younger(house: House) -> None:
    house.founder()
    first = house.auth.login(EMAIL, PASSWORD, HOST)
    time.sleep(0.002)
    second = house.auth.refresh(first.refresh_token)
    login_at = {
        house.tokens.read(first.token, "access").login_at_ms,
        house.tokens.read(second.token, "access").login_at_ms,
        house.tokens.read(second.refresh_token, "refresh").login_at_ms,
    }
    assert len(login_at) == 1


def test_changing_the_password_twice_keeps_only_the_login_that_changed_it_last(house: House) -> None:
    first = house.admin()
    house.auth.change_password(first, PASSWORD, "another horse")
    time.sleep(0.002)
    one = house.auth.login(EMAIL, "another horse", HOST)
    two = house.auth.login(EMAIL, "another horse", HOST)
    time.sleep(0.002)
    house.auth.change_password(house.auth.authenticate(two.token), "another horse", "third horse")
    assert house.auth.authenticate(two.token)
    assert code_of(lambda: house.auth.authenticate(one.token)) == "token_revoked"


def test_a_wrong_current_or_a_bad_new_password_changes_nothing(house: House) -> None:
    admin = house.admin()
    with pytest.raises(Invalid) as raised:
        house.auth.change_password(admin, "wrong password", "another horse")
    assert list(raised.value.errors) == ["current_password"]
    with pytest.raises(Invalid) as raised:
        house.auth.change_password(admin, PASSWORD, "short")
    assert list(raised.value.errors) == ["new_password"]
    assert house.auth.login(EMAIL, PASSWORD, HOST)


def test_guessing_the_current_password_is_limited() -> None:
    house = House(AuthPolicy(logins_per_minute=2))
    admin = house.admin()
    for _ in range(2):
        with pytest.raises(Invalid):
            house.auth.change_password(admin, "wrong password", "another horse")
    with pytest.raises(RateLimited):
        house.auth.change_password(admin, PASSWORD, "another horse")


def test_with_the_real_hasher_a_login_works_and_the_password_is_not_stored() -> None:
    house = House()
    auth = AuthService(house.users, house.sessions, MemoryRateLimiter(), house.tokens, house.policy)
    user = auth.register("Ana", EMAIL, "пароль 密码 ção", None, HOST)
    assert user.password_hash.startswith("scrypt:")
    assert auth.login(EMAIL, "пароль 密码 ção", HOST).user == user
