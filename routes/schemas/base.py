"""What several schemas share."""

import json
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, pre_load, validate

from models.chats import Chat
from models.clock import now
from models.conversations import Conversation, is_active
from models.paging import Page

LONGEST_MESSAGE = 200_000
"""Characters of a message that comes by a door: clients put documents into it."""

# `(?![\s\S])` is the end of the text in Python and in JavaScript alike, which `$` and `\Z` are not.
is_object_id = validate.Regexp(r"^[0-9a-f]{24}(?![\s\S])", error="Must be 24 hexadecimal digits.")
is_language = validate.Regexp(
    r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*(?![\s\S])", error="Must be a BCP 47 tag such as pt-BR."
)


def not_blank(text: str) -> None:
    """Refuse a text of nothing but white space."""
    if not text.strip():
        raise ValidationError("Must not be blank.")


def answering_now(held: Chat | Conversation) -> bool:
    """Return `active` as it is now: a pause that is over has ended by itself."""
    return is_active(held.active, held.paused_until, now())


class Text(fields.String):
    """A string that every store can hold and every reader can show: no NUL, no half of a surrogate pair."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise ValidationError("Must not contain NUL or unpaired surrogates.")
        return text


class Timestamp(fields.DateTime):
    """ISO 8601 in UTC with `Z`; milliseconds only where there are some."""

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        spec = "milliseconds" if utc.microsecond else "seconds"
        return utc.isoformat(timespec=spec).replace("+00:00", "Z")


class ClientSchema(Schema):
    """A request of a client of another service: what is known of it is taken, clients send new fields all the time.

    What no model's server could be sent is refused, wherever it is.
    """

    class Meta:
        """Take the fields below, whatever else comes along."""

        unknown = EXCLUDE

    @pre_load
    def check_json(self, data: Any, **_: Any) -> Any:
        """Refuse NaN and unpaired surrogates."""
        try:
            json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
        except ValueError:
            raise ValidationError("Must be JSON without NaN and without unpaired surrogates.") from None
        return data


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
