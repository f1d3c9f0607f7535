"""Document files in S3: what only a bucket can do, and what happens when it does not answer."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from models.errors import Unavailable
from repositories.s3_client import build_s3_client
from repositories.s3_document_files import S3DocumentFiles
from tests.contract.document_stores import (
    ASSISTANT,
    PATH,
    PREFIX,
    PROMPT,
    Bucket,
    client_of,
    content_of,
    make_bucket,
)
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
PART = 5 << 20
LARGE = b"0123456789abcdef" * (11 << 16)
"""11 MiB: two parts, the smallest that S3 takes, and a rest."""


@pytest.fixture
def bucket(s3_endpoint: str) -> Bucket:
    """Make an empty bucket."""
    return make_bucket(s3_endpoint)


def in_parts(bucket: Bucket) -> S3DocumentFiles:
    """Return files that upload in parts early."""
    return S3DocumentFiles(bucket.client, bucket.name, PREFIX, multipart_from=PART)


def unfinished(bucket: Bucket) -> list[str]:
    """Return the keys of uploads that go on, or died."""
    return [one["Key"] for one in bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])]


def failing(status: int, code: str) -> Callable[..., Any]:
    """Return a handler that answers a request in the server's place."""
    body = f"<Error><Code>{code}</Code><Message>secret of the server</Message></Error>".encode()

    class Raw:
        def stream(self) -> Iterator[bytes]:
            yield body

    return lambda **given: AWSResponse(given["request"].url, status, HTTPHeaders(), Raw())


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """Run an HTTP server that answers everything like this; give its URL and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if self.raw_requestline and self.parse_request():
                self.rfile.read(int(self.headers.get("content-length") or 0))
                asked.append(self.command)
                answer(self)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}", asked
        finally:
            httpd.shutdown()
            thread.join()


def every_call(files: S3DocumentFiles) -> list[Callable[[], object]]:
    """Return a call of each method."""
    return [
        files.ping,
        lambda: files.stage(PATH, "r1", b"one"),
        lambda: files.publish(PATH, "r1"),
        lambda: files.discard(PATH, "r1"),
        lambda: files.open(PATH),
        lambda: files.delete(PATH, ["r1"]),
        lambda: files.delete_of_assistant(ASSISTANT),
        lambda: list(files.kept()),
        lambda: files.published(ASSISTANT),
        lambda: files.digest(PATH),
    ]


def test_a_large_file_goes_in_parts(bucket: Bucket) -> None:
    files, parts = in_parts(bucket), []
    bucket.client.meta.events.register("before-send.s3.UploadPart", lambda **given: parts.append(given))
    files.stage(PATH, "r1", LARGE)
    files.publish(PATH, "r1")
    assert len(parts) == 3
    assert content_of(files, PATH) == content_of(files, PATH, "r1") == LARGE
    assert files.digest(PATH) == hashlib.sha256(LARGE).hexdigest()
    assert unfinished(bucket) == []


def test_an_upload_whose_part_fails_leaves_nothing(bucket: Bucket) -> None:
    bucket.client.meta.events.register("before-send.s3.UploadPart", failing(400, "InvalidRequest"))
    with pytest.raises(Unavailable) as caught:
        in_parts(bucket).stage(PATH, "r1", LARGE)
    assert "secret" not in caught.value.detail
    assert unfinished(bucket) == []
    assert bucket.everything() == []


def test_a_killed_upload_is_not_seen_and_recovery_aborts_it(bucket: Bucket, s3_endpoint: str) -> None:
    program = f"""
import os, signal, sys
from repositories.s3_document_files import S3DocumentFiles
from tests.contract.document_stores import PATH, PREFIX, client_of
client = client_of(sys.argv[1])
parts = []
def die(**given):
    parts.append(given)
    if len(parts) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
client.meta.events.register("before-send.s3.UploadPart", die)
S3DocumentFiles(client, sys.argv[2], PREFIX, multipart_from={PART}).stage(PATH, "r1", b"x" * {len(LARGE)})
"""
    command = [sys.executable, "-c", program, s3_endpoint, bucket.name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == -signal.SIGKILL, done.stderr
    others = f"{PREFIX}/backup.tar"
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=others)
    assert len(unfinished(bucket)) == 2
    assert bucket.everything() == []
    assert list(bucket.files.kept()) == []
    assert unfinished(bucket) == [others]


def test_recovery_leaves_an_upload_alone_that_may_go_on(bucket: Bucket) -> None:
    key = f"{PREFIX}/{ASSISTANT}/.versions/r1/prompt.txt"
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)

    def begun(age: timedelta) -> Callable[..., None]:  # moto says 2010 of every upload
        def date(parsed: dict[str, Any], **_: Any) -> None:
            for upload in parsed.get("Uploads", []):
                upload["Initiated"] = datetime.now(UTC) - age

        return date

    bucket.client.meta.events.register_last("after-call.s3.ListMultipartUploads", begun(timedelta(hours=23)))
    assert list(bucket.files.kept()) == []
    assert unfinished(bucket) == [key]
    bucket.client.meta.events.register_last("after-call.s3.ListMultipartUploads", begun(timedelta(hours=25)))
    assert list(bucket.files.kept()) == []
    assert unfinished(bucket) == []


def test_recovery_goes_on_where_uploads_cannot_be_listed(bucket: Bucket) -> None:
    bucket.files.stage(PATH, "r1", b"one")
    bucket.client.meta.events.register("before-send.s3.ListMultipartUploads", failing(501, "NotImplemented"))
    assert [one.revision for one in bucket.files.kept()] == ["r1"]


def test_more_than_one_page_is_listed_and_deleted(bucket: Bucket) -> None:
    def small(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = 2

    for number in range(5):
        bucket.files.stage(f"{ASSISTANT}/knowledge/{number}.md", "r1", b"x")
        bucket.files.publish(f"{ASSISTANT}/knowledge/{number}.md", "r1")
    bucket.client.meta.events.register("before-parameter-build.s3.ListObjectsV2", small)
    assert len(list(bucket.files.kept())) == 5
    assert len(bucket.files.published(ASSISTANT)) == 5
    bucket.files.delete_of_assistant(ASSISTANT)
    assert bucket.everything() == []


def test_a_deletion_that_the_server_refuses_for_one_key_is_told(bucket: Bucket) -> None:
    bucket.files.stage(PATH, "r1", b"one")

    def refuse(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Errors"] = [{"Key": "x", "Code": "AccessDenied", "Message": "secret of the server"}]

    bucket.client.meta.events.register("after-call.s3.DeleteObjects", refuse)
    uses: list[Callable[[], object]] = [
        lambda: bucket.files.delete(PATH, ["r1"]),
        lambda: bucket.files.delete_of_assistant(ASSISTANT),
    ]
    for use in uses:
        bucket.files.stage(PATH, "r1", b"one")
        with pytest.raises(Unavailable) as caught:
            use()
        assert caught.value.code == "storage_refused"


def test_metadata_that_somebody_copied_proves_nothing(bucket: Bucket) -> None:
    bucket.files.stage(PATH, "r1", b"one")
    bucket.files.publish(PATH, "r1")
    key = f"{PREFIX}/{PATH}"
    metadata = bucket.client.head_object(Bucket=bucket.name, Key=key)["Metadata"]
    assert metadata
    reads: list[object] = []
    bucket.client.meta.events.register("before-send.s3.GetObject", lambda **given: reads.append(given))
    assert bucket.files.digest(PATH) == metadata["sha256"] and not reads
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"two", Metadata=metadata)
    assert bucket.files.digest(PATH) == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
    assert reads


@pytest.mark.parametrize("prefix", ["", "a", "a/b/", "/é ü"])
def test_any_prefix_will_do(bucket: Bucket, prefix: str) -> None:
    files = S3DocumentFiles(bucket.client, bucket.name, prefix)
    files.stage(PATH, "r1", b"one")
    files.publish(PATH, "r1")
    assert [(one.filepath, one.revision) for one in files.kept()] == [(PATH, "r1")]
    assert set(files.published(ASSISTANT)) == {PATH}
    keys = [one["Key"] for one in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]]
    assert f"{prefix.strip('/')}/{PATH}".lstrip("/") in keys
    neighbour = f"{prefix.strip('/')}x/{PROMPT}"
    bucket.client.put_object(Bucket=bucket.name, Key=neighbour, Body=b"x")
    files.delete_of_assistant(ASSISTANT)
    assert [one["Key"] for one in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]] == [neighbour]


def test_readiness_names_the_bucket(bucket: Bucket) -> None:
    assert bucket.files.ping() == f"s3 bucket {bucket.name}"


def test_a_missing_bucket_is_told(s3_endpoint: str) -> None:
    files = S3DocumentFiles(client_of(s3_endpoint), "absent-bucket", PREFIX)
    for call in (files.ping, lambda: files.stage(PATH, "r1", b"x"), lambda: files.open(PATH)):
        with pytest.raises(Unavailable) as caught:
            call()
        assert caught.value.code == "storage_refused"
        assert "DOCUMENTS_URL" in caught.value.detail


def test_no_credentials_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = build_s3_client(region="us-east-1", endpoint_url="http://127.0.0.1:9")
    with pytest.raises(Unavailable) as caught:
        S3DocumentFiles(client, "some-bucket", "").ping()
    assert caught.value.code == "storage_refused"


def test_a_server_that_is_gone_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with socket.socket() as taken:  # bound, but not listening: the connection is refused
        taken.bind(("127.0.0.1", port))
        files = S3DocumentFiles(client_of(f"http://127.0.0.1:{port}"), "some-bucket", "secret-prefix")
        for call in (files.ping, lambda: files.stage(PATH, "r1", b"x")):
            with pytest.raises(Unavailable):
                call()
    assert {getattr(record, "error", None) for record in caplog.records} == {"EndpointConnectionError"}
    assert "secret" not in caplog.text and str(port) not in caplog.text


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_fails_is_unavailable_after_a_few_tries(status: int, number: int) -> None:
    def fail(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 %d Failed\r\ncontent-length: 0\r\n\r\n" % status)

    with server(fail) as (endpoint, asked):
        files = S3DocumentFiles(client_of(endpoint), "some-bucket", "")
        with pytest.raises(Unavailable):
            every_call(files)[number]()
    assert 2 <= len(asked) <= 6


def test_a_server_that_hangs_is_given_up() -> None:
    released = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        released.wait(60)

    with server(hang) as (endpoint, asked):
        files = S3DocumentFiles(client_of(endpoint, read_timeout=0.2), "some-bucket", "")
        with pytest.raises(Unavailable):
            files.open(PATH)
        released.set()
    assert len(asked) == 3


def test_a_file_that_breaks_off_is_unavailable() -> None:
    def break_off(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\nx-amz-meta-sha256: ab\r\n\r\n")
        if handler.command != "HEAD":
            handler.wfile.write(b"half of it")

    with server(break_off) as (endpoint, _):
        files = S3DocumentFiles(client_of(endpoint), "some-bucket", "")
        for call in (files.open, files.digest):
            with pytest.raises(Unavailable):
                call(PATH)


@pytest.mark.parametrize("code, told", [
    ("AccessDenied", "storage_refused"), ("InvalidAccessKeyId", "storage_refused"), ("QuotaExceeded", "storage_full"),
    ("XMinioStorageFull", "storage_full"), ("Strange", "unavailable"),
])  # fmt: skip
def test_what_the_server_says_is_told_in_our_words(bucket: Bucket, code: str, told: str) -> None:
    bucket.client.meta.events.register("before-send.s3.PutObject", failing(403, code))
    with pytest.raises(Unavailable) as caught:
        bucket.files.stage(PATH, "r1", b"x")
    assert caught.value.code == told
    assert "secret" not in caught.value.detail


def test_a_temporary_disk_that_is_full_is_unavailable(bucket: Bucket, s3_endpoint: str) -> None:
    bucket.files.stage(PATH, "r1", LARGE)
    program = """
import resource, sys
from models.errors import Unavailable
from tests.contract.document_stores import PATH, Bucket, client_of
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Bucket(sys.argv[2], client_of(sys.argv[1])).files.open(PATH, "r1")
except Unavailable as error:
    print(error.code)
"""
    command = [sys.executable, "-c", program, s3_endpoint, bucket.name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "unavailable", done.stderr


def test_keys_come_from_the_arguments_or_from_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-chain")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "from-the-chain")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "sa-east-1")
    given = {"Bucket": "some-bucket", "Key": "k"}
    assert "from-the-chain" in build_s3_client().generate_presigned_url("get_object", given)
    explicit = build_s3_client(region="us-east-1", access_key_id="given", secret_access_key="given")
    chosen = explicit.generate_presigned_url("get_object", given)
    assert "from-the-chain" not in chosen and "some-bucket.s3.amazonaws.com" in chosen
