"""Wire names of the operations' routes."""

from marshmallow import Schema, fields

from routes.schemas.base import Timestamp


class HealthSchema(Schema):
    """Liveness."""

    status = fields.String()


class ReadinessSchema(Schema):
    """Readiness: `checks` names each part and what answers there."""

    ready = fields.Boolean()
    draining = fields.Boolean()
    checks = fields.Dict(keys=fields.String(), values=fields.String())
    provider = fields.String(data_key="language_model")
    model = fields.String()


class VersionSchema(Schema):
    """What runs here."""

    name = fields.String()
    version = fields.String()


class JobSchema(Schema):
    """A job that was asked for."""

    job = fields.String()
    argument = fields.String()


class DeadLetterSchema(JobSchema):
    """A job that failed too often: `code` and `detail` are of its last failure."""

    _id = fields.String(attribute="id")
    tries = fields.Integer()
    code = fields.String()
    detail = fields.String()
    askedAt = Timestamp(attribute="asked_at")
    diedAt = Timestamp(attribute="died_at")
