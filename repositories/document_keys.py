"""The names under which documents lie, the same in a folder and in a bucket.

In its place: `<assistant id>/knowledge/<name>`, or for a prompt `<assistant id>/prompt.txt` or `<role>.txt`. Each
revision of it: the same below `<assistant id>/.versions/<revision>/`.
"""

import os
import re

from models.prompts import PROMPT_FILENAMES

VERSIONS = ".versions"
"""The hidden folder of an assistant in which its revisions are kept."""

_ASSISTANT_ID = re.compile(r"[0-9a-f]{24}")
_PROMPTS = "|".join(re.escape(name) for name in sorted(PROMPT_FILENAMES))
_FILEPATH = re.compile(rf"[0-9a-f]{{24}}/(?:{_PROMPTS}|knowledge/[^./\\\0\ud800-\udfff][^/\\\0\ud800-\udfff]*)")
_REVISION = re.compile(r"[A-Za-z0-9_-]{1,100}")
_LONGEST_NAME = 255


def require_assistant_id(assistant_id: str) -> str:
    """Return the id of an assistant, which is the name of its folder too.

    Raises:
        ValueError: it is none.
    """
    if not _ASSISTANT_ID.fullmatch(assistant_id):
        raise ValueError(f"not the id of an assistant: {assistant_id!r}")
    return assistant_id


def require_filepath(filepath: str) -> str:
    """Return the path of a document.

    Raises:
        ValueError: it is not one of the two kinds of paths, or longer than file systems take.
    """
    if not _FILEPATH.fullmatch(filepath) or len(os.fsencode(filepath.rpartition("/")[2])) > _LONGEST_NAME:
        raise ValueError(f"not the path of a document: {filepath!r}")
    return filepath


def kept_key(filepath: str, revision: str) -> str:
    """Return where a revision of a document is kept.

    Raises:
        ValueError: there is no such path or revision.
    """
    if not _REVISION.fullmatch(revision):
        raise ValueError(f"not a revision: {revision!r}")
    assistant_id, _, rest = require_filepath(filepath).partition("/")
    return f"{assistant_id}/{VERSIONS}/{revision}/{rest}"


def parse_kept_key(key: str) -> tuple[str, str] | None:
    """Return the filepath and the revision of a key as `kept_key` makes it; None for any other."""
    assistant_id, _, rest = key.partition(f"/{VERSIONS}/")
    revision, _, name = rest.partition("/")
    filepath = f"{assistant_id}/{name}"
    try:
        kept_key(filepath, revision)
    except ValueError:
        return None
    return filepath, revision
