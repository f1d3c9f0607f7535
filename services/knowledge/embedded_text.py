"""What of a passage is embedded, and the name of its vector."""

import hashlib

from models.documents import Passage


def embedded_text(passage: Passage) -> str:
    """Return the text that stands for a passage: what a model reads of it, under its document's name and headings."""
    title = passage.filename.rpartition(".")[0] or passage.filename
    return "\n".join((" > ".join((title, *passage.headings)), passage.shown))


def digest_of(passage: Passage) -> str:
    """Return the SHA-256 of the embedded text, in hex: equal texts share a vector, whatever build they are in."""
    return hashlib.sha256(embedded_text(passage).encode(errors="surrogatepass")).hexdigest()
