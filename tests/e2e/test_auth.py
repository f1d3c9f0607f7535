"""/auth over HTTP."""

import threading
from collections.abc import Callable
from pathlib import Path

from bench.running import RunningServer, running_server
from tests.e2e.api import ADMIN, Api


def test_only_the_first_account_is_made_without_a_token(anonymous: Api, admin: Api) -> None:
    late = {"name": "Eve", "email": "eve@example.com", "password": "eve-password"}
    refused = anonymous.post("/auth/register", json=late)
    assert refused.status_code == 401
    assert admin.user["role"] == "admin"


def test_an_admin_registers_a_user_and_a_user_does_not(user: Api) -> None:
    assert user.user["role"] == "user"
    refused = user.post("/auth/register", json={"name": "Eve", "email": "eve2@example.com", "password": "eve-password"})
    assert refused.status_code == 403


def test_an_email_is_taken_in_any_case(admin: Api) -> None:
    again = admin.post("/auth/register", json={**ADMIN, "email": ADMIN["email"].upper()})
    assert again.status_code == 409
    assert again.json()["code"] == "email_taken"


def test_a_wrong_email_and_a_wrong_password_look_the_same(anonymous: Api) -> None:
    wrong_password = anonymous.login(ADMIN["email"], "nonsense-nonsense")
    wrong_email = anonymous.login("nobody@example.com", "nonsense-nonsense")
    assert wrong_password.status_code == wrong_email.status_code == 401
    bodies = [answer.json() | {"request_id": ""} for answer in (wrong_password, wrong_email)]
    assert bodies[0] == bodies[1]


def test_me_needs_a_token_and_says_who(anonymous: Api, user: Api) -> None:
    assert user.get("/auth/me").json() == user.user
    assert anonymous.get("/auth/me").status_code == 401
    forged = anonymous.get("/auth/me", headers={"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."})
    assert forged.status_code == 401
    assert forged.headers["Content-Type"] == "application/problem+json"


def test_a_refresh_token_is_no_access_token(user: Api) -> None:
    answer = user.get("/auth/me", headers={"Authorization": f"Bearer {user.refresh_token}"})
    assert answer.status_code == 401


def test_a_refresh_token_works_once_and_its_reuse_ends_the_login(user: Api) -> None:
    old = {"Authorization": f"Bearer {user.refresh_token}"}
    pair = user.post("/auth/refresh", headers=old)
    assert pair.status_code == 200
    fresh = {"Authorization": f"Bearer {pair.json()['token']}"}
    assert user.get("/auth/me", headers=fresh).status_code == 200
    assert user.post("/auth/refresh", headers=old).status_code == 401
    assert user.get("/auth/me", headers=fresh).status_code == 401
    assert (
        user.post("/auth/refresh", headers={"Authorization": f"Bearer {pair.json()['refresh_token']}"}).status_code
        == 401
    )


def test_logout_ends_both_tokens_at_once(user: Api) -> None:
    assert user.post("/auth/logout").status_code == 204
    assert user.get("/auth/me").status_code == 401
    assert user.post("/auth/refresh", headers={"Authorization": f"Bearer {user.refresh_token}"}).status_code == 401


def test_a_new_password_ends_every_other_login(user: Api, server: RunningServer) -> None:
    with Api(server.url) as elsewhere:
        elsewhere.login(user.user["email"], "user-password")
        change = {"current_password": "user-password", "new_password": "another-password"}
        assert user.put("/auth/password", json={**change, "current_password": "wrong-one"}).status_code == 422
        assert user.put("/auth/password", json=change).status_code == 204
        assert user.get("/auth/me").status_code == 200
        assert elsewhere.get("/auth/me").status_code == 401
        assert elsewhere.login(user.user["email"], "user-password").status_code == 401
        assert elsewhere.login(user.user["email"], "another-password").status_code == 200
        assert elsewhere.get("/auth/me").status_code == 200


def test_logins_are_limited_by_address_and_email(stores: dict[str, str], tmp_path: Path) -> None:
    settings = {**stores, "MONGODB_DATABASE": "e2e_limits", "LOGINS_PER_MINUTE": "5", "PROXY_HOPS": "1"}
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        answers = [
            api.post(
                "/auth/login",
                json={"email": "nobody@example.com", "password": "nonsense-nonsense"},
                headers={"X-Forwarded-For": f"203.0.113.{number}"},
            )
            for number in range(7)
        ]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
        assert int(answers[-1].headers["Retry-After"]) >= 1


def test_two_first_registrations_make_one_admin(stores: dict[str, str], tmp_path: Path) -> None:
    settings = {**stores, "MONGODB_DATABASE": "e2e_founders", "LOGINS_PER_MINUTE": "0"}
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        statuses: list[int] = []

        def register(number: int) -> None:
            account = {"name": "First", "email": f"first{number}@example.com", "password": "first-password"}
            statuses.append(api.post("/auth/register", json=account).status_code)

        threads = [threading.Thread(target=register, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [201] + [401] * 5


def test_wrong_values_are_named(admin: Api, new_user: Callable[[], Api]) -> None:
    answer = admin.post("/auth/register", json={"name": "", "email": "nonsense", "password": "short", "extra": 1})
    assert answer.status_code == 422
    assert set(answer.json()["errors"]) == {"name", "email", "password", "extra"}
