"""What is asked over the network: models, what a provider keeps for us, and receivers of callbacks."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy
from numpy.typing import NDArray

from models.answers import ModelEvent, ModelRequest
from models.callbacks import Posted
from models.deadline import Deadline
from models.hosting import FoundFile, HostedFile
from models.threads import Leftover


class LanguageModel(Protocol):
    """What writes answers."""

    provider: str
    """The provider's name in settings, assistants and answers."""

    model: str
    """The model used when the request names none; "" where there is no such choice."""

    hosts_memory: bool
    """Whether the provider keeps conversations, and documents to search in, itself: only then a request names ours."""

    calls_tools: bool
    """Whether it may ask for the tools of a request; else it answers as if there were none."""

    def stream(self, request: ModelRequest, deadline: Deadline) -> Generator[ModelEvent, None, None]:
        """Yield the answer in pieces; closing the iterator or cancelling the deadline stops the provider's work.

        Of a request with `tools` the stream may end with `ToolCalls` instead of an answer: the caller makes the calls
        and asks with `ModelRequest.after`. A model without `calls_tools` does not use `tools` and `rounds`.

        Raises:
            ProviderFailed: the provider failed, before or within the answer.
            DeadlineExceeded: it took too long.
            CallCancelled: the deadline was cancelled.
        """


class Embedder(Protocol):
    """What turns texts into vectors."""

    model: str
    """The model's name, and whatever else the vectors of passages depend on; those of different names never meet."""

    def embed(self, texts: Sequence[str], deadline: Deadline) -> NDArray[numpy.float32]:
        """Return a row of length 1 (Euclidean) for each passage's text, float32, shape (texts, dimensions).

        A row of zeros stands for a text that is refused while others are not.

        Raises:
            ProviderFailed: after bounded retries of what may pass, or every text is refused.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """

    def embed_question(self, question: str, deadline: Deadline) -> NDArray[numpy.float32]:
        """Return the row of a question, shape (dimensions,); models may want it told from a passage.

        Raises:
            ProviderFailed, DeadlineExceeded, CallCancelled: as `embed`.
        """


class EmbeddingsEndpoint(Protocol):
    """What turns the texts of assistants' clients into vectors, in OpenAI's protocol."""

    model: str
    """The one model that it is asked for."""

    def embed(self, fields: Mapping[str, Any], deadline: Deadline) -> bytes:
        """Return the body of the endpoint's answer, as it came.

        Args:
            fields: of OpenAI's `POST /embeddings`, without the model.

        Raises:
            Invalid: code `embeddings_refused`, the endpoint does not take them.
            ProviderFailed: after bounded retries of what may pass.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """


class HostedMemory(Protocol):
    """What a provider keeps of our conversations."""

    def delete(self, leftover: Leftover, deadline: Deadline) -> None:
        """Delete something there, with all that is in it; that it is not there is as good.

        May be repeated, and goes on where it was then.

        Raises:
            ProviderFailed: it may be there still.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """


class HostedFiles(Protocol):
    """Files and vector stores at a provider. Every call may be repeated; each has a deadline of its own.

    All raise `ProviderFailed`, code `hosting_unsupported` where the endpoint knows no such thing, `DeadlineExceeded`
    and `CallCancelled`. Rate limits and failures of the server are retried within the deadline, but a store or a file
    that may have been made is not made again: its name tells later whether it was.
    """

    def find_store(self, name: str, deadline: Deadline) -> str | None:
        """Return the id of the vector store of this name."""

    def create_store(self, name: str, deadline: Deadline) -> str:
        """Return the id of a new vector store."""

    def delete_store(self, store_id: str, deadline: Deadline) -> None:
        """Delete a vector store; that it is not there is as good."""

    def upload(self, filename: str, content: bytes, deadline: Deadline) -> str:
        """Return the id of a new file."""

    def list_files(self, deadline: Deadline) -> Iterator[FoundFile]:
        """Yield the files of the account that are there to be searched, those of others among them."""

    def delete_file(self, file_id: str, deadline: Deadline) -> None:
        """Delete a file; that it is not there is as good."""

    def attach(self, store_id: str, file: HostedFile, deadline: Deadline) -> FoundFile:
        """Put a file into a vector store, where it is processed from now on; one that is in it stays as it is.

        Its attributes there are `number` and `document`, the id of our document.

        Raises:
            NotFound: there is no such store, or no such file.
        """

    def attached(self, store_id: str, deadline: Deadline) -> Iterator[FoundFile]:
        """Yield the files of a vector store.

        Raises:
            NotFound: there is no such store.
        """

    def status(self, store_id: str, file_id: str, deadline: Deadline) -> FoundFile | None:
        """Return a file as it is in a vector store; None if it is not in it."""

    def detach(self, store_id: str, file_id: str, deadline: Deadline) -> None:
        """Take a file out of a vector store; that it is not in it is as good."""


class WebhookSender(Protocol):
    """What posts to other people's servers."""

    def send(
        self, url: str, allowed_hosts: Sequence[str], event_id: str, secrets: Sequence[str], body: bytes
    ) -> Posted:
        """Post a body signed as Standard Webhooks says, and return what came of it; it never raises.

        Args:
            allowed_hosts: as `Assistant.callback_hosts`; every address and every redirect is held to it.
            event_id: the `webhook-id`.
            secrets: `whsec_...`; the body is signed with each.
        """
