"""The server's own secret, for when the operator gives none."""

import base64
import contextlib
import os
import secrets
import stat
from pathlib import Path

_NAME = "jwt_secret"
_BYTES = 64
_SHORTEST = 32


def secret_path(directory: Path) -> Path:
    """Return where the directory's secret lies, if there is one."""
    return directory / _NAME


def load_or_create_secret(directory: Path) -> str:
    """Return the secret in the directory's file `jwt_secret`, which is made on the first call.

    Of several processes that start at once all get the same secret: the file appears whole, under its name, once.

    Raises:
        ValueError: others may read the file, or there is no usable secret in it; the text says what to do.
    """
    path = secret_path(directory)
    if not path.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ValueError(
            f"{path} can be read by others (mode {mode:03o}). Run `chmod 600 {path}`; "
            "if somebody may have read it, delete it, which ends every login."
        )
    secret = path.read_text(encoding="ascii", errors="replace").strip()
    if len(secret) < _SHORTEST:
        raise ValueError(
            f"{path} holds no secret of at least {_SHORTEST} characters. Restore it from a backup, or delete it to "
            "have a new one made, which ends every login."
        )
    return secret


def _create(path: Path) -> None:
    """Write a new secret beside the file and link it into place, unless somebody else is first."""
    draft = path.with_name(f".{_NAME}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(base64.b64encode(secrets.token_bytes(_BYTES)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
