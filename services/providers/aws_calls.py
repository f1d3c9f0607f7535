"""Calls of AWS' services: cut by their deadline, made again while that may help, failed in our words."""

import itertools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from urllib3.exceptions import HTTPError

from models.deadline import Deadline
from models.errors import ProviderFailed
from services.providers.http_calls import Endpoint
from services.providers.http_sockets import Call

AWS_ERRORS = (BotoCoreError, ClientError, HTTPError)
"""What botocore's clients raise, and the bodies of their answers."""

TRIES = 4
BACKOFF_SECONDS = 0.5
_RECONNECT_SECONDS = 0.05
_UNHEARD = (ConnectionClosedError, ConnectTimeoutError, EndpointConnectionError)
_UNKNOWN_CALLER = (NoCredentialsError, PartialCredentialsError)
_REFUSED = frozenset({
    "AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "IncompleteSignatureException",
    "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException", "InvalidToken",
    "MissingAuthenticationTokenException", "OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClientException",
})  # fmt: skip
_BUSY = frozenset({
    "LimitExceededException", "RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException",
    "TooManyRequestsException",
})  # fmt: skip
_FAILED = frozenset({"InternalFailureException", "ServiceFailureException", "ServiceUnavailableException"})

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class AwsService(Endpoint):
    """What messages and log lines say about a service of AWS.

    AWS' own words stay out of the log: they quote texts, and addresses with their signatures.

    Attributes:
        refused_code: the code of the error when it refuses our credentials.
        refusal_hint: what to do when it does not take what it was asked.
        backoff_seconds: how long the first wait is; each one after it is twice as long.
    """

    refused_code: str = "provider_auth"
    refusal_hint: str = "The server's log has its reason."
    backoff_seconds: float = BACKOFF_SECONDS

    def ask(self, deadline: Deadline, do: Callable[[], _Answer]) -> _Answer:
        """Return what a client's method answers whose body comes at once; raises as `open`."""
        call = Call(deadline)
        try:
            return self.open(call, do)
        finally:
            call.done()

    def open(self, call: Call, do: Callable[[], _Answer]) -> _Answer:
        """Return what a client's method answers, made again if the service is busy or away.

        The body, if it is read later, belongs to the call until `Call.done`.

        Raises:
            ProviderFailed: as `failure` says.
            DeadlineExceeded: the time is up.
            CallCancelled: the deadline was cancelled.
        """
        for attempt in itertools.count(1):
            call.deadline.check()
            try:
                return call.run(do)
            except AWS_ERRORS as error:
                call.deadline.check()  # else it was the deadline that cut the socket
                self.log(logging.WARNING, "a call failed", _traced(error))
                wait = self.backoff(attempt)
                if attempt == 1 and isinstance(error, ConnectionClosedError):
                    wait = _RECONNECT_SECONDS  # mostly an idle connection that was closed just now
                if attempt == TRIES or not _may_pass(error) or wait >= call.deadline.remaining():
                    raise self.failure(error) from error
            call.deadline.sleep(wait)
        raise AssertionError("unreachable")

    def failure(self, error: Exception) -> ProviderFailed:
        """Return the error for what botocore raised."""
        if isinstance(error, _UNKNOWN_CALLER):
            return self.refusal()
        if isinstance(error, ClientError):
            return self.failed(error_code(error), _status(error))
        if isinstance(error, ReadTimeoutError):
            return ProviderFailed(f"{self.name} did not answer in time. Try again later.", code="provider_timeout")
        return self.cut() if isinstance(error, ResponseStreamingError) else self.unreachable()

    def failed(self, code: str, status: int = 400) -> ProviderFailed:
        """Return the error for one of AWS' codes, and the HTTP status that came with it."""
        if code in _REFUSED or status in (401, 403):
            return self.refusal()
        if code in _BUSY or status == 429:
            return self.refused(429)
        if code in _FAILED or status >= 500:
            return self.refused(max(status, 500))
        return ProviderFailed(
            f"{self.name} does not take what it was asked. {self.refusal_hint}", code="provider_rejected"
        )

    def backoff(self, attempt: int) -> float:
        """Return the seconds to wait after a failed attempt; the first one is 1."""
        return self.backoff_seconds * 2.0 ** (attempt - 1) * random.uniform(0.8, 1.2)

    def refusal(self) -> ProviderFailed:
        """Return the error for refused or missing credentials."""
        return ProviderFailed(f"{self.name} refused the credentials. {self.key_hint}", code=self.refused_code)


def key_hint(actions: str) -> str:
    """Return what to do when AWS refuses us, who need these actions of its."""
    return (
        "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_DEFAULT_REGION and the server's clock, "
        f"and allow {actions}."
    )


def may_pass(code: str, status: int = 400) -> bool:
    """Tell whether another try may help after one of AWS' codes."""
    return code in _BUSY or code in _FAILED or status == 429 or status >= 500


def error_code(error: Exception) -> str:
    """Return AWS' code for an error, or what kind of failure it was."""
    return str(error.response["Error"].get("Code")) if isinstance(error, ClientError) else type(error).__name__


def _may_pass(error: Exception) -> bool:
    return (
        may_pass(error_code(error), _status(error)) if isinstance(error, ClientError) else isinstance(error, _UNHEARD)
    )


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"].get("HTTPStatusCode", 400)


def _traced(error: Exception) -> str:
    """Return what a log may show, and what AWS' support asks for."""
    if not isinstance(error, ClientError):
        return error_code(error)
    return f"{error_code(error)}, request {error.response['ResponseMetadata'].get('RequestId', 'unknown')}"
