"""What keeps things for good: the store, a repository a collection, and the documents' files."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import BinaryIO, Protocol

from models.assistants import ApiKey, Assistant
from models.callbacks import Delivery
from models.chats import Chat, ChatFilter, ChatOutcome, Feedback
from models.conversations import Channel, Conversation
from models.documents import (
    Build,
    Document,
    DocumentType,
    Passage,
    PublishedFile,
    StoredVersion,
)
from models.evaluations import Dataset, DatasetItem, Result, ResultStatus, Run, RunStatus
from models.jobs import DeadLetter
from models.paging import Listing, Page
from models.users import User


class UserRepository(Protocol):
    """Accounts."""

    def add(self, user: User) -> None:
        """Store a new account.

        Raises:
            Conflict: code `email_taken`, or `founder_exists` when `user.founder` and there is a founder already.
        """

    def get(self, user_id: str) -> User | None:
        """Return the account with this id."""

    def find_by_email(self, email: str) -> User | None:
        """Return the account with this lower-case address."""

    def count(self) -> int:
        """Return how many accounts there are."""

    def admins(self) -> Sequence[User]:
        """Return the accounts of all admins."""

    def set_password(self, user_id: str, password_hash: str, tokens_valid_after: datetime, kept_session: str) -> None:
        """Change the password and, in the same update, end every login but one."""


class AssistantRepository(Protocol):
    """Assistants with their keys."""

    def add(self, assistant: Assistant) -> None:
        """Store a new assistant."""

    def get(self, assistant_id: str) -> Assistant | None:
        """Return the assistant with this id."""

    def find_by_key_hash(self, sha256: str) -> Assistant | None:
        """Return the assistant that has a key with this digest, expired or not."""

    def list(self, owner_id: str | None, page: Page) -> Listing[Assistant]:
        """List an owner's assistants, or all for None, newest first (by id)."""

    def ids_of_owner(self, owner_id: str) -> tuple[str, ...]:
        """Return the ids of all assistants of an owner."""

    def update(self, assistant_id: str, changes: Mapping[str, object], updated_at: datetime) -> Assistant | None:
        """Set these fields (names of `Assistant`) and count `version` up, at once; None if absent."""

    def set_keys(self, assistant_id: str, keys: Sequence[ApiKey], expected_key_id: str) -> bool:
        """Replace the keys if the current one (keys[0]) still is the expected one; tell whether it was."""

    def bump_index_version(self, assistant_id: str) -> None:
        """Count `index_version` up: its passages have changed."""

    def delete(self, assistant_id: str) -> bool:
        """Delete the assistant; tell whether it was there."""


class ConversationRepository(Protocol):
    """Conversations: one for an assistant and channel."""

    def get(self, conversation_id: str) -> Conversation | None:
        """Return the conversation with this id."""

    def find_or_add(self, conversation: Conversation) -> Conversation:
        """Store it unless its assistant and channel have one already; return the stored one."""

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Conversation]:
        """List conversations of these assistants (None: all), newest `last_message_at` first, then by id."""

    def find_by_channel(self, assistant_id: str, channel: Channel) -> Conversation | None:
        """Return the assistant's conversation with this channel."""

    def find_by_channel_id(self, channel_id: str, assistant_ids: Sequence[str] | None) -> Sequence[Conversation]:
        """Return every conversation of a channel id, whatever its message service, newest first."""

    def set_active(self, conversation_id: str, active: bool, paused_until: datetime | None) -> bool:
        """Stop or resume its being answered; tell whether it was there."""

    def record_message(
        self, conversation_id: str, text: str, at: datetime, *, count: int = 1, username: str | None = None
    ) -> None:
        """Note its newest message, add to `message_count`, and keep the username unless it is None."""

    def clear_memory(self, assistant_id: str, message_service: str, begins: str, channel_id: str | None = None) -> int:
        """Let the memory begin behind this id, in all conversations of a message service or in one channel's.

        A memory that begins later already stays as it is, so the order of two calls does not matter. Conversations
        that come later are not touched. Returns how many were changed.
        """

    def delete(self, conversation_id: str) -> bool:
        """Delete it; tell whether it was there."""

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every conversation of an assistant."""


class ChatRepository(Protocol):
    """Chats. Exactly-once rests on `add`'s unique key and on the conditions of every change of a status.

    A `received` chat is worked on while it has a lease owner whose lease has not ended; else it is free.
    """

    def add(self, chat: Chat) -> bool:
        """Store a new chat; False, and nothing stored, if its assistant has one with the same dedupe key."""

    def withdraw(self, chat: Chat) -> bool:
        """Delete a chat that was just added, if nobody has done anything with it since; tell whether that was so."""

    def get(self, chat_id: str) -> Chat | None:
        """Return the chat with this id."""

    def find_by_dedupe_key(self, assistant_id: str, dedupe_key: str) -> Chat | None:
        """Return the chat of a message."""

    def claim(self, seen: Chat, owner: str, until: datetime, at: datetime) -> bool:
        """Begin another attempt: make the chat `received` and active, leased to this owner, one attempt more.

        It succeeds only if the chat still has the status and attempts that the caller has seen, and, when that status
        is `received`, is free at `at`; of several callers at once exactly one gets True. A chat that was not
        `received` leaves its burst: the others have not waited for it. Which status may be claimed at all is the
        caller's business.
        """

    def renew(self, chat_ids: Iterable[str], owner: str, until: datetime) -> None:
        """Prolong the leases that this owner still holds on `received` chats."""

    def finish(self, chat_id: str, owner: str, outcome: ChatOutcome) -> bool:
        """Write an attempt's outcome and end its lease, if the chat is `received` and still leased to this owner.

        An `answered` outcome also needs the chat to be `active` still: `set_active(False)` during the attempt wins.
        A `failed` one counts `failures` up.
        """

    def unfinished_before(self, chat: Chat) -> Chat | None:
        """Return the oldest `received` chat of the conversation with a smaller id, but none of the chat's own burst."""

    def later_in_burst(self, chat: Chat) -> Chat | None:
        """Return the newest `received` chat of the chat's own burst with a larger id."""

    def earlier_in_burst(self, chat: Chat) -> Sequence[Chat]:
        """Return the `received` chats of the chat's own burst with smaller ids, oldest first."""

    def leave_burst(self, chat_id: str, owner: str) -> bool:
        """Take the chat out of its burst, if it is `received` and still leased to this owner; tell whether it was."""

    def merge(self, seen: Chat, into: str, delivery: Delivery | None) -> bool:
        """Make a chat `merged` into a later one and end its lease, if it is `received` and in the burst as seen.

        A delivery replaces the chat's own; None leaves it.
        """

    def merged_into(self, conversation_id: str, chat_id: str) -> Sequence[Chat]:
        """Return the chats that were merged into this one, oldest first."""

    def unfinished(self, at: datetime, limit: int) -> Sequence[Chat]:
        """Return `received` chats whose `lease_until` is None or not after `at`, oldest first."""

    def requeue(self, seen: Chat, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if status, owner and lease are as seen."""

    def undelivered(self, at: datetime, limit: int) -> Sequence[Chat]:
        """Return chats whose delivery's `next_at` is not after `at`, oldest `next_at` first."""

    def change_delivery(self, chat_id: str, seen: Delivery, delivery: Delivery) -> bool:
        """Replace a chat's delivery if its status, `event_id` and `next_at` are as seen; tell whether they were."""

    def history(self, conversation_id: str, before_id: str, limit: int, after_id: str = "") -> Sequence[Chat]:
        """Return the newest chats between the two ids which are part of the memory, oldest first.

        Those are all but `received` and `failed` ones.
        """

    def newest(self, conversation_id: str) -> Chat | None:
        """Return the conversation's newest chat."""

    def newest_of_assistant(self, assistant_id: str) -> Chat | None:
        """Return the newest chat of all the assistant's conversations."""

    def newest_of_request(self, assistant_id: str, request_digest: str) -> Chat | None:
        """Return the newest chat that a request with this digest (not empty) began."""

    def list(self, chats: ChatFilter, page: Page) -> Listing[Chat]:
        """List the chats that pass the filter, newest first (by id) unless it says otherwise."""

    def set_active(self, conversation_id: str, active: bool, paused_until: datetime | None) -> None:
        """Mark every chat of a conversation as the conversation is marked."""

    def set_feedback(self, chat_id: str, feedback: Feedback) -> bool:
        """Store what a user thinks of the answer; tell whether the chat was there."""

    def note_speech(self, chat_id: str, first_sentence_ms: int, first_audio_ms: int) -> bool:
        """Set these two of the chat's timings, unless its answer has them already; tell whether they were set."""

    def delete_of_conversation(self, conversation_id: str) -> None:
        """Delete every chat of a conversation."""

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every chat of an assistant."""


class DocumentRepository(Protocol):
    """The records of documents; their bytes are in `DocumentFiles`, their passages in `PassageRepository`."""

    def add(self, document: Document) -> bool:
        """Store a new record; False if the assistant has one of that type and filename."""

    def get(self, document_id: str) -> Document | None:
        """Return the document with this id."""

    def find(self, assistant_id: str, type: DocumentType, filename: str) -> Document | None:
        """Return an assistant's document by its name."""

    def list(self, assistant_ids: Sequence[str] | None, type: DocumentType | None, page: Page) -> Listing[Document]:
        """List the documents of these assistants (None: all), newest first (by id)."""

    def builds(self, assistant_id: str) -> Mapping[str, Build]:
        """Return document id -> build of every document of type `rag` that has one, in the order of ids."""

    def replace(self, document: Document, seen: Document) -> bool:
        """Overwrite the record if it still has the revision and the build of `seen`; tell whether it did."""

    def claim(self, document_id: str, owner: str, until: datetime, at: datetime) -> Document | None:
        """Begin an attempt: make the document `indexing`, leased to this owner, one attempt more, and return it.

        None, and nothing changed, unless it is `stored` or `indexing` and has no owner or one whose lease ended by
        `at`; of several callers at once exactly one succeeds.
        """

    def waiting(self, at: datetime) -> Sequence[tuple[str, str]]:
        """Return (assistant id, id of its oldest document that waits), oldest first.

        Those wait that were never claimed, and unfinished ones whose `lease_until` is None or not after `at`.
        """

    def change(self, document_id: str, revision: str, owner: str, changes: Mapping[str, object]) -> bool:
        """Set these fields (names of `Document`) if it has this revision and is leased to this owner; tell whether."""

    def requeue(self, seen: Document, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if owner and lease are those of `seen`."""

    def unfinished(self, at: datetime, limit: int) -> Sequence[Document]:
        """Return `stored` and `indexing` documents whose `lease_until` is None or not after `at`, oldest first."""

    def without_embeddings(self, model: str, after: str | None, limit: int) -> Sequence[Document]:
        """Return documents of type `rag` with a build and vectors of another model (or none), by id from `after` on."""

    def set_embeddings_model(self, document_id: str, build: str, model: str, without_vector: int = 0) -> bool:
        """Note whose vectors a build has, and how many passages have none, if it is the document's; tell whether."""

    def delete(self, document_id: str, revision: str | None = None) -> bool:
        """Delete the record, with a revision only if it still has that; tell whether it did."""

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every record of an assistant."""


class PassageRepository(Protocol):
    """The passages of documents: the truth that every index is built from. Their revision is a document's build."""

    def add(self, passages: Sequence[Passage]) -> None:
        """Store new passages, all or none visible later by their revision."""

    def of_document(self, assistant_id: str, document_id: str, revision: str) -> Sequence[Passage]:
        """Return one build's passages in the order of the document."""

    def delete_of_document(
        self, assistant_id: str, document_id: str, *, before: str | None = None, after: str | None = None
    ) -> None:
        """Delete a document's passages, or those of the builds between two: ids sort by time."""

    def delete_revision(self, assistant_id: str, document_id: str, revision: str) -> None:
        """Delete the passages of one build of a document."""

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every passage of an assistant."""


class VectorRepository(Protocol):
    """Embedding vectors, kept by the digest of what was embedded: what has not changed is never embedded again.

    One of zeros is kept in the place of a vector that the model refuses to make.
    """

    def add(self, assistant_id: str, document_id: str, model: str, vectors: Mapping[str, bytes]) -> None:
        """Store vectors (digest -> float32, little-endian); those that are there already are no error."""

    def of_document(self, assistant_id: str, document_id: str, model: str) -> Mapping[str, bytes]:
        """Return a document's vectors of a model, digest -> bytes."""

    def keep(self, assistant_id: str, document_id: str, model: str, digests: Collection[str]) -> None:
        """Delete a document's vectors but for these of this model."""

    def delete(self, assistant_id: str, document_id: str, model: str, digests: Collection[str]) -> None:
        """Delete these vectors of a document and a model."""

    def delete_of_document(self, assistant_id: str, document_id: str) -> None:
        """Delete every vector of a document."""

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every vector of an assistant."""


class DeadLetterRepository(Protocol):
    """Jobs that were given up."""

    def add(self, letter: DeadLetter) -> None:
        """Keep a job that was given up; one of the same name and argument takes its place."""

    def get(self, letter_id: str) -> DeadLetter | None:
        """Return the letter with this id."""

    def list(self, page: Page) -> Listing[DeadLetter]:
        """List all, newest first (by id)."""

    def delete(self, letter_id: str) -> bool:
        """Delete it; tell whether it was there."""


class DatasetRepository(Protocol):
    """Datasets of evaluations with their items."""

    def add(self, dataset: Dataset, items: Sequence[DatasetItem]) -> None:
        """Store a new dataset; it is there once all of its items are."""

    def get(self, dataset_id: str) -> Dataset | None:
        """Return the dataset with this id."""

    def items(self, dataset_id: str) -> Sequence[DatasetItem]:
        """Return a dataset's items in their order."""

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Dataset]:
        """List the datasets of these assistants (None: all), newest first (by id)."""

    def delete(self, dataset_id: str) -> bool:
        """Delete a dataset with its items; tell whether it was there."""

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every dataset of an assistant."""


class RunRepository(Protocol):
    """Runs of evaluations with their results.

    A `running` run is worked on while it has a lease owner whose lease has not ended; else it is free.
    """

    def add(self, run: Run, results: Sequence[Result]) -> None:
        """Store a new run; it is there once all of its results are. Their ids are in the order of their positions."""

    def get(self, run_id: str) -> Run | None:
        """Return the run with this id."""

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Run]:
        """List the runs of these assistants (None: all), newest first (by id)."""

    def claim(self, run_id: str, owner: str, until: datetime, at: datetime) -> Run | None:
        """Begin an attempt: lease the run to this owner, one attempt more, and return it.

        None, and nothing changed, unless it is `running` and free at `at`; of several callers at once one succeeds.
        """

    def renew(self, run_id: str, owner: str, until: datetime) -> bool:
        """Prolong the lease of a `running` run that this owner still holds; tell whether it does."""

    def change(self, run_id: str, owner: str, changes: Mapping[str, object]) -> bool:
        """Set these fields (names of `Run`) of a `running` run that is leased to this owner; tell whether it was."""

    def switch(self, run_id: str, seen: RunStatus, changes: Mapping[str, object]) -> bool:
        """Set these fields, which end any lease, if the run still has the status that was seen; tell whether it had."""

    def requeue(self, seen: Run, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if status, owner and lease are as seen."""

    def unfinished(self, at: datetime, limit: int) -> Sequence[Run]:
        """Return `running` runs for jobs whose `lease_until` is None or not after `at`, oldest first."""

    def delete(self, run_id: str) -> bool:
        """Delete a run with its results; tell whether it was there."""

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every run of an assistant."""

    def results(self, run_id: str, page: Page) -> Listing[Result]:
        """List a run's results in the order of their positions (by id)."""

    def progress(self, run_id: str) -> Mapping[ResultStatus, int]:
        """Return how many results a run has of each status."""

    def finish(self, result: Result) -> bool:
        """Write what came of an item, unless it is `done` already or was deleted; tell whether it was written."""


class DocumentFiles(Protocol):
    """The bytes of documents, under `documents/<assistant id>/`: each revision, and the newest one in its place.

    A revision is written once and never changes. Publishing puts one where operators and the reference systems look
    for it: `<assistant id>/knowledge/<name>`, `<assistant id>/prompt.txt` or, for a
    role's prompt, `<assistant id>/<role>.txt`.
    """

    def stage(self, filepath: str, revision: str, content: bytes) -> None:
        """Keep the bytes of a revision durably, not yet visible in the file's place.

        Raises:
            Unavailable: code `storage_full` when the disk is full; nothing is left behind.
        """

    def publish(self, filepath: str, revision: str) -> None:
        """Put a kept revision in the file's place, atomically; it is kept all the same. Without it, do nothing."""

    def discard(self, filepath: str, revision: str) -> None:
        """Drop a kept revision; an absent one is no error."""

    def open(self, filepath: str, revision: str | None = None) -> BinaryIO | None:
        """Open a kept revision for reading, or the file in its place for None; None if it is not there."""

    def delete(self, filepath: str, revisions: Iterable[str]) -> None:
        """Delete the file and these revisions; absent ones are no error."""

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete the whole folder of an assistant."""

    def kept(self) -> Iterator[StoredVersion]:
        """Yield every kept revision, for recovery after a crash."""

    def published(self, assistant_id: str) -> Mapping[str, PublishedFile]:
        """Return filepath -> file of everything that lies in its place for an assistant, whoever put it there."""

    def digest(self, filepath: str) -> str | None:
        """Return the SHA-256 of the file in its place, in hex; None if there is none."""
