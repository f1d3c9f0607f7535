"""Prompt documents: the one of an assistant, and those of its roles beside it."""

from pathlib import PurePosixPath

from models.routing import PromptRole

PROMPT_FILENAME = "prompt.txt"
ROLE_FILENAMES = {role: f"{role.value}.txt" for role in PromptRole}
PROMPT_FILENAMES = frozenset({PROMPT_FILENAME, *ROLE_FILENAMES.values()})
"""The names that prompts lie under, in the folder of their assistant."""

_EXTENSIONS = frozenset({".md", ".txt"})
_ROLES = {role.value: role for role in PromptRole}


def prompt_filename(uploaded: str) -> str:
    """Return the name that an uploaded prompt is kept under.

    One that is named after a role, in any case and as txt or md, is that role's; every other one is the assistant's.
    """
    path = PurePosixPath(uploaded.lower())
    role = _ROLES.get(path.stem) if path.suffix in _EXTENSIONS else None
    return PROMPT_FILENAME if role is None else ROLE_FILENAMES[role]
