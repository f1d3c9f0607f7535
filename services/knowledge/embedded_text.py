"""What of a passage is embedded, the name of its vector, and what stands for one that is refused."""

import hashlib

from models.documents import Passage


def embedded_text(passage: Passage) -> str:
    """Return the text that stands for a passage: what a model reads of it, under its document's name and headings."""
    title = passage.filename.rpartition(".")[0] or passage.filename
    return "\n".join((" > ".join((title, *passage.headings)), passage.shown))


def digest_of(passage: Passage) -> str:
    """Return the SHA-256 of the embedded text, in hex: equal texts share a vector, whatever build they are in."""
    return hashlib.sha256(embedded_text(passage).encode(errors="surrogatepass")).hexdigest()


def is_refused(vector: bytes) -> bool:
    """Tell whether a stored vector stands for a text that the model refused: it is all zeros, and near to nothing."""
    return not any(vector)
