"""The client of S3, or of a server that speaks its protocol, and the one place where its errors become ours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from boto3.exceptions import Boto3Error
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from urllib3.exceptions import HTTPError

from models.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

logger = logging.getLogger("orquestra.documents")

_CONNECT_TIMEOUT = 3.0
_READ_TIMEOUT = 15.0
_TRIES = 3
"""With these a server that hangs costs 45 s and some: less than the lock on a document's name lasts."""

_MISSING = {"NoSuchKey", "NoSuchUpload", "NotFound", "404"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "507"}
_REFUSED = {
    "401", "403", "AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "NoSuchBucket", "PermanentRedirect", "SignatureDoesNotMatch",
}  # fmt: skip


def build_s3_client(  # noqa: PLR0913  an account has three secrets
    *,
    region: str = "",
    access_key_id: str = "",
    secret_access_key: str = "",
    session_token: str = "",
    endpoint_url: str = "",
    connections: int = 10,
    read_timeout: float = _READ_TIMEOUT,
) -> "S3Client":
    """Return a client; whatever is "" comes from boto3's own chain (profile, role of the machine ...).

    Args:
        endpoint_url: of another server than AWS'. Some of those refuse the checksums that boto3 adds to every
            request, so it adds them there only where the protocol asks for them.
        connections: how many are kept open.
        read_timeout: how long the server may be silent, in seconds.
    """
    checksums: Literal["when_required", "when_supported"] = "when_required" if endpoint_url else "when_supported"
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        max_pool_connections=connections,
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )
    return Session().client(
        "s3",
        region_name=region or None,
        aws_access_key_id=access_key_id or None,
        aws_secret_access_key=secret_access_key or None,
        aws_session_token=session_token or None,
        endpoint_url=endpoint_url or None,
        config=config,
    )


def is_missing(error: ClientError) -> bool:
    """Tell whether the server says that there is no such object."""
    return error_code(error) in _MISSING


def error_code(error: Exception) -> str:
    """Return what a log may show of an error: the server's code, or what kind of failure it was."""
    return str(error.response["Error"].get("Code")) if isinstance(error, ClientError) else type(error).__name__


@contextmanager
def s3_errors() -> Iterator[None]:
    """Turn every error of the client, and of the temporary file that it fills, into `Unavailable`."""
    try:
        yield
    except (BotoCoreError, Boto3Error, ClientError, HTTPError, OSError) as error:
        code = error_code(error)
        logger.warning("the document store failed", extra={"error": code})
        raise _explanation(code, isinstance(error, NoCredentialsError | PartialCredentialsError)) from error


def _explanation(code: str, has_no_credentials: bool) -> Unavailable:
    if has_no_credentials or code in _REFUSED:
        return Unavailable(
            "The document store refuses this server. Check DOCUMENTS_URL, the AWS_ settings and the bucket's policy.",
            code="storage_refused",
        )
    if code in _FULL:
        return Unavailable(
            "The document store is full. Free some space, then send the file again.", code="storage_full"
        )
    return Unavailable("The document store cannot be used now. Try again later.")
