"""What hears and speaks at AWS. Loaded with its first use."""

from services.ports import SpeechSynthesizer, Transcriber
from services.providers.aws_account import AwsAccount
from services.providers.aws_polly import PollySpeech, build_client
from services.providers.aws_transcribe import TranscribeStreaming
from services.providers.aws_transcribe_batch import TranscribeBatch
from services.providers.aws_transcribe_jobs import build_jobs
from settings import Settings


def build_transcriber(settings: Settings) -> Transcriber:
    """Return Transcribe: its streams, or its batch jobs where the settings name a bucket for them."""
    account, languages = _account(settings), settings.transcription_languages
    if not settings.transcribe_bucket:
        return TranscribeStreaming(account, languages, settings.aws_endpoint_url_transcribe_streaming)
    jobs = build_jobs(
        account, settings.transcribe_bucket, settings.aws_endpoint_url_transcribe, settings.aws_endpoint_url
    )
    return TranscribeBatch(jobs, languages)


def build_synthesizer(settings: Settings) -> SpeechSynthesizer:
    """Return Polly."""
    client = build_client(_account(settings), settings.aws_endpoint_url_polly, settings.synthesis_calls)
    return PollySpeech(client, settings.polly_engine)


def _account(settings: Settings) -> AwsAccount:
    return AwsAccount(
        settings.aws_default_region,
        settings.aws_access_key_id,
        settings.aws_secret_access_key,
        settings.aws_session_token,
    )
