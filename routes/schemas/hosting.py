"""Wire names of what a provider holds of an assistant."""

from marshmallow import Schema, fields


class SyncQuery(Schema):
    """Whether a synchronization is answered only when it is done."""

    wait = fields.Boolean(load_default=False)


class SyncReportSchema(Schema):
    """What differs between an assistant's documents and what its provider holds."""

    hosted = fields.Boolean(metadata={"description": "whether the assistant's provider is to hold its documents"})
    missing = fields.List(
        fields.String(), metadata={"description": "documents whose current text cannot be found there yet"}
    )
    outdated = fields.List(
        fields.String(),
        metadata={"description": "documents of which another text is there, or waits for the end of older answers"},
    )
    unregistered = fields.List(
        fields.String(), metadata={"description": "the provider's ids of files that nobody here knows"}
    )
    in_order = fields.Integer(metadata={"description": "how many documents are there as they should be"})


class SynchronizedSchema(SyncReportSchema):
    """What differs still, and what was found before."""

    found = fields.Nested(
        SyncReportSchema,
        allow_none=True,
        metadata={"description": "with `wait`, what differed before it was mended; else null"},
    )
