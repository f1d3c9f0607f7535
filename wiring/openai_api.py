"""What asks OpenAI's API, or one like it. Loaded where the settings name one: its SDK takes a fifth of a start."""

import openai

from services.ports import (
    Embedder,
    EmbeddingsEndpoint,
    HostedFiles,
    HostedMemory,
    LanguageModel,
    Locator,
    SpeechSynthesizer,
    ThreadRegistry,
    Transcriber,
)
from services.providers.embedding_form import EmbeddingForm
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.providers.openai_embeddings import OpenAIEmbedder
from services.providers.openai_embeddings_door import OpenAIEmbeddingsDoor
from services.providers.openai_erasing import OpenAIEraser
from services.providers.openai_files import OpenAIFiles
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_speech import OpenAISpeech
from services.providers.openai_threads import OpenAIThreads
from services.providers.openai_transcription import OpenAITranscriber
from settings import Settings

_FILES_CONNECTIONS = 8


def build_models(
    settings: Settings, threads: ThreadRegistry, locator: Locator
) -> tuple[dict[str, LanguageModel], HostedMemory]:
    """Return the models by their providers' names, and what the provider keeps for us."""
    client = build_client(settings.openai_api_key, settings.openai_base_url, connections=settings.threads)
    responses = OpenAIResponsesModel(client, settings.openai_model, OpenAIThreads(client, threads), locator)
    chat = OpenAIChatModel(client, settings.openai_model)
    return {chat.provider: chat, responses.provider: responses}, OpenAIEraser(client)


def build_files(settings: Settings) -> HostedFiles:
    """Return what keeps documents at the provider."""
    return OpenAIFiles(build_client(settings.openai_api_key, settings.openai_base_url, connections=_FILES_CONNECTIONS))


def build_embedder(settings: Settings) -> Embedder:
    """Return what makes vectors."""
    client = _client(settings, settings.embeddings_api_key, settings.embeddings_base_url)
    form = EmbeddingForm(
        settings.embeddings_query_prefix, settings.embeddings_passage_prefix, settings.embeddings_dimensions
    )
    return OpenAIEmbedder(client, settings.embeddings_model, form=form)


def build_embeddings_endpoint(settings: Settings) -> EmbeddingsEndpoint:
    """Return what makes vectors for clients."""
    return OpenAIEmbeddingsDoor(
        _client(settings, settings.embeddings_api_key, settings.embeddings_base_url), settings.embeddings_model
    )


def build_transcriber(settings: Settings) -> Transcriber:
    """Return what transcribes."""
    client = _client(settings, settings.transcription_api_key, settings.transcription_base_url)
    return OpenAITranscriber(client, settings.transcription_model)


def build_synthesizer(settings: Settings) -> SpeechSynthesizer:
    """Return what speaks."""
    return OpenAISpeech(_client(settings, settings.speech_api_key, settings.speech_base_url), settings.speech_model)


def _client(settings: Settings, key: str, address: str) -> openai.OpenAI:
    """Return a client of an endpoint beside that of the answers; another address never gets the answers' key."""
    key = key or ("" if address else settings.openai_api_key)
    return build_client(key, address or settings.openai_base_url, connections=settings.threads)
