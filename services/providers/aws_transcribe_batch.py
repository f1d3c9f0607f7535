"""Amazon Transcribe's batch API: slower than its streams, but without a connection that lasts."""

import io
import wave
from collections.abc import Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, cast

from models.deadline import Deadline
from models.errors import ProviderFailed
from models.voice import RECORDING_RATE, Recording, Transcript
from services.providers.aws_transcribe import language_code, padded
from services.providers.aws_transcribe_jobs import BatchJob, BatchJobs
from services.providers.aws_transcribe_leftovers import Leftovers

if TYPE_CHECKING:
    from mypy_boto3_transcribe.literals import LanguageCodeType

_PAUSES = (0.5, 1.0, 1.5, 2.0)
"""Seconds between looks at a job."""


class TranscribeBatch:
    """Implement `Transcriber`.

    Args:
        languages: what is listened for where no language is expected; two or more.
        pauses: seconds between looks at a job; the last one is repeated.
    """

    name = "aws"

    def __init__(self, jobs: BatchJobs, languages: Sequence[str], pauses: Sequence[float] = _PAUSES) -> None:
        self._jobs = jobs
        self._languages = [language_code(language) for language in languages]
        self._pauses = pauses
        self._leftovers = Leftovers(jobs, pauses[-1])

    def transcribe(self, recording: Recording, language: str | None, deadline: Deadline) -> Transcript:
        """Return what was said; what that leaves in AWS is removed afterwards, by a thread."""
        spoken = self._languages if language is None else [language_code(language)]
        job = BatchJob()
        try:
            self._jobs.upload(job, _wav(padded(recording)), deadline)
            self._jobs.start(job, RECORDING_RATE, cast("list[LanguageCodeType]", spoken), deadline)
            identified = self._finish(job, deadline)
            return Transcript(self._jobs.text(job, deadline), identified if language is None else spoken[0])
        finally:
            self._leftovers.remove(job)

    def close(self) -> None:
        """Remove what is left without waiting for jobs that go on."""
        self._leftovers.close()

    def _finish(self, job: BatchJob, deadline: Deadline) -> str | None:
        """Wait for the end of a job, and return the language that it identified, if it was to."""
        for pause in chain(self._pauses, repeat(self._pauses[-1])):
            deadline.sleep(pause)
            state = self._jobs.state(job, deadline)
            if state.status == "COMPLETED":
                return state.language
            if state.is_over:
                raise ProviderFailed(
                    "Amazon Transcribe could not work through the recording. Send it again, or in another format; the "
                    "server's log has its reason.",
                    code="transcription_failed",
                )
        raise AssertionError("unreachable")


def _wav(samples: bytes) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RECORDING_RATE)
        file.writeframes(samples)
    return content.getvalue()
