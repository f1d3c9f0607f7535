"""Who asks AWS, and how its clients are made."""

from dataclasses import dataclass, field

from boto3.session import Session
from botocore.config import Config

from services.providers.http_sockets import CONNECT_SECONDS

READ_SECONDS = 15.0
"""A server that is silent for so long does not answer any more."""


@dataclass(frozen=True)
class AwsAccount:
    """An account of AWS and a region of it.

    Attributes:
        access_key_id: "" for boto3's own chain (profile, role of the machine ...).
        session_token: of temporary credentials, "" for others.
    """

    region: str
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)

    def session(self) -> Session:
        """Return a session that makes clients and knows credentials."""
        return Session(
            aws_access_key_id=self.access_key_id or None,
            aws_secret_access_key=self.secret_access_key or None,
            aws_session_token=self.session_token or None,
            region_name=self.region,
        )


def client_config(connections: int) -> Config:
    """Return how clients connect.

    A client tries once: botocore waits between tries in a sleep that no cancel ends, so `aws_calls.py` tries again. It
    looks for no address in the environment either, where AWS_ENDPOINT_URL is the address of another S3.

    Args:
        connections: how many are kept open.
    """
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=connections,
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # not in the stubs yet
    )
