"""Wire names of /evaluations: runs, their results and comparisons."""

from typing import Any

from marshmallow import Schema, fields, post_load, validate

from models.evaluations import Metric, ResultStatus, RunStatus
from routes.schemas.base import PageQuery, Text, Timestamp, is_object_id
from routes.schemas.chats import TimingsSchema, TokenCountsSchema
from routes.schemas.datasets import DatasetItemSchema
from services.evaluation.runs import MOST_PARALLEL, RunOrder


class EvaluationQuery(PageQuery):
    """Filters of the lists."""

    assistant_id = fields.String(load_default=None, validate=is_object_id)


class RunOrderSchema(Schema):
    """What to run."""

    assistant_id = Text(required=True, validate=is_object_id)
    dataset_id = Text(required=True, validate=is_object_id)
    metrics = fields.List(
        fields.Enum(Metric, by_value=True), load_default=None, allow_none=True, validate=validate.Length(1, 4)
    )
    judge_model = Text(load_default=None, allow_none=True, validate=validate.Length(1, 200))
    parallel = fields.Integer(load_default=4, strict=True, validate=validate.Range(1, MOST_PARALLEL))

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Fold how to run into one; the servers do it."""
        kept = {name: data.pop(name) for name in ("assistant_id", "dataset_id")}
        return {**kept, "order": RunOrder(**data, queued=True)}


class MetricSummarySchema(Schema):
    """The mean of a metric."""

    mean = fields.Float()
    items = fields.Integer()


class SummarySchema(Schema):
    """What came out of a run so far."""

    done = fields.Integer()
    failed = fields.Integer()
    score = fields.Float(allow_none=True)
    metrics = fields.Dict(keys=fields.String(), values=fields.Nested(MetricSummarySchema))
    tokens = fields.Nested(TokenCountsSchema)
    judge_tokens = fields.Nested(TokenCountsSchema)
    median_ms = fields.Integer(allow_none=True)
    slowest_ms = fields.Integer(allow_none=True)


class RunSchema(Schema):
    """A run; `summary` is there once it has ended."""

    _id = fields.String(attribute="id")
    assistant_id = fields.String()
    assistant_version = fields.Integer()
    dataset_name = fields.String()
    dataset_sha256 = fields.String()
    metrics = fields.List(fields.Enum(Metric, by_value=True))
    judge_model = fields.String(allow_none=True)
    parallel = fields.Integer()
    status = fields.Enum(RunStatus, by_value=True)
    size = fields.Integer(attribute="items", metadata={"description": "how many items it has"})
    error = fields.String(allow_none=True)
    error_code = fields.String(allow_none=True)
    summary = fields.Nested(SummarySchema, allow_none=True)
    createdAt = Timestamp(attribute="created_at")
    endedAt = Timestamp(attribute="ended_at", allow_none=True)


class WatchedRunSchema(RunSchema):
    """A run with how many items are waiting, done and failed now."""

    progress = fields.Dict(keys=fields.Enum(ResultStatus, by_value=True), values=fields.Integer())


class ResultSchema(Schema):
    """An item of a run and what came of it."""

    _id = fields.String(attribute="id")
    position = fields.Integer()
    item = fields.Nested(DatasetItemSchema)
    status = fields.Enum(ResultStatus, by_value=True)
    answer = fields.String(allow_none=True)
    citations = fields.List(fields.String())
    scores = fields.Dict(keys=fields.String(), values=fields.Float())
    score = fields.Float(allow_none=True)
    reason = fields.String(allow_none=True)
    model = fields.String(allow_none=True)
    tokens = fields.Nested(TokenCountsSchema)
    judge_tokens = fields.Nested(TokenCountsSchema)
    timings = fields.Nested(TimingsSchema)
    error = fields.String(allow_none=True)
    error_code = fields.String(allow_none=True)
    endedAt = Timestamp(attribute="ended_at", allow_none=True)


class DifferenceSchema(Schema):
    """How a metric changed; `low` and `high` are the 95 % interval of a paired bootstrap."""

    metric = fields.String()
    items = fields.Integer()
    before = fields.Float()
    after = fields.Float()
    change = fields.Float()
    low = fields.Float()
    high = fields.Float()


class PairSchema(Schema):
    """An item whose score changed."""

    id = fields.String(attribute="after.item.id")
    question = fields.String(attribute="after.item.question")
    before = fields.Float(attribute="before.score")
    after = fields.Float(attribute="after.score")
    change = fields.Float()


class ComparisonSchema(Schema):
    """What changed between two runs."""

    before = fields.Nested(RunSchema)
    after = fields.Nested(RunSchema)
    differences = fields.List(fields.Nested(DifferenceSchema))
    worse = fields.List(fields.Nested(PairSchema))
    better = fields.List(fields.Nested(PairSchema))
