"""File names that are safe to keep on any file system and to offer for download."""

import re
import unicodedata

from models.errors import Invalid

LONGEST = 200
"""Bytes of a name in UTF-8; file systems allow 255."""

_RESERVED_SIGNS = re.compile(r'[<>:"|?*]')
_RESERVED_NAMES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)[ ]*(?=\.|$)", re.IGNORECASE)
_SUFFIX = re.compile(r"\.[^. ]{1,16}\Z")


def safe_filename(name: str) -> str:
    """Return the bare name that a file is kept under: Unicode letters stay, whatever could lead elsewhere goes.

    The rules for Windows are those of "Naming Files, Paths, and Namespaces" (Microsoft Learn).

    Raises:
        Invalid: nothing is left of the name; `errors` has `file`.
    """
    bare = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    bare = "".join(" " if sign in "\t\r\n" else sign for sign in bare if _is_kept(sign))
    bare = _trim(_RESERVED_SIGNS.sub("_", bare))
    if _RESERVED_NAMES.match(bare):
        bare = "_" + bare
    bare = _shorten(bare)
    if not bare.strip("_ ."):
        raise Invalid("Give the file a name with letters or digits.", errors={"file": ["The file has no usable name."]})
    return bare


def _is_kept(sign: str) -> bool:
    """Tell whether a sign is visible text: no control, direction override, zero width or half a surrogate pair."""
    return sign in "\t\r\n" or unicodedata.category(sign) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _trim(name: str) -> str:
    return name.lstrip(". \u3000\xa0").rstrip(". \u3000\xa0")


def _shorten(name: str) -> str:
    """Cut a name to `LONGEST` bytes, not within a letter, and keep its extension."""
    if len(name.encode()) <= LONGEST:
        return name
    found = _SUFFIX.search(name)
    suffix = found[0] if found else ""
    stem = name[: len(name) - len(suffix)].encode()[: LONGEST - len(suffix.encode())].decode(errors="ignore")
    return _trim(stem) + suffix
