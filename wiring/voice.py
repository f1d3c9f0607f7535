"""What hears and speaks: which providers the settings name. Each is loaded with its first use."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.assistants import Assistant
from services.arrivals import Arrivals
from services.ports import AudioDecoder, SpeechSynthesizer, Transcriber
from services.voice.counted import CountedSynthesizer, CountedTranscriber, SpeechCalls
from services.voice.hearing import Hearing
from services.voice.links import LinkSigner
from services.voice.on_use import OnUse
from services.voice.recorded import RecordedMessages
from services.voice.replies import OggEncoder, SpokenReplies
from services.voice.service import VoiceService
from services.voice.slots import FairSlots
from services.voice.speaking import Speaker
from settings import Settings
from stores import Repositories
from wiring.accounts import jwt_secret

_PROVIDERS = {"aws": "wiring.aws_speech", "openai": "wiring.openai_api", "offline": "wiring.offline_speech"}


@dataclass(frozen=True)
class Speech:
    """Everything that hears and speaks.

    Attributes:
        close: ends the processes that were started for it.
    """

    service: VoiceService
    replies: SpokenReplies
    slots: FairSlots
    calls: SpeechCalls
    close: Callable[[], None]


def build_speech(
    settings: Settings, held: Repositories, arrivals: Arrivals, count: Callable[[Assistant], None]
) -> Speech:
    """Wire what hears and speaks; nothing is loaded or connected to before it is used.

    Args:
        count: counts answers that are spoken once more against their assistant's rate.
    """
    decoder: OnUse[AudioDecoder] = OnUse(lambda: _decoder(settings))
    calls = SpeechCalls()
    transcriber: OnUse[Transcriber] = OnUse(lambda: _transcriber(settings, calls))
    synthesizer: OnUse[SpeechSynthesizer] = OnUse(lambda: _synthesizer(settings, calls))

    def close() -> None:
        transcriber.close()
        synthesizer.close()

    hearing = Hearing(decoder, transcriber, settings.max_upload_mb * 2**20)
    slots = FairSlots(settings.synthesis_calls)
    speaker = Speaker(synthesizer, slots, settings.speech_voice or None)
    service = VoiceService(hearing, RecordedMessages(held.chats, arrivals, hearing), speaker, synthesizer)
    ogg: OnUse[OggEncoder] = OnUse(lambda: importlib.import_module("services.voice.opus").ogg_opus)
    signer = LinkSigner(jwt_secret(settings))
    replies = SpokenReplies(held.chats, held.assistants, signer, speaker, synthesizer, ogg, count)
    return Speech(service, replies, slots, calls, close)


def _decoder(settings: Settings) -> AudioDecoder:
    made: AudioDecoder = importlib.import_module("services.voice.decoding").PyAvDecoder(settings.max_audio_seconds)
    return made


def _transcriber(settings: Settings, calls: SpeechCalls) -> Transcriber:
    provider = settings.effective_transcriber
    return CountedTranscriber(provider, OnUse(lambda: _provider(provider).build_transcriber(settings)), calls)


def _synthesizer(settings: Settings, calls: SpeechCalls) -> SpeechSynthesizer:
    provider = settings.effective_speech
    return CountedSynthesizer(provider, OnUse(lambda: _provider(provider).build_synthesizer(settings)), calls)


def _provider(name: str) -> Any:
    """Return the module that wires a provider."""
    return importlib.import_module(_PROVIDERS[name])
