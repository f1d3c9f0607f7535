"""Log lines: JSON, complete, without secrets."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from logs import JsonFormatter

ROOT = Path(__file__).parents[2]


def line(message: str, formatter: JsonFormatter, **extra: object) -> dict[str, object]:
    """Return what a record becomes."""
    record = logging.makeLogRecord({"name": "n", "levelname": "INFO", "msg": message, **extra})
    parsed: dict[str, object] = json.loads(formatter.format(record))
    return parsed


@pytest.mark.parametrize(
    "text",
    [
        "key orq_abcDEF123456_secretsecretsecret used",
        "Authorization: Bearer abc.def-ghi",
        "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "sk-verysecretkey123",
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "redis://:p4ssw0rd@cache:6379/0",
        'a secret with "quotes" and \\ in it: s3cr"et\\value',
    ],
)
def test_secrets_are_redacted_and_the_line_stays_json(text: str) -> None:
    formatter = JsonFormatter(['s3cr"et\\value', "1", "k"])
    shown = line(text, formatter, header=text, ms=10.5, status=200)
    for field in ("message", "header"):
        assert "[redacted]" in str(shown[field])
        for secret in ("secretsecret", "abc.def", "c2lnbmF0", "verysecret", "p4ssw0rd", "s3cr"):
            assert secret not in str(shown[field])
    assert (shown["ms"], shown["status"]) == (10.5, 200)


def test_short_values_are_no_secrets() -> None:
    assert line("a key is kept 1", JsonFormatter(["k", "1"]))["message"] == "a key is kept 1"


def test_an_exception_is_written_and_redacted() -> None:
    try:
        raise RuntimeError("sk-verysecretkey123")
    except RuntimeError as error:
        shown = line("failed", JsonFormatter(), exc_info=(type(error), error, error.__traceback__))
    assert "RuntimeError" in str(shown["exception"]) and "verysecret" not in str(shown["exception"])


def test_clients_that_would_log_secrets_never_log_in_detail() -> None:
    program = """
import logging, logs
logs.configure_logging("DEBUG", [])
names = ("orquestra.x", "botocore.auth", "websockets.client")
print([name for name in names if logging.getLogger(name).isEnabledFor(logging.DEBUG)])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "['orquestra.x']", done.stderr
