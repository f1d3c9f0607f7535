"""The places for documents' bytes that the contract tests run on: a folder, and a bucket of moto's S3."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from repositories.document_files import LocalDocumentFiles
from repositories.s3_client import build_s3_client
from repositories.s3_document_files import S3DocumentFiles
from services.ports import DocumentFiles, Probe

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ASSISTANT = "0123456789abcdef01234567"
PATH = f"{ASSISTANT}/knowledge/férias 年假 100% +a#b&c=d?.md"
PROMPT = f"{ASSISTANT}/prompt.txt"
ROUTER_PROMPT = f"{ASSISTANT}/router.txt"
PREFIX = "fleet/docs"


class ProbedFiles(DocumentFiles, Probe, Protocol):
    """Document files that readiness can ask for."""


class Place(Protocol):
    """Where the files lie, seen past the port: as an operator does."""

    @property
    def files(self) -> ProbedFiles:
        """Return the port over it, as another process would open it."""

    def everything(self) -> list[str]:
        """Return the names of all that is there."""

    def put(self, name: str, content: bytes) -> None:
        """Write a file by hand."""

    def take(self, name: str) -> None:
        """Delete a file by hand."""


@dataclass(frozen=True)
class Folder:
    """A folder of this machine."""

    root: Path

    @property
    def files(self) -> LocalDocumentFiles:
        """Return the port over it, as another process would open it."""
        return LocalDocumentFiles(self.root)

    def everything(self) -> list[str]:
        """Return the files below it."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    def put(self, name: str, content: bytes) -> None:
        """Write a file in place, as an editor does."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def take(self, name: str) -> None:
        """Delete a file."""
        (self.root / name).unlink()


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own."""

    name: str
    client: "S3Client"

    @property
    def files(self) -> S3DocumentFiles:
        """Return the port over it, as another process would open it."""
        return S3DocumentFiles(self.client, self.name, PREFIX)

    def everything(self) -> list[str]:
        """Return the keys, without the prefix; every one has it."""
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        assert all(one["Key"].startswith(f"{PREFIX}/") for one in found)
        return sorted(one["Key"].removeprefix(f"{PREFIX}/") for one in found)

    def put(self, name: str, content: bytes) -> None:
        """Put an object, as a console does."""
        self.client.put_object(Bucket=self.name, Key=f"{PREFIX}/{name}", Body=content)

    def take(self, name: str) -> None:
        """Delete an object."""
        self.client.delete_object(Bucket=self.name, Key=f"{PREFIX}/{name}")


def client_of(endpoint: str, *, read_timeout: float = 10.0) -> "S3Client":
    """Return a client of a test's server."""
    return build_s3_client(
        region="us-east-1",
        access_key_id="test",
        secret_access_key="test",
        endpoint_url=endpoint,
        read_timeout=read_timeout,
    )


def make_bucket(endpoint: str) -> Bucket:
    """Make an empty bucket."""
    made = Bucket(f"test-{secrets.token_hex(8)}", client_of(endpoint))
    made.client.create_bucket(Bucket=made.name)
    return made


def content_of(files: DocumentFiles, filepath: str, revision: str | None = None) -> bytes | None:
    """Return the bytes in the file's place, or those of a revision; None when there are none."""
    file = files.open(filepath, revision)
    if file is None:
        return None
    with file:
        return file.read()
