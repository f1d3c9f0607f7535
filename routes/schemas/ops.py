"""Wire names of the operations' routes."""

from marshmallow import Schema, fields


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
