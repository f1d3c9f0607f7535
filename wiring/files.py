"""Where documents' files lie. AWS' SDK is loaded where that is a bucket."""

import importlib
import logging
from pathlib import Path
from typing import Protocol

from models.errors import Unavailable
from repositories.document_files import LocalDocumentFiles
from services.ports import DocumentFiles, Probe
from settings import Settings

logger = logging.getLogger("orquestra")


class Files(DocumentFiles, Probe, Protocol):
    """A place for documents' files that tells whether it answers."""


def build_files(settings: Settings) -> Files:
    """Return where documents' files lie.

    Raises:
        Unavailable: code `storage_refused`, there is no such bucket or the keys are wrong.
    """
    scheme, separator, place = settings.documents_url.partition("://")
    if not separator:
        return LocalDocumentFiles(Path(scheme))
    bucket, _, prefix = place.partition("/")
    client = importlib.import_module("repositories.s3_client").build_s3_client(
        region=settings.aws_default_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key,
        session_token=settings.aws_session_token,
        endpoint_url=settings.aws_endpoint_url,
        connections=settings.threads,
    )
    files: Files = importlib.import_module("repositories.s3_document_files").S3DocumentFiles(
        client, bucket, prefix.strip("/")
    )
    try:
        files.ping()
    except Unavailable as fault:
        if fault.code == "storage_refused":  # no bucket of that name, or wrong keys: waiting will not mend it
            raise
        logger.warning("the document store does not answer yet", extra={"code": fault.code})
    return files
