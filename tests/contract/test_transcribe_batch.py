"""Amazon Transcribe's batch jobs and their files, on moto's server.

moto starts jobs and moves them on with every look, but writes no results: what the test says is put in their place.
"""

import io
import json
import socket
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from models.voice import Recording, Transcript, Upload
from services.providers.aws_account import AwsAccount, client_config
from services.providers.aws_transcribe_batch import TranscribeBatch
from services.providers.aws_transcribe_jobs import PREFIX, BatchJobs, build_jobs
from tests.contract.document_stores import Bucket, make_bucket
from tests.emulators.aws_model import check_members
from tests.leaving import leaving

ACCOUNT = AwsAccount("us-east-1", "AKIDEXAMPLE", "a secret")
LANGUAGES = ("en-US", "pt-BR")
SECOND = bytes(range(256)) * 125


@dataclass
class Aws:
    """What a test sees of AWS besides the adapter.

    Attributes:
        requests: the parameters of each call, by operation, as they came.
        result: what is put in the place of a job's result when it is started.
        on_start: is called once it goes on.
    """

    jobs: BatchJobs
    bucket: str
    s3: Any
    transcribe: Any
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    result: Any = None
    on_start: Callable[[], object] = lambda: None
    recordings: list[bytes] = field(default_factory=list)

    def transcriber(self) -> TranscribeBatch:
        """Return the adapter, which looks often."""
        return TranscribeBatch(self.jobs, LANGUAGES, pauses=(0.01,))

    def note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        """Check a call of Transcribe against botocore's description, and do a job's work."""
        check_members("transcribe", model.name, params)
        self.requests.append((model.name, dict(params)))
        if model.name == "StartTranscriptionJob":
            bucket, _, key = params["Media"]["MediaFileUri"].removeprefix("s3://").partition("/")
            self.recordings.append(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            if self.result is not None:
                self.s3.put_object(Bucket=params["OutputBucketName"], Key=params["OutputKey"], Body=self.result)

    def tell(self, **_: Any) -> None:
        """Say that a job goes on."""
        self.on_start()

    def left(self) -> list[str]:
        """Return the names of what is left."""
        files = [one["Key"] for one in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        jobs = self.transcribe.list_transcription_jobs()["TranscriptionJobSummaries"]
        return files + [one["TranscriptionJobName"] for one in jobs]


@pytest.fixture(scope="module")
def bucket(s3_endpoint: str) -> Bucket:
    """Make a bucket for the file."""
    return make_bucket(s3_endpoint)


@pytest.fixture(scope="module")
def transcribe(s3_endpoint: str) -> Any:
    """Give a client of Transcribe."""
    return ACCOUNT.session().client("transcribe", endpoint_url=s3_endpoint)


@pytest.fixture
def aws(bucket: Bucket, transcribe: Any) -> Iterator[Aws]:
    """Give a place that is empty, and has to be so in the end."""
    jobs = BatchJobs(transcribe, bucket.client, bucket.name, backoff_seconds=0.001)
    place = Aws(jobs, bucket.name, bucket.client, transcribe)
    asked, started = "provide-client-params.transcribe.*", "after-call.transcribe.StartTranscriptionJob"
    transcribe.meta.events.register(asked, place.note, unique_id="note")
    transcribe.meta.events.register(started, place.tell, unique_id="tell")
    yield place
    transcribe.meta.events.unregister(asked, unique_id="note")
    transcribe.meta.events.unregister(started, unique_id="tell")
    assert place.left() == []


def recording(samples: bytes = SECOND) -> Recording:
    """Return a recording of these samples."""
    return Recording(samples, Upload(b""))


def said(*texts: str) -> bytes:
    """Return a result as Transcribe writes it."""
    return json.dumps({"results": {"transcripts": [{"transcript": text} for text in texts], "items": []}}).encode()


def test_a_recording_becomes_text_and_nothing_is_left(aws: Aws) -> None:
    aws.result = said("Good morning.")
    transcriber = aws.transcriber()
    assert transcriber.transcribe(recording(b"\1\1"), "pt", Deadline(30)) == Transcript("Good morning.", "pt-BR")
    transcriber.close()
    asked = next(params for name, params in aws.requests if name == "StartTranscriptionJob")
    job = asked["TranscriptionJobName"]
    assert asked == {
        "TranscriptionJobName": job,
        "Media": {"MediaFileUri": f"s3://{aws.bucket}/{PREFIX}{job}.wav"},
        "MediaFormat": "wav",
        "MediaSampleRateHertz": 16_000,
        "OutputBucketName": aws.bucket,
        "OutputKey": f"{PREFIX}{job}.json",
        "LanguageCode": "pt-BR",
    }
    with wave.open(io.BytesIO(aws.recordings[0])) as file:
        assert file.getparams()[:4] == (1, 2, 16_000, 8_000) and file.readframes(2) == b"\1\1\0\0"


def test_a_language_is_found_out(aws: Aws) -> None:
    aws.result = said("Good", "morning.")
    transcriber = aws.transcriber()
    assert transcriber.transcribe(recording(), None, Deadline(30)).text == "Good morning."
    transcriber.close()
    asked = next(params for name, params in aws.requests if name == "StartTranscriptionJob")
    assert asked["IdentifyLanguage"] is True and asked["LanguageOptions"] == list(LANGUAGES)
    assert "LanguageCode" not in asked


@pytest.mark.parametrize("result", [None, b"no JSON", b'{"results": {}}'])
def test_a_result_that_is_missing_or_unreadable(aws: Aws, result: bytes | None) -> None:
    aws.result = result
    transcriber = aws.transcriber()
    with pytest.raises(ProviderFailed):
        transcriber.transcribe(recording(), "en-US", Deadline(30))
    transcriber.close()


def test_a_cancel_ends_the_wait_and_leaves_nothing(aws: Aws) -> None:
    transcriber, deadline, started = TranscribeBatch(aws.jobs, LANGUAGES, pauses=(60.0,)), Deadline(60), Event()
    aws.on_start = started.set
    with pytest.raises(CallCancelled), leaving(deadline, started.is_set):
        transcriber.transcribe(recording(), "en-US", deadline)
    transcriber.close()


def test_a_cancel_ends_an_upload(transcribe: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address, deadline, held = f"http://127.0.0.1:{listener.getsockname()[1]}", Deadline(60), list[socket.socket]()
        deaf = ACCOUNT.session().client("s3", endpoint_url=address, config=client_config(4))
        transcriber = TranscribeBatch(BatchJobs(transcribe, deaf, "bucket", backoff_seconds=0.001), LANGUAGES)

        def body_begins() -> bool:
            held.append(listener.accept()[0])
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += held[0].recv(1)
            held[0].sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            return bool(held[0].recv(1, socket.MSG_PEEK))

        with pytest.raises(CallCancelled), leaving(deadline, body_begins):
            transcriber.transcribe(recording(SECOND * 300), "en-US", deadline)
        held[0].close()
    transcriber.close()


def test_the_end_of_the_deadline_leaves_nothing(aws: Aws) -> None:
    transcriber = TranscribeBatch(aws.jobs, LANGUAGES, pauses=(60.0,))
    with pytest.raises(DeadlineExceeded):
        transcriber.transcribe(recording(), "en-US", Deadline(0.5))
    transcriber.close()


def test_a_job_that_goes_on_is_removed_when_it_is_over(aws: Aws) -> None:
    transcriber, deadline = TranscribeBatch(aws.jobs, LANGUAGES, pauses=(0.1,)), Deadline(60)
    aws.on_start = deadline.cancel
    with pytest.raises(CallCancelled):
        transcriber.transcribe(recording(), "en-US", deadline)
    while "DeleteTranscriptionJob" not in [name for name, _ in aws.requests]:
        time.sleep(0.02)
    transcriber.close()
    looks = ["GetTranscriptionJob"] * 3  # queued, in progress, completed
    assert [name for name, _ in aws.requests] == ["StartTranscriptionJob", *looks, "DeleteTranscriptionJob"]


def test_no_such_bucket(aws: Aws) -> None:
    transcriber = TranscribeBatch(BatchJobs(aws.transcribe, aws.s3, "no-such-bucket"), LANGUAGES, pauses=(0.01,))
    with pytest.raises(ProviderFailed) as failed:
        transcriber.transcribe(recording(), "en-US", Deadline(30))
    transcriber.close()
    assert failed.value.code == "provider_rejected" and "TRANSCRIBE_BUCKET" in failed.value.detail


def test_a_job_that_fails(aws: Aws) -> None:
    """moto's jobs never fail, so this one is botocore's stub, which checks requests and answers alike."""
    job: dict[str, Any] = {"TranscriptionJobStatus": "FAILED", "FailureReason": "words of the service"}
    named = {"TranscriptionJobName": ANY}
    transcriber = aws.transcriber()
    with Stubber(aws.transcribe) as stub:
        stub.add_client_error("start_transcription_job", "ConflictException")
        for _ in range(2):  # for the caller, and for the removal
            stub.add_response("get_transcription_job", {"TranscriptionJob": job}, named)
        stub.add_client_error("delete_transcription_job", "BadRequestException", expected_params=named)
        with pytest.raises(ProviderFailed) as failed:
            transcriber.transcribe(recording(), "en-US", Deadline(30))
        transcriber.close()
        stub.assert_no_pending_responses()
    assert failed.value.code == "transcription_failed" and "words of the service" not in failed.value.detail


@pytest.mark.parametrize(
    ("name", "code"),
    [("AccessDeniedException", "transcriber_refused"), ("LimitExceededException", "provider_rate_limited")],
)
def test_a_job_that_cannot_be_started(aws: Aws, name: str, code: str) -> None:
    transcriber = aws.transcriber()
    with Stubber(aws.transcribe) as stub:
        for _ in range(4 if code == "provider_rate_limited" else 1):
            stub.add_client_error("start_transcription_job", name)
        stub.add_client_error("get_transcription_job", "BadRequestException")
        stub.add_client_error("delete_transcription_job", "BadRequestException")
        with pytest.raises(ProviderFailed) as failed:
            transcriber.transcribe(recording(), "en-US", Deadline(30))
        transcriber.close()
    assert failed.value.code == code


def test_clients_as_they_are_wired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    jobs = build_jobs(ACCOUNT, "bucket", "", "")
    assert jobs._transcribe.meta.endpoint_url == "https://transcribe.us-east-1.amazonaws.com"
    assert jobs._s3.meta.endpoint_url == "https://s3.amazonaws.com"
    elsewhere = build_jobs(ACCOUNT, "bucket", "http://127.0.0.1:9", "http://127.0.0.1:9")
    assert elsewhere._transcribe.meta.endpoint_url == elsewhere._s3.meta.endpoint_url == "http://127.0.0.1:9"
    config: Any = elsewhere._s3.meta.config
    assert config.request_checksum_calculation == "when_required"
