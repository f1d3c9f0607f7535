"""botocore's sockets, cut by a cancelled deadline as those of `http_sockets.py` are."""

import contextlib
import socket
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.response import StreamingBody

from services.providers.aws_account import READ_SECONDS
from services.providers.http_sockets import Call, Cuttable

_LEAST_SECONDS = 0.001
"""A timeout of 0 would not wait at all."""


class AwsCall(Call):
    """A call of a client of botocore's that `make_cuttable` has seen."""

    def read(self, body: StreamingBody, size: int) -> bytes:
        """Return so many bytes of an answer, fewer at its end, none after it; wait no longer than the deadline."""
        held = self._stream
        if held is not None:
            with held.lock, contextlib.suppress(OSError):
                if held.user is self:  # else the body has ended, and another call uses the connection
                    held.socket().settimeout(min(READ_SECONDS, max(self.deadline.remaining(), _LEAST_SECONDS)))
        return body.read(size)


class _Held(Cuttable):
    """The socket of a connection, even while urllib3 has forgotten it and only the response reads from it."""

    def __init__(self) -> None:
        super().__init__()
        self.held: socket.socket | None = None

    def socket(self) -> socket.socket:
        if self.held is None:
            raise OSError("not connected yet")
        return self.held


class _PlainConnection(AWSHTTPConnection):
    """An HTTP connection that knows which call uses it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cuttable = _Held()

    def connect(self) -> None:
        super().connect()
        self.cuttable.held = self.sock

    def request(self, *args: Any, **options: Any) -> Any:
        self.cuttable.claim(None)
        return super().request(*args, **options)

    def getresponse(self) -> Any:
        self.timeout = self.cuttable.claim(self.timeout)
        return super().getresponse()


class _TlsConnection(_PlainConnection, AWSHTTPSConnection):  # type: ignore[misc]  # botocore's own quarrel with urllib3
    """The same over TLS: whatever the other one calls above itself is found here."""


class _PlainPool(AWSHTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(AWSHTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def make_cuttable(client: Any) -> None:
    """Let `Call` cut the sockets that this client of botocore's opens from now on.

    botocore takes no connections of ours: hence the private names, which
    `tests/contract/test_polly_wire.py` notices when they change.
    """
    session = client._endpoint.http_session
    pools = {"http": _PlainPool, "https": _TlsPool}
    session._manager.pool_classes_by_scheme = pools
    session._pool_classes_by_scheme = pools  # of the managers that are made for proxies
