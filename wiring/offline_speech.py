"""What hears and speaks without any key. Loaded with its first use."""

from services.ports import SpeechSynthesizer, Transcriber
from services.providers.espeak_speech import EspeakSpeech
from services.providers.pocketsphinx_transcriber import PocketsphinxTranscriber
from settings import Settings


def build_transcriber(_settings: Settings) -> Transcriber:
    """Return what transcribes English."""
    return PocketsphinxTranscriber()


def build_synthesizer(_settings: Settings) -> SpeechSynthesizer:
    """Return the basic voice."""
    return EspeakSpeech()
