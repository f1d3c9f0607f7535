"""The one tree of errors; `routes/errors.py` maps it to HTTP in one function.

OrquestraError (500 internal_error)
├── BadRequest           400  the request cannot be read
├── Unauthenticated      401  no credentials, or bad ones
├── Forbidden            403  known caller, not allowed
├── NotFound             404  absent, or somebody else's
├── Conflict             409  it contradicts what is stored
├── TooLarge             413  more bytes than a setting allows
├── UnsupportedFormat    415  a file of a kind that is not read
├── Invalid              422  readable, but a value is wrong; `errors` names the fields
├── RateLimited          429  slow down; `retry_after` says for how long
├── ProviderFailed       502  the model or speech provider failed
│   └── CallCancelled         the caller went away, so the provider call was stopped
├── Unavailable          503  a store is down, or the server is full or draining
└── DeadlineExceeded     504  the answer did not come in time

A message says what to do next and never carries a foreign exception's text.
"""

from collections.abc import Mapping, Sequence


class OrquestraError(Exception):
    """Fail in a way that a caller may be told about."""

    status = 500
    code = "internal_error"
    title = "Internal error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class BadRequest(OrquestraError):
    """Refuse a request that cannot be read."""

    status, code, title = 400, "bad_request", "Bad request"


class Unauthenticated(OrquestraError):
    """Refuse a caller without valid credentials."""

    status, code, title = 401, "unauthenticated", "Not authenticated"


class Forbidden(OrquestraError):
    """Refuse a known caller who may not do this."""

    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(OrquestraError):
    """Report something absent, or somebody else's: the two look the same."""

    status, code, title = 404, "not_found", "Not found"


class Conflict(OrquestraError):
    """Refuse a change that contradicts what is stored."""

    status, code, title = 409, "conflict", "Conflict"


class TooLarge(OrquestraError):
    """Refuse more bytes than a setting allows."""

    status, code, title = 413, "too_large", "Too large"


class UnsupportedFormat(OrquestraError):
    """Refuse a kind of file that is not read."""

    status, code, title = 415, "unsupported_format", "Unsupported format"


class Invalid(OrquestraError):
    """Refuse readable input with a wrong value.

    Args:
        errors: wire name of a field -> what is wrong with it.
    """

    status, code, title = 422, "validation_failed", "Validation failed"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(detail, code=code)
        self.errors = {name: list(messages) for name, messages in (errors or {}).items()}


class RateLimited(OrquestraError):
    """Ask a caller to slow down.

    Args:
        retry_after: seconds until the next try can succeed.
    """

    status, code, title = 429, "rate_limited", "Too many requests"

    def __init__(self, detail: str, *, retry_after: float, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after = retry_after


class ProviderFailed(OrquestraError):
    """Report a failure of the model or speech provider."""

    status, code, title = 502, "provider_failed", "Provider failed"


class CallCancelled(ProviderFailed):
    """Report a provider call that was stopped because its caller went away."""

    code = "caller_gone"


class Unavailable(OrquestraError):
    """Report a store that is down, or a server that is full or draining.

    Args:
        retry_after: seconds after which another try makes sense.
    """

    status, code, title = 503, "unavailable", "Unavailable"

    def __init__(self, detail: str, *, retry_after: float = 2.0, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after = retry_after


class DeadlineExceeded(OrquestraError):
    """Report an answer that did not come within its deadline."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"
