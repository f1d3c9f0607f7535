"""Vectors for the clients of assistants: what the operator's embeddings endpoint makes of their texts."""

from collections.abc import Mapping
from typing import Any

from models.assistants import Assistant
from models.deadline import Deadline
from models.errors import NotFound
from services.ports import EmbeddingsEndpoint


class ClientEmbeddings:
    """Pass clients' requests on.

    Args:
        endpoint: None where none is configured.
    """

    def __init__(self, endpoint: EmbeddingsEndpoint | None) -> None:
        self._endpoint = endpoint

    def embed(self, assistant: Assistant, fields: Mapping[str, Any], deadline: Deadline) -> bytes:
        """Return the endpoint's answer to `input` and what else the client wrote, as it came.

        The model is the configured one, which the assistant's id and name stand for as well.

        Raises:
            NotFound: code `embeddings_not_configured`; `model_not_found`, the client wants another model.
            Invalid, ProviderFailed, DeadlineExceeded, CallCancelled: as `EmbeddingsEndpoint.embed`.
        """
        if self._endpoint is None:
            raise NotFound(
                "This server has no embeddings. Set EMBEDDINGS_MODEL, and what it needs.",
                code="embeddings_not_configured",
            )
        if fields.get("model") not in (None, "", self._endpoint.model, assistant.id, assistant.name):
            raise NotFound(f"The embeddings' model here is {self._endpoint.model!r}.", code="model_not_found")
        rest = {name: value for name, value in fields.items() if name != "model" and value is not None}
        return self._endpoint.embed(rest, deadline)
