"""/auth: accounts and tokens."""

from typing import Any

from flask import request

from models.errors import Unauthenticated
from models.users import User
from routes.access import bearer, caller, optional_caller, services, signed_in
from routes.parsing import Blueprint
from routes.schemas.auth import LoginSchema, PasswordSchema, RegisterSchema, TokensSchema, UserSchema
from services.auth import Login

blueprint = Blueprint("auth", __name__, url_prefix="/auth", description="Accounts and tokens")


@blueprint.post("/register")
@blueprint.arguments(RegisterSchema)
@blueprint.response(201, UserSchema)
def register(data: dict[str, Any]) -> User:
    """Create an account: the first without a token, later ones as REGISTRATION says."""
    return services().auth.register(**data, by=optional_caller(), address=_address())


@blueprint.post("/login")
@blueprint.arguments(LoginSchema)
@blueprint.response(200, TokensSchema)
def login(data: dict[str, Any]) -> Login:
    """Exchange email and password for a pair of tokens."""
    return services().auth.login(**data, address=_address())


@blueprint.post("/refresh")
@blueprint.response(200, TokensSchema)
@blueprint.doc(security=[{"refreshToken": []}])
def refresh() -> Login:
    """Exchange a refresh token for a new pair; it works once, and using it again ends the login."""
    token = bearer()
    if token is None:
        raise Unauthenticated("Send the refresh token as Authorization: Bearer <token>.", code="token_missing")
    return services().auth.refresh(token)


@blueprint.post("/logout")
@signed_in
@blueprint.response(204)
def logout() -> None:
    """End this login: its access and refresh tokens are void at once."""
    services().auth.logout(caller())


@blueprint.get("/me")
@signed_in
@blueprint.response(200, UserSchema)
def me() -> User:
    """Return the caller's account."""
    return services().auth.me(caller())


@blueprint.put("/password")
@signed_in
@blueprint.arguments(PasswordSchema)
@blueprint.response(204)
def change_password(data: dict[str, str]) -> None:
    """Change the password and end every other login of the caller."""
    services().auth.change_password(caller(), data["current_password"], data["new_password"])


def _address() -> str:
    return request.remote_addr or ""
