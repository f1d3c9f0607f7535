"""Embeddings for clients: requests passed on to any server that speaks OpenAI's, answers passed back as they come."""

import logging
from collections.abc import Mapping
from typing import Any

import httpx2
import openai

from models.deadline import Deadline
from models.errors import Invalid
from services.providers.http_calls import opened, read_whole
from services.providers.http_sockets import Call
from services.providers.openai_embeddings import QuietEndpoint
from services.providers.openai_sending import opening

_MOST_BYTES = 1 << 27
_REFUSING = frozenset({400, 413, 422})


class OpenAIEmbeddingsDoor:
    """Implement `EmbeddingsEndpoint` over `POST /embeddings`.

    Args:
        client: from `openai_chat.build_client`.
    """

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self.model = model
        self._client = client.with_options(max_retries=0)
        self._endpoint = QuietEndpoint(
            name="The embeddings endpoint",
            key_hint="Check EMBEDDINGS_API_KEY.",
            model_hint="Check EMBEDDINGS_MODEL and EMBEDDINGS_BASE_URL.",
            url_hint="Check EMBEDDINGS_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def embed(self, fields: Mapping[str, Any], deadline: Deadline) -> bytes:
        """Return the body of the answer to these fields and our model, as it came.

        Raises:
            Invalid: code `embeddings_refused`, the endpoint does not take such texts or parameters.
            ProviderFailed: after bounded retries of what may pass.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """
        call = Call(deadline)
        with opened(lambda: self._send(fields, call), call, self._endpoint) as response:
            return read_whole(call, response, self._endpoint, _MOST_BYTES)

    def _send(self, fields: Mapping[str, Any], call: Call) -> httpx2.Response:
        # floats where the client does not say: the SDK asks for base64 by itself, which it would decode
        asking = self._client.embeddings.with_streaming_response.create(
            model=self.model, **{"encoding_format": "float", **fields}, timeout=call.timeout()
        )
        response = opening(asking, self._endpoint)
        if response.status_code in _REFUSING:
            self._endpoint.log(logging.INFO, f"HTTP {response.status_code}", response.text)
            raise Invalid(
                f"The embeddings endpoint refused the request (HTTP {response.status_code}). Check input, dimensions "
                "and encoding_format.",
                code="embeddings_refused",
                errors={"input": ["Refused, or another parameter."]},
            )
        return response
