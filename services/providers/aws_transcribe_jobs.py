"""Batch jobs of Amazon Transcribe, and their two files in S3: the recording and what was said in it."""

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError

from models.deadline import Deadline
from services.providers.aws_account import AwsAccount, client_config
from services.providers.aws_calls import BACKOFF_SECONDS, AwsService, error_code, key_hint
from services.providers.aws_sockets import make_cuttable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_transcribe.client import TranscribeServiceClient
    from mypy_boto3_transcribe.literals import LanguageCodeType
    from mypy_boto3_transcribe.type_defs import StartTranscriptionJobRequestTypeDef

PREFIX = "orquestra-transcribe/"
"""Of everything that is put into the bucket."""

_CONNECTIONS = 10
_ABSENT = frozenset({"BadRequestException", "NotFoundException"})
"""What Transcribe says of a job that it does not know."""


@dataclass(frozen=True)
class BatchJob:
    """One recording's job and files."""

    name: str = field(default_factory=lambda: f"orquestra-{uuid.uuid4().hex}")

    @property
    def recording_key(self) -> str:
        """Return where the recording is put."""
        return f"{PREFIX}{self.name}.wav"

    @property
    def result_key(self) -> str:
        """Return where Transcribe puts its result."""
        return f"{PREFIX}{self.name}.json"


@dataclass(frozen=True)
class JobState:
    """What has become of a job.

    Attributes:
        status: QUEUED, IN_PROGRESS, COMPLETED or FAILED; "" if there is none of that name.
        language: what was identified, if it was to be.
    """

    status: str
    language: str | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether nobody works on it."""
        return self.status in ("COMPLETED", "FAILED", "")


class BatchJobs:
    """Speak of jobs with Transcribe, and of files with S3.

    Every method raises as `AwsService.open` does.

    Args:
        transcribe, s3: are made cuttable, so that a cancel wakes whoever waits in them.
        bucket: of TRANSCRIBE_BUCKET.
        backoff_seconds: between the first try of a request and the second.
    """

    def __init__(
        self,
        transcribe: "TranscribeServiceClient",
        s3: "S3Client",
        bucket: str,
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> None:
        make_cuttable(transcribe)
        make_cuttable(s3)
        self._transcribe, self._s3, self._bucket = transcribe, s3, bucket
        self.service = AwsService(
            name="Amazon Transcribe",
            key_hint=key_hint("transcribe:StartTranscriptionJob, GetTranscriptionJob and DeleteTranscriptionJob"),
            model_hint="Check AWS_DEFAULT_REGION.",
            url_hint="Check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_TRANSCRIBE.",
            refused_code="transcriber_refused",
            refusal_hint="Check that TRANSCRIBE_BUCKET is in AWS_DEFAULT_REGION; the server's log has its reason.",
            backoff_seconds=backoff_seconds,
        )
        self._storage = AwsService(
            name="The bucket of Amazon Transcribe",
            key_hint=key_hint("s3:PutObject, GetObject and DeleteObject in TRANSCRIBE_BUCKET"),
            model_hint="Check TRANSCRIBE_BUCKET.",
            url_hint="Check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL.",
            refused_code="transcriber_refused",
            refusal_hint="Check TRANSCRIBE_BUCKET and AWS_DEFAULT_REGION; the server's log has its reason.",
            backoff_seconds=backoff_seconds,
        )

    def upload(self, job: BatchJob, recording: bytes, deadline: Deadline) -> None:
        """Put a job's recording into the bucket, a WAV file."""
        put = partial(self._s3.put_object, Bucket=self._bucket, Key=job.recording_key, ContentType="audio/wav")
        self._storage.ask(deadline, lambda: put(Body=recording))

    def start(self, job: BatchJob, rate: int, languages: "Sequence[LanguageCodeType]", deadline: Deadline) -> None:
        """Start a job.

        Args:
            rate: samples a second.
            languages: the one that is spoken, or several of which it has to be found out.
        """
        request: StartTranscriptionJobRequestTypeDef = {
            "TranscriptionJobName": job.name,
            "Media": {"MediaFileUri": f"s3://{self._bucket}/{job.recording_key}"},
            "MediaFormat": "wav",
            "MediaSampleRateHertz": rate,
            "OutputBucketName": self._bucket,
            "OutputKey": job.result_key,
        }
        if len(languages) == 1:
            request["LanguageCode"] = languages[0]
        else:
            request |= {"IdentifyLanguage": True, "LanguageOptions": languages}

        def begin() -> None:
            try:
                self._transcribe.start_transcription_job(**request)
            except ClientError as error:
                if error_code(error) != "ConflictException":  # its name is unique: an earlier try of this was heard
                    raise

        self.service.ask(deadline, begin)

    def state(self, job: BatchJob, deadline: Deadline) -> JobState:
        """Return what has become of a job."""

        def look() -> Mapping[str, Any]:
            try:
                return self._transcribe.get_transcription_job(TranscriptionJobName=job.name)["TranscriptionJob"]
            except ClientError as error:
                if error_code(error) in _ABSENT:
                    return {}
                raise

        found = self.service.ask(deadline, look)
        if found.get("TranscriptionJobStatus") == "FAILED":
            self.service.log(logging.WARNING, "a job failed", found.get("FailureReason", ""))
        return JobState(found.get("TranscriptionJobStatus", ""), found.get("LanguageCode"))

    def text(self, job: BatchJob, deadline: Deadline) -> str:
        """Return what was said, of a job that is completed."""
        content = self._storage.ask(
            deadline, lambda: self._s3.get_object(Bucket=self._bucket, Key=job.result_key)["Body"].read()
        )
        try:
            return " ".join(str(one["transcript"]) for one in json.loads(content)["results"]["transcripts"])
        except (KeyError, TypeError, ValueError) as error:
            self.service.log(logging.ERROR, "an unreadable result", type(error).__name__)
            raise self.service.unreadable() from error

    def remove_recording(self, job: BatchJob, deadline: Deadline) -> None:
        """Delete the recording, if it is there."""
        self._remove(job.recording_key, deadline)

    def remove_result(self, job: BatchJob, deadline: Deadline) -> None:
        """Delete the result, if it is there."""
        self._remove(job.result_key, deadline)

    def remove_job(self, job: BatchJob, deadline: Deadline) -> None:
        """Delete a job; Transcribe deletes none that goes on."""

        def delete() -> None:
            try:
                self._transcribe.delete_transcription_job(TranscriptionJobName=job.name)
            except ClientError as error:
                if error_code(error) not in _ABSENT:
                    raise

        self.service.ask(deadline, delete)

    def _remove(self, key: str, deadline: Deadline) -> None:
        self._storage.ask(deadline, lambda: self._s3.delete_object(Bucket=self._bucket, Key=key))


def build_jobs(account: AwsAccount, bucket: str, transcribe_url: str, s3_url: str) -> BatchJobs:
    """Return jobs of an account; the addresses are "" for AWS' own.

    Other servers of S3 may refuse the checksums that boto3 adds: they get them only where the protocol asks for them.
    """
    session, config = account.session(), client_config(_CONNECTIONS)
    transcribe = session.client("transcribe", endpoint_url=transcribe_url or None, config=config)
    if s3_url:
        sparing = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        config = config.merge(sparing)
    return BatchJobs(transcribe, session.client("s3", endpoint_url=s3_url or None, config=config), bucket)
