"""The models that answer, and what makes vectors: which of them the settings name."""

import importlib
from dataclasses import dataclass
from typing import Any

import httpx2

from services.ports import (
    Embedder,
    EmbeddingsEndpoint,
    HostedFiles,
    HostedMemory,
    LanguageModel,
    Locator,
    ThreadRegistry,
)
from services.providers.core_application import CoreModel
from services.providers.offline import OfflineModel
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
        asked, hosted = _openai_api().build_models(settings, threads, locator)
        models |= asked
    if settings.core_api_base_url:
        limits = httpx2.Limits(max_connections=settings.threads, max_keepalive_connections=settings.threads)
        models[CoreModel.provider] = CoreModel(httpx2.Client(limits=limits), settings.core_api_base_url)
    return Models(models, hosted)


def build_hosted_files(settings: Settings) -> HostedFiles | None:
    """Return what keeps documents at a provider, None when none is configured that would."""
    if not (settings.openai_api_key or settings.openai_base_url):
        return None
    files: HostedFiles = _openai_api().build_files(settings)
    return files


def build_embedder(settings: Settings) -> Embedder | None:
    """Return what makes vectors, None when no model is named."""
    if not settings.embeddings_model:
        return None
    embedder: Embedder = _openai_api().build_embedder(settings)
    return embedder


def build_embeddings_endpoint(settings: Settings) -> EmbeddingsEndpoint | None:
    """Return what makes vectors for clients, None when no model is named."""
    if not settings.embeddings_model:
        return None
    endpoint: EmbeddingsEndpoint = _openai_api().build_embeddings_endpoint(settings)
    return endpoint


def _openai_api() -> Any:
    return importlib.import_module("wiring.openai_api")
