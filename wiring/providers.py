"""The models that answer, and what makes vectors: which of them the settings name."""

from dataclasses import dataclass

import httpx2
import openai

from services.ports import Embedder, EmbeddingsEndpoint, HostedMemory, LanguageModel, Locator, ThreadRegistry
from services.providers.core_application import CoreModel
from services.providers.offline import OfflineModel
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.providers.openai_embeddings import OpenAIEmbedder
from services.providers.openai_embeddings_door import OpenAIEmbeddingsDoor
from services.providers.openai_erasing import OpenAIEraser
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from settings import Settings


@dataclass(frozen=True)
class Models:
    """The providers that are configured, by name, and what one of them keeps for us."""

    by_name: dict[str, LanguageModel]
    hosted: HostedMemory | None


def build_models(settings: Settings, threads: ThreadRegistry, locator: Locator) -> Models:
    """Return the providers that are configured; the offline one always is."""
    models: dict[str, LanguageModel] = {OfflineModel.provider: OfflineModel()}
    hosted: HostedMemory | None = None
    if settings.openai_api_key or settings.openai_base_url:
        client = build_client(settings.openai_api_key, settings.openai_base_url, connections=settings.threads)
        models[OpenAIChatModel.provider] = OpenAIChatModel(client, settings.openai_model)
        models[OpenAIResponsesModel.provider] = OpenAIResponsesModel(
            client, settings.openai_model, OpenAIThreads(client, threads), locator
        )
        hosted = OpenAIEraser(client)
    if settings.core_api_base_url:
        limits = httpx2.Limits(max_connections=settings.threads, max_keepalive_connections=settings.threads)
        models[CoreModel.provider] = CoreModel(httpx2.Client(limits=limits), settings.core_api_base_url)
    return Models(models, hosted)


def build_embedder(settings: Settings) -> Embedder | None:
    """Return what makes vectors, None when no model is named."""
    if not settings.embeddings_model:
        return None
    return OpenAIEmbedder(_embeddings_client(settings), settings.embeddings_model)


def build_embeddings_endpoint(settings: Settings) -> EmbeddingsEndpoint | None:
    """Return what makes vectors for clients, None when no model is named."""
    if not settings.embeddings_model:
        return None
    return OpenAIEmbeddingsDoor(_embeddings_client(settings), settings.embeddings_model)


def _embeddings_client(settings: Settings) -> openai.OpenAI:
    """Return a client of the embeddings' endpoint; another address never gets the answers' key."""
    own_address = bool(settings.embeddings_base_url)
    key = settings.embeddings_api_key or ("" if own_address else settings.openai_api_key)
    address = settings.embeddings_base_url or settings.openai_base_url
    return build_client(key, address, connections=settings.threads)
