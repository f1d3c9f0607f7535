"""The bytes of documents in a bucket of S3, or of a server that speaks its protocol; document_keys.py names the keys.

S3 puts an object in its place whole or not at all, so an upload needs no draft, and publishing is a copy that the
server makes. Of an upload that died the parts stay, invisible and paid for; recovery aborts them.
"""

import base64
import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, timedelta
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, cast

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from models.clock import now
from models.documents import PublishedFile, StoredVersion
from models.prompts import PROMPT_FILENAMES
from repositories.document_keys import kept_key, parse_kept_key, require_assistant_id, require_filepath
from repositories.s3_client import error_code, is_missing, s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

logger = logging.getLogger("orquestra.documents")

_MIB = 1 << 20
_MULTIPART_FROM = 64 * _MIB
_PART = 8 * _MIB
"""The transfer holds about a dozen of them in memory besides the content: 105 MiB, however large that is."""

_PARALLEL_PARTS = 4
_IN_MEMORY = 4 * _MIB
_CHUNK = _MIB
_BATCH = 1000
"""As many keys as S3 deletes with one request, and lists on one page."""

_DEAD_AFTER = timedelta(days=1)
_SHA256 = "sha256"


class S3DocumentFiles:
    """Documents under a prefix of a bucket.

    Args:
        prefix: what every key begins with, without a slash at the ends; "" for none.
        multipart_from: from how many bytes on an upload is cut into parts, each of which is retried alone.
    """

    def __init__(self, client: "S3Client", bucket: str, prefix: str, *, multipart_from: int = _MULTIPART_FROM) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/".lstrip("/")
        self._multipart_from = multipart_from
        self._transfer = TransferConfig(
            multipart_threshold=multipart_from,
            multipart_chunksize=min(_PART, multipart_from),
            max_concurrency=_PARALLEL_PARTS,
        )

    def ping(self) -> str:
        """Return the bucket's name.

        Raises:
            Unavailable: it does not answer, does not exist, or refuses the credentials.
        """
        with s3_errors():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        return f"s3 bucket {self._bucket}"

    def stage(self, filepath: str, revision: str, content: bytes) -> None:
        """Keep the bytes of a revision durably, not yet visible in the file's place."""
        key = self._key(kept_key(filepath, revision))
        digest = hashlib.sha256(content)
        metadata = {_SHA256: digest.hexdigest()}
        with s3_errors():
            if len(content) < self._multipart_from:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=content,
                    Metadata=metadata,
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                )
            else:  # a part that fails for good ends in the abortion of all
                extra = {"Metadata": metadata}
                self._client.upload_fileobj(BytesIO(content), self._bucket, key, ExtraArgs=extra, Config=self._transfer)

    def publish(self, filepath: str, revision: str) -> None:
        """Put a kept revision in the file's place, atomically; it is kept all the same. Without it, do nothing.

        One request copies up to 5 GB, and MAX_UPLOAD_MB ends at 2,000.
        """
        source, target = self._key(kept_key(filepath, revision)), self._key(require_filepath(filepath))
        with s3_errors():
            try:
                self._client.copy_object(
                    Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": source}
                )
            except ClientError as error:
                if not is_missing(error):
                    raise

    def discard(self, filepath: str, revision: str) -> None:
        """Drop a kept revision; an absent one is no error."""
        key = self._key(kept_key(filepath, revision))
        with s3_errors():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def open(self, filepath: str, revision: str | None = None) -> BinaryIO | None:
        """Open a kept revision for reading, or the file in its place for None; None if it is not there.

        The bytes are fetched first, in memory or from a few MiB on in a temporary file: readers seek.
        """
        key = self._key(require_filepath(filepath) if revision is None else kept_key(filepath, revision))
        with s3_errors():
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
            file = SpooledTemporaryFile(_IN_MEMORY)  # the caller closes it
            try:
                with body:
                    shutil.copyfileobj(body, file, _CHUNK)
                file.seek(0)
            except BaseException:
                file.close()
                raise
            return cast(BinaryIO, file)

    def delete(self, filepath: str, revisions: Iterable[str]) -> None:
        """Delete the file and these revisions; absent ones are no error."""
        kept = [self._key(kept_key(filepath, revision)) for revision in revisions]
        keys = [*kept, self._key(require_filepath(filepath))]
        with s3_errors():
            for start in range(0, len(keys), _BATCH):
                self._delete(keys[start : start + _BATCH])

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete everything under the name of an assistant, its revisions too."""
        prefix = self._key(f"{require_assistant_id(assistant_id)}/")
        with s3_errors():
            while page := self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix).get("Contents"):
                self._delete([one["Key"] for one in page])

    def kept(self) -> Iterator[StoredVersion]:
        """Yield every kept revision, for recovery after a crash; abort uploads that died a day ago or earlier.

        Their age is counted from the server's clock to ours: S3 refuses requests when the two are 15 minutes apart.
        """
        with s3_errors():
            self._abort_dead_uploads()
            for one in self._objects(self._prefix):
                if found := self._kept_revision(one["Key"]):
                    age = (now() - one["LastModified"]).total_seconds()
                    yield StoredVersion(*found, age_seconds=max(0.0, age))

    def published(self, assistant_id: str) -> Mapping[str, PublishedFile]:
        """Return filepath -> file of everything that lies in its place for an assistant, whoever put it there."""
        folder = self._key(f"{require_assistant_id(assistant_id)}/")
        prompts = {f"{folder}{name}" for name in PROMPT_FILENAMES}
        found: dict[str, PublishedFile] = {}
        with s3_errors():
            beside = (one for one in self._objects(folder, delimiter="/") if one["Key"] in prompts)
            for one in (*beside, *self._objects(f"{folder}knowledge/", delimiter="/")):
                filepath = one["Key"].removeprefix(self._prefix)
                if not filepath.endswith("/") and "/." not in filepath:
                    found[filepath] = PublishedFile(one["Size"], one["LastModified"].astimezone(UTC))
        return found

    def digest(self, filepath: str) -> str | None:
        """Return the SHA-256 of the file in its place, in hex; None if there is none.

        It is read for that, unless S3's own checksum of it confirms the digest that we gave it along: a file that
        somebody else put there may carry our metadata, but not both.
        """
        key = self._key(require_filepath(filepath))
        with s3_errors():
            try:
                about = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
                given = about["Metadata"].get(_SHA256, "")
                if given and base64.b64decode(about.get("ChecksumSHA256", "").partition("-")[0]).hex() == given:
                    return given
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
            found = hashlib.sha256()
            with body:
                for chunk in body.iter_chunks(_CHUNK):
                    found.update(chunk)
            return found.hexdigest()

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _kept_revision(self, key: str) -> tuple[str, str] | None:
        return parse_kept_key(key.removeprefix(self._prefix))

    def _objects(self, prefix: str, delimiter: str = "") -> "Iterator[ObjectTypeDef]":
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter=delimiter):
            yield from page.get("Contents", ())

    def _delete(self, keys: Sequence[str]) -> None:
        answer = self._client.delete_objects(
            Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
        )
        for fault in answer.get("Errors", ()):
            raise ClientError({"Error": {"Code": fault.get("Code", "unknown")}}, "DeleteObjects")

    def _abort_dead_uploads(self) -> None:
        """Abort them; a server that cannot even list them does not keep recovery from going on."""
        died_by = now() - _DEAD_AFTER
        try:
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] <= died_by and self._kept_revision(upload["Key"]):
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
        except ClientError as error:
            logger.warning("dead uploads cannot be aborted", extra={"error": error_code(error)})
