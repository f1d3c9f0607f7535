"""JSON log lines without secrets."""

import json
import logging
import re
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRETS = (
    re.compile(r"orq_[A-Za-z0-9]+_[A-Za-z0-9]+"),
    re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"),
    re.compile(r"\bsk-[\w-]{8,}"),
    re.compile(r"\bwhsec_[\w+/=-]{8,}"),
    re.compile(r"(?i)(?<=bearer )[^\s\"',;]+"),
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),
)
_LEAST_SECRET = 8
"""Shorter values are no secrets, and their letters are everywhere."""


class JsonFormatter(logging.Formatter):
    """Write one JSON object a line: time, level, logger, process, message and the record's extras.

    Args:
        secrets: values of settings that must not be written wherever they turn up.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if len(secret) >= _LEAST_SECRET]

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, redacted."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: self._shown(value) for name, value in line.items()}, ensure_ascii=False)

    def _shown(self, value: object) -> object:
        return value if isinstance(value, int | float | bool | None) else self._redact(value)

    def _redact(self, value: object) -> str:
        text = str(value)
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        for pattern in _SECRETS:
            text = pattern.sub("[redacted]", text)
        return text


def _log_thread_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        exception = (failure.exc_type, failure.exc_value, failure.exc_traceback)
        logging.getLogger("orquestra").error("a thread failed", exc_info=exception)


def configure_logging(level: str, secrets: Sequence[str]) -> None:
    """Send every log line of the process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    threading.excepthook = _log_thread_failure
    logging.getLogger("httpx2").setLevel("WARNING")
    logging.getLogger("httpcore2").setLevel("WARNING")  # DEBUG has headers
    logging.getLogger("botocore").setLevel("INFO")  # DEBUG has what is spoken, signatures and tokens
    logging.getLogger("websockets").setLevel("INFO")  # DEBUG has presigned addresses and sound
    logging.getLogger("mcp").setLevel("CRITICAL")  # its lines quote what tools are given and what they answer
    logging.getLogger("waitress.queue").setLevel("ERROR")
