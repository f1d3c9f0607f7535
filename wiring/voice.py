"""What hears and speaks: which providers the settings name. Each is loaded with its first use."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.ports import AudioDecoder, SpeechSynthesizer, Transcriber
from services.voice.hearing import Hearing
from services.voice.on_use import OnUse
from settings import Settings

_PROVIDERS = "services.providers"


@dataclass(frozen=True)
class Speech:
    """Everything that hears and speaks.

    Attributes:
        close: ends the processes that were started for it.
    """

    hearing: Hearing
    synthesizer: OnUse[SpeechSynthesizer]
    close: Callable[[], None]


def build_speech(settings: Settings) -> Speech:
    """Wire what hears and speaks; nothing is loaded or connected to before it is used."""
    decoder: OnUse[AudioDecoder] = OnUse(lambda: _decoder(settings))
    transcriber: OnUse[Transcriber] = OnUse(lambda: _transcriber(settings))
    synthesizer: OnUse[SpeechSynthesizer] = OnUse(lambda: _synthesizer(settings))

    def close() -> None:
        transcriber.close()
        synthesizer.close()

    return Speech(Hearing(decoder, transcriber), synthesizer, close)


def _decoder(settings: Settings) -> AudioDecoder:
    made: AudioDecoder = _class("services.voice.decoding", "PyAvDecoder")(settings.max_audio_seconds)
    return made


def _transcriber(settings: Settings) -> Transcriber:
    made: Transcriber = {"aws": _aws_transcriber, "openai": _openai_transcriber, "offline": _offline_transcriber}[
        settings.effective_transcriber
    ](settings)
    return made


def _synthesizer(settings: Settings) -> SpeechSynthesizer:
    made: SpeechSynthesizer = {"aws": _polly, "openai": _openai_speech, "offline": _offline_speech}[
        settings.effective_speech
    ](settings)
    return made


def _aws_transcriber(settings: Settings) -> Any:
    raise NotImplementedError


def _polly(settings: Settings) -> Any:
    raise NotImplementedError


def _openai_transcriber(settings: Settings) -> Any:
    raise NotImplementedError


def _openai_speech(settings: Settings) -> Any:
    raise NotImplementedError


def _offline_transcriber(settings: Settings) -> Any:
    raise NotImplementedError


def _offline_speech(settings: Settings) -> Any:
    raise NotImplementedError


def _class(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)
