"""What our things are called at a provider, so that they are found again by their names."""

from pathlib import PurePath

_LONGEST_STEM = 100


def store_name(assistant_id: str) -> str:
    """Return the name of an assistant's vector store."""
    return f"orquestra-{assistant_id}"


def upload_name(filename: str, assistant_id: str, build: str) -> str:
    """Return the name of one text of a document, unlike that of any other."""
    return f"{PurePath(filename).stem[:_LONGEST_STEM]}.{assistant_id}.{build}.md"


def build_of(name: str, assistant_id: str) -> str | None:
    """Return the build in the name of an upload; None if it is none of this assistant's."""
    parts = name.rsplit(".", 3)
    return parts[2] if len(parts) == 4 and parts[1] == assistant_id and parts[3] == "md" else None
