"""What several schemas share."""

import re
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, fields, post_load, validate

from models.paging import Page

is_object_id = validate.Regexp(re.compile(r"^[0-9a-f]{24}\Z"), error="Must be 24 hexadecimal digits.")
not_blank = validate.Regexp(re.compile(r"\S"), error="Must not be blank.")


class Timestamp(fields.Field[datetime]):
    """ISO 8601 in UTC with `Z`; milliseconds only where there are some."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        spec = "milliseconds" if utc.microsecond else "seconds"
        return utc.isoformat(timespec=spec).replace("+00:00", "Z")


class PageQuery(Schema):
    """`?limit=&after=`."""

    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000))
    after = fields.String(load_default=None, validate=is_object_id)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Fold the two into a Page."""
        return {**data, "page": Page(data.pop("limit"), data.pop("after"))}


class ProblemSchema(Schema):
    """A failure, RFC 9457."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    detail = fields.String()
    code = fields.String()
    request_id = fields.String()
    errors = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))
