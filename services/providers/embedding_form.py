"""How a model of embeddings wants to be asked, beside what every one wants."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class EmbeddingForm:
    """What goes to a model with the texts.

    Attributes:
        query_prefix: what stands before a question.
        passage_prefix: what stands before a passage.
        dimensions: of the vectors, of models that leave the choice; 0: what the model gives.
    """

    query_prefix: str = ""
    passage_prefix: str = ""
    dimensions: int = 0

    def name_of(self, model: str) -> str:
        """Return the name of a model's vectors in this form: the model's own, where nothing changes them.

        The query's prefix is not part of it, since no passage's vector depends on it. The passage's is there as the
        beginning of its SHA-256: a name is stored with each vector.
        """
        parts = [f"dimensions={self.dimensions}"] if self.dimensions else []
        if self.passage_prefix:
            digest = hashlib.sha256(self.passage_prefix.encode(errors="surrogatepass")).hexdigest()
            parts.append(f"passage_prefix={digest[:8]}")
        return f"{model}?{'&'.join(parts)}" if parts else model


PLAIN = EmbeddingForm()
