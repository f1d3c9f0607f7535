"""Wire names of datasets: in /evaluations/datasets, and as files of one JSON object a line."""

import json
from collections.abc import Sequence
from typing import Any

from flask_smorest.fields import Upload
from marshmallow import RAISE, Schema, ValidationError, fields, post_dump, post_load, validate

from models.chats import ChatStatus
from models.errors import Invalid
from models.evaluations import DatasetItem, Making, Origin
from models.given import Turn
from routes.schemas.base import Text, Timestamp, is_object_id, not_blank
from routes.schemas.documents import is_file
from services.evaluation.datasets import MOST_ITEMS

_MESSAGE = validate.Length(0, 32_000)
_MOST_TURNS = 50
_MOST_PHRASES = 50
_MOST_FAULTS = 20


class _StrictSchema(Schema):
    class Meta:
        """Refuse names that are not known: most are misspelt."""

        unknown = RAISE


class TurnSchema(_StrictSchema):
    """What was said before the question."""

    message = Text(load_default=None, allow_none=True, validate=_MESSAGE)
    response = Text(load_default=None, allow_none=True, validate=_MESSAGE)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> Turn:
        """Return the turn."""
        return Turn(**data)


class DatasetItemSchema(_StrictSchema):
    """A question with what a good answer to it is; what is absent does not matter."""

    id = Text(load_default="", validate=validate.Length(0, 400))
    question = Text(required=True, validate=[validate.Length(1, 32_000), not_blank])
    expected = Text(load_default=None, allow_none=True, validate=_MESSAGE)
    contains = fields.List(
        Text(validate=[validate.Length(1, 1_000), not_blank]),
        load_default=(),
        validate=validate.Length(max=_MOST_PHRASES),
    )
    documents = fields.List(
        Text(validate=validate.Length(1, 400)),
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=_MOST_PHRASES),
    )
    criteria = Text(load_default=None, allow_none=True, validate=validate.Length(1, 40_000))
    history = fields.List(fields.Nested(TurnSchema), load_default=(), validate=validate.Length(max=_MOST_TURNS))
    language = Text(load_default=None, allow_none=True, validate=validate.Length(1, 35))
    tags = fields.List(Text(validate=validate.Length(1, 400)), load_default=(), validate=validate.Length(max=20))

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> DatasetItem:
        """Return the item."""
        lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
        return DatasetItem(**{**data, **lists})

    @post_dump
    def leave_out_what_is_empty(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Keep `documents: []`, which says that nothing may be cited."""
        return {name: value for name, value in data.items() if value or (name == "documents" and value is not None)}


def named(items: Sequence[DatasetItem]) -> list[DatasetItem]:
    """Return the items, those without an id under their number, from 1."""
    return [
        item if item.id else DatasetItem(**{**vars(item), "id": str(number)}) for number, item in enumerate(items, 1)
    ]


def items_of_lines(content: bytes) -> list[DatasetItem]:
    """Return the items of a dataset's file; empty lines count, and are no items.

    Raises:
        Invalid: it is no UTF-8, or `errors` names the lines that are wrong.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise Invalid("A dataset is UTF-8 text with one JSON object a line. This is none.") from error
    schema, items, faults = DatasetItemSchema(), list[DatasetItem](), dict[str, list[str]]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            items.append(schema.load(json.loads(line)))
        except ValidationError as error:
            faults[f"line {number}"] = [f"{name}: {messages}" for name, messages in error.messages_dict.items()]
        except (ValueError, RecursionError):
            faults[f"line {number}"] = ["This is no JSON object."]
        if len(faults) == _MOST_FAULTS:
            break
    if faults:
        first = next(f"{line}: {messages[0]}" for line, messages in faults.items())
        raise Invalid(f"Some lines are wrong; the first is {first}", errors=faults)
    return named(items)


def lines_of_items(items: Sequence[DatasetItem]) -> str:
    """Return a dataset as its file."""
    schema = DatasetItemSchema()
    return "".join(json.dumps(schema.dump(item), ensure_ascii=False) + "\n" for item in items)


class NewDatasetSchema(Schema):
    """A dataset with its items."""

    assistant_id = Text(required=True, validate=is_object_id)
    name = Text(required=True, validate=[validate.Length(1, 200), not_blank])
    items = fields.List(
        fields.Nested(DatasetItemSchema), required=True, validate=validate.Length(1, MOST_ITEMS), attribute="items"
    )

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Give every item an id."""
        return {**data, "items": named(data["items"])}


class DatasetUpload(Schema):
    """A dataset as a file."""

    assistant_id = Text(required=True, validate=is_object_id)
    name = Text(load_default="", validate=validate.Length(0, 200))
    file = Upload(required=True, validate=is_file)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Read the file; without a name the dataset has the file's."""
        file = data.pop("file")
        return {**data, "name": data["name"].strip() or file.filename[:200], "items": items_of_lines(file.read())}


class MakingSchema(Schema):
    """What to make a dataset from."""

    assistant_id = Text(required=True, validate=is_object_id)
    name = Text(required=True, validate=[validate.Length(1, 200), not_blank])
    origin = fields.Enum(Origin, by_value=True, required=True, data_key="from")
    limit = fields.Integer(load_default=20, strict=True, validate=validate.Range(1, 200))
    seed = fields.Integer(load_default=0, strict=True, validate=validate.Range(0, 2**31 - 1))
    feedback = fields.Integer(load_default=None, allow_none=True, strict=True, validate=validate.OneOf([-1, 1]))
    status = fields.Enum(ChatStatus, by_value=True, load_default=None, allow_none=True)
    since = fields.AwareDateTime(load_default=None, allow_none=True)
    model = Text(load_default=None, allow_none=True, validate=validate.Length(1, 200))
    offline = fields.Boolean(load_default=False)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Fold what is made into one."""
        kept = {name: data.pop(name) for name in ("assistant_id", "name")}
        return {**kept, "making": Making(**data)}


class DatasetSchema(Schema):
    """A dataset, without its items."""

    _id = fields.String(attribute="id")
    assistant_id = fields.String()
    name = fields.String()
    sha256 = fields.String()
    size = fields.Integer(attribute="items", metadata={"description": "how many items it has"})
    createdAt = Timestamp(attribute="created_at")


class WholeDatasetSchema(DatasetSchema):
    """A dataset with its items."""

    items = fields.List(fields.Nested(DatasetItemSchema), attribute="entries")
