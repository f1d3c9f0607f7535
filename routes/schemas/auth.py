"""Wire names of /auth."""

from marshmallow import Schema, fields, validate

from routes.schemas.base import Text, not_blank

_password = validate.Length(8, 200)


class RegisterSchema(Schema):
    """A new account."""

    name = Text(required=True, validate=[validate.Length(1, 200), not_blank])
    email = fields.Email(required=True, validate=validate.Length(max=254))
    password = Text(required=True, load_only=True, validate=_password)


class LoginSchema(Schema):
    """Credentials; of any form, so that a wrong one never says more than that it is wrong."""

    email = Text(required=True, validate=validate.Length(1, 254))
    password = Text(required=True, load_only=True, validate=validate.Length(1, 1000))


class PasswordSchema(Schema):
    """A change of password."""

    current_password = Text(required=True, load_only=True, validate=validate.Length(1, 1000))
    new_password = Text(required=True, load_only=True, validate=_password)


class UserSchema(Schema):
    """An account."""

    id = fields.String()
    name = fields.String()
    email = fields.String()
    role = fields.String()


class TokensSchema(Schema):
    """A pair of tokens and whose they are."""

    token = fields.String()
    refresh_token = fields.String()
    user = fields.Nested(UserSchema)
