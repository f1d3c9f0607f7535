"""Take a file out of OGX's source archive on PyPI, which brings the descriptions that OGX is developed against."""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_ARCHIVE = "ogx==1.5.0"
_FOLDER = "ogx-1.5.0"


def take(member: str, sha256: str, place: Path) -> None:
    """Put a file of the archive at a place of this machine, unless something is there.

    Args:
        member: its path in the archive.
        sha256: of the file that the tests were written for.

    Raises:
        SystemExit: the archive has another one.
    """
    if place.is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        # only unpacked here, so it does not matter which Python ogx itself wants
        source = ["--no-binary", ":all:", "--ignore-requires-python", "--dest", folder, _ARCHIVE]
        subprocess.run([*pip, *source], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            held = packed.extractfile(f"{_FOLDER}/{member}")
            content = held.read() if held else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SystemExit(f"{member} of {_ARCHIVE} is not the file that the tests were written for.")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
