"""Wire names of /documents."""

from typing import Any

from flask_smorest.fields import Upload
from marshmallow import Schema, ValidationError, fields, validate
from werkzeug.datastructures import FileStorage

from models.documents import Document, DocumentStatus, DocumentType, Drift
from routes.schemas.base import PageQuery, Text, Timestamp, is_object_id, not_blank


class AnyCaseEnum(fields.Enum[DocumentType]):
    """An enum by value that takes the value in any case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> DocumentType:
        return super()._deserialize(value.lower() if isinstance(value, str) else value, attr, data, **kwargs)


def is_file(value: object) -> None:
    """Refuse a text field in a file's place, and a form in which no file was chosen."""
    if not isinstance(value, FileStorage) or not value.filename:
        raise ValidationError("Choose a file.")


class DocumentUpload(Schema):
    """A file with what it is for."""

    file = Upload(required=True, validate=is_file)
    type = AnyCaseEnum(DocumentType, by_value=True, required=True)
    assistant_id = Text(required=True, validate=is_object_id)


class DocumentQuery(PageQuery):
    """Filters of the list."""

    assistant_id = fields.String(load_default=None, validate=is_object_id)
    type = AnyCaseEnum(DocumentType, by_value=True, load_default=None)


class WaitQuery(Schema):
    """Whether an upload is answered only when its text is ready to be used."""

    wait = fields.Boolean(load_default=False)


def located(document: Document) -> str:
    """Return where a document's file lies, as operators know it."""
    return f"documents/{document.filepath}"


class DocumentSchema(Schema):
    """A document."""

    _id = fields.String(attribute="id")
    filepath = fields.Function(located, metadata={"type": "string"})
    filename = fields.String()
    type = fields.Enum(DocumentType, by_value=True)
    assistant_id = fields.String()
    size = fields.Integer()
    sha256 = fields.String()
    status = fields.Enum(DocumentStatus, by_value=True)
    error = fields.String(allow_none=True)
    error_code = fields.String(allow_none=True)
    progress = fields.Float()
    retries = fields.Function(lambda document: max(0, document.attempts - 1), metadata={"type": "integer"})
    passages = fields.Integer()
    language = fields.String()
    embeddings_model = fields.Function(
        lambda document: document.embeddings_model or None, metadata={"type": "string", "nullable": True}
    )
    passages_without_vector = fields.Integer()
    revision = fields.String()
    createdAt = Timestamp(attribute="created_at")
    updatedAt = Timestamp(attribute="updated_at")


class ListedDocumentSchema(DocumentSchema):
    """A document beside its file: `drift` is `missing` or `changed` when the file is not what was uploaded."""

    drift = fields.Enum(Drift, by_value=True, allow_none=True)


class DocumentVersionSchema(Schema):
    """A content that a document has, or had."""

    revision = fields.String()
    size = fields.Integer()
    sha256 = fields.String()
    createdAt = Timestamp(attribute="created_at")


class RestoreSchema(Schema):
    """The version to make the current one again."""

    revision = Text(required=True, validate=is_object_id)


class PathSchema(Schema):
    """Where a document's file lies."""

    path = fields.Function(located, metadata={"type": "string"})


class SearchSchema(Schema):
    """A question to the documents of an assistant."""

    assistant_id = Text(required=True, validate=is_object_id)
    query = Text(required=True, validate=[validate.Length(1, 32_000), not_blank])
    limit = fields.Integer(load_default=6, strict=True, validate=validate.Range(1, 50))


class FoundPassageSchema(Schema):
    """A passage that was found: `passage` is the document's text from `start` to `end`, in code points."""

    document_id = fields.String(attribute="passage.document_id")
    filename = fields.String(attribute="passage.filename")
    passage = fields.String(attribute="passage.text")
    headings = fields.List(fields.String(), attribute="passage.headings")
    header = fields.String(attribute="passage.header")
    page = fields.Integer(attribute="passage.page", allow_none=True)
    start = fields.Integer(attribute="passage.start")
    end = fields.Integer(attribute="passage.end")
    score = fields.Float()
    coverage = fields.Float()
