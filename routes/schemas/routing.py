"""Wire names of an assistant's routing."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from models.errors import Invalid
from models.routing import FillerUse, PromptRole, Routing, RoutingMode
from routes.schemas.base import Text, not_blank
from services import templates

_LONGEST_PROMPT = 20_000


def _is_template(text: str) -> None:
    try:
        templates.check(text)
    except Invalid as error:
        raise ValidationError(error.errors["file"]) from None


def _model() -> Text:
    return Text(
        allow_none=True,
        validate=[validate.Length(1, 200), not_blank],
        metadata={"description": "the provider's model name; null for the assistant's own"},
    )


class RoutingSchema(Schema):
    """Which prompt and model a message is answered with, and what is said while tools run."""

    mode = fields.Enum(
        RoutingMode,
        by_value=True,
        metadata={"description": "`route`: a router tells chat from tools; `direct`: one model answers"},
    )
    router_model = _model()
    chat_model = _model()
    tool_model = _model()
    chatty_model = _model()
    prompts = fields.Dict(
        keys=fields.String(validate=validate.OneOf([role.value for role in PromptRole])),
        values=Text(validate=[validate.Length(1, _LONGEST_PROMPT), not_blank, _is_template]),
        metadata={"description": "role -> text; before prompt documents of the same name"},
    )
    filler = fields.Enum(
        FillerUse,
        by_value=True,
        metadata={"description": "where filler is shown: nowhere, where it can be told from the answer, everywhere"},
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Routing:
        """Return the routing; what is left out is as in a new one."""
        return Routing(**data)
