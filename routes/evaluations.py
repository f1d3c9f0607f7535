"""/evaluations: datasets of questions, runs of assistants against them, and what came out."""

from typing import Any

from flask import Response, request, url_for

from models.evaluations import Dataset, Run
from routes.access import caller, services, signed_in
from routes.paging import page_headers
from routes.parsing import Blueprint
from routes.room import in_room, new_deadline
from routes.schemas.base import PageQuery
from routes.schemas.datasets import DatasetSchema, DatasetUpload, MakingSchema, NewDatasetSchema, WholeDatasetSchema
from routes.schemas.evaluations import (
    ComparisonSchema,
    EvaluationQuery,
    ResultSchema,
    RunOrderSchema,
    RunSchema,
    WatchedRunSchema,
)

blueprint = Blueprint(
    "evaluations", __name__, url_prefix="/evaluations", description="How well assistants answer: datasets and runs"
)

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""A report needs nothing but the styles that stand in it."""

_DATASET_BODY = {
    "content": {
        "application/json": {"schema": NewDatasetSchema},
        "multipart/form-data": {"schema": DatasetUpload},
    }
}


@blueprint.post("/datasets/add")
@signed_in
@blueprint.doc(requestBody=_DATASET_BODY)
@blueprint.response(201, DatasetSchema)
def add_dataset() -> Any:
    """Store a dataset: JSON with its items, or a form with a file of JSON lines."""
    as_form = request.mimetype == "multipart/form-data"
    schema, location = (DatasetUpload(), "files") if as_form else (NewDatasetSchema(), "json")
    data = blueprint.ARGUMENTS_PARSER.parse(schema, request, location=location)
    return _placed(services().evaluations.datasets.add(caller(), **data))


@blueprint.post("/datasets/make")
@signed_in
@blueprint.arguments(MakingSchema)
@blueprint.response(201, DatasetSchema)
@in_room(watched=True)
def make_dataset(data: dict[str, Any]) -> Any:
    """Make a dataset from an assistant's chats or documents, and store it."""
    return _placed(services().evaluations.datasets.make(caller(), **data, deadline=new_deadline()))


@blueprint.get("/datasets/list")
@signed_in
@blueprint.arguments(EvaluationQuery, location="query")
@blueprint.response(200, DatasetSchema(many=True))
def list_datasets(query: dict[str, Any]) -> Any:
    """List datasets, newest first."""
    listing = services().evaluations.datasets.list(caller(), query["assistant_id"], query["page"])
    return listing.items, page_headers(listing, query["page"])


@blueprint.get("/datasets/get/<dataset_id>")
@signed_in
@blueprint.response(200, WholeDatasetSchema)
def get_dataset(dataset_id: str) -> dict[str, Any]:
    """Return a dataset with its items."""
    datasets = services().evaluations.datasets
    dataset = datasets.get(caller(), dataset_id)
    return {**vars(dataset), "entries": datasets.items(dataset)}


@blueprint.delete("/datasets/delete/<dataset_id>")
@signed_in
@blueprint.response(204)
def delete_dataset(dataset_id: str) -> None:
    """Delete a dataset; runs of it keep their own copies of its items."""
    services().evaluations.datasets.delete(caller(), dataset_id)


@blueprint.post("/run")
@signed_in
@blueprint.arguments(RunOrderSchema)
@blueprint.response(202, RunSchema)
def run(data: dict[str, Any]) -> Any:
    """Have the servers ask an assistant a dataset's questions and score the answers."""
    begun = services().evaluations.begin(caller(), **data)
    return begun, {"Location": url_for("evaluations.get", run_id=begun.id)}


@blueprint.post("/cancel/<run_id>")
@signed_in
@blueprint.response(200, RunSchema)
def cancel(run_id: str) -> Run:
    """End a run that goes on; what is scored stays."""
    return services().evaluations.runs.cancel(caller(), run_id)


@blueprint.get("/list")
@signed_in
@blueprint.arguments(EvaluationQuery, location="query")
@blueprint.response(200, RunSchema(many=True))
def list_(query: dict[str, Any]) -> Any:
    """List runs, newest first."""
    listing = services().evaluations.runs.list(caller(), query["assistant_id"], query["page"])
    return listing.items, page_headers(listing, query["page"])


@blueprint.get("/get/<run_id>")
@signed_in
@blueprint.response(200, WatchedRunSchema)
def get(run_id: str) -> dict[str, Any]:
    """Return a run with how far it is."""
    runs = services().evaluations.runs
    found = runs.get(caller(), run_id)
    return {**vars(found), "progress": runs.progress(found)}


@blueprint.get("/results/<run_id>")
@signed_in
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, ResultSchema(many=True))
def results(query: dict[str, Any], run_id: str) -> Any:
    """List a run's items in the order of the dataset, each with what came of it."""
    listing = services().evaluations.runs.listed_results(caller(), run_id, query["page"])
    return listing.items, page_headers(listing, query["page"])


@blueprint.get("/report/<run_id>")
@signed_in
@blueprint.response(200, description="a page that stands alone, text/html")
def report(run_id: str) -> Response:
    """Return a run as an HTML page with pictures that needs nothing else."""
    return _page(services().evaluations.report(caller(), run_id))


@blueprint.get("/compare/<before_id>/<after_id>")
@signed_in
@blueprint.response(200, ComparisonSchema)
def compare(before_id: str, after_id: str) -> Any:
    """Return what changed from one run to another: means with intervals, and which items got worse or better."""
    return services().evaluations.runs.compare(caller(), before_id, after_id)


@blueprint.delete("/delete/<run_id>")
@signed_in
@blueprint.response(204)
def delete(run_id: str) -> None:
    """Delete a run with its results."""
    services().evaluations.runs.delete(caller(), run_id)


def _placed(dataset: Dataset) -> tuple[Dataset, dict[str, str]]:
    return dataset, {"Location": url_for("evaluations.get_dataset", dataset_id=dataset.id)}


def _page(html: str) -> Response:
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
