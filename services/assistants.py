"""Assistants: their life, their keys and who calls with one."""

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from models.assistants import Assistant
from models.clock import now
from models.errors import Conflict, Forbidden, Invalid, NotFound, RateLimited, Unauthenticated, Unavailable
from models.ids import is_id, new_id
from models.paging import Listing, Page
from models.tools import ToolSource
from models.users import Principal
from services.api_keys import ApiKeys
from services.hosting.service import HostingService
from services.news import ConversationNews
from services.ownership import Ownership
from services.ports import (
    AssistantRepository,
    ChatRepository,
    ConversationRepository,
    DatasetRepository,
    DocumentFiles,
    DocumentRepository,
    KnowledgeIndex,
    PassageRepository,
    RateLimiter,
    RunRepository,
    UserRepository,
    VectorRepository,
)
from services.threads import ThreadService
from services.tools.sources import ToolSources
from services.webhook_secrets import WebhookSecrets

logger = logging.getLogger("orquestra.assistants")


@dataclass(frozen=True)
class AssistantBelongings:
    """What dies with an assistant, and who is told."""

    conversations: ConversationRepository
    chats: ChatRepository
    documents: DocumentRepository
    passages: PassageRepository
    vectors: VectorRepository
    datasets: DatasetRepository
    runs: RunRepository
    files: DocumentFiles
    index: KnowledgeIndex
    news: ConversationNews
    threads: ThreadService
    hosting: HostingService


class AssistantService:
    """Manage assistants and admit the callers that hold their keys.

    Args:
        providers: names of the language model providers that are configured.
        messages_per_minute: the rate of an assistant that sets none; 0 for no limit.
    """

    def __init__(  # noqa: PLR0913  the composition root is the only caller
        self,
        assistants: AssistantRepository,
        users: UserRepository,
        belongings: AssistantBelongings,
        keys: ApiKeys,
        webhooks: WebhookSecrets,
        sources: ToolSources,
        limiter: RateLimiter,
        providers: Collection[str],
        messages_per_minute: int,
    ) -> None:
        self._assistants = assistants
        self._users = users
        self._belongings = belongings
        self._keys = keys
        self._webhooks = webhooks
        self._sources = sources
        self._limiter = limiter
        self._providers = providers
        self._messages_per_minute = messages_per_minute
        self._ownership = Ownership(assistants)

    def add(
        self, caller: Principal, name: str, owner_id: str | None = None, fields: Mapping[str, Any] | None = None
    ) -> Assistant:
        """Create an assistant with its first key.

        Args:
            fields: more of its fields, as `update` takes them.

        Raises:
            Forbidden: only an admin may name another owner.
            Invalid: the owner does not exist, or a provider is not configured here.
        """
        owner, given = owner_id or caller.user_id, fields or {}
        self._check_owner(caller, owner)
        self._check_provider(given.get("provider"))
        at = now()
        _, key = self._keys.create(at)
        assistant = Assistant(new_id(), name, owner, (key,), created_at=at, updated_at=at, **given)
        self._assistants.add(assistant)
        return assistant

    def get(self, caller: Principal, assistant_id: str) -> Assistant:
        """Return an assistant that the caller may manage."""
        return self._ownership.assistant(caller, assistant_id)

    def list(self, caller: Principal, page: Page) -> Listing[Assistant]:
        """List the caller's assistants; an admin's list holds all."""
        return self._assistants.list(caller.owner_filter, page)

    def update(self, caller: Principal, assistant_id: str, changes: Mapping[str, object]) -> Assistant:
        """Set fields of an assistant (names of `Assistant`); headers of tools come in clear.

        Raises:
            Invalid: a provider that is not configured here, an unknown owner, or tools that this server does not know.
        """
        current = self._ownership.assistant(caller, assistant_id)
        self._check_provider(changes.get("provider"))
        owner = str(changes.get("owner_id", current.owner_id))
        if owner != current.owner_id:
            self._check_owner(caller, owner)
        if (tools := changes.get("tools")) is not None:
            changes = {**changes, "tools": self._sources.sealed(cast(Sequence[ToolSource], tools), current.tools)}
        changed = self._changed(assistant_id, changes)
        if changed.provider != current.provider:
            self._belongings.hosting.changed(assistant_id)
        return changed

    def delete(self, caller: Principal, assistant_id: str) -> None:
        """Delete an assistant with its documents, conversations and chats.

        The assistant goes between two rounds: the first can be repeated if it is cut off, the second takes what
        arrived during the first.
        """
        self._belongings.news.deleted_with(self._ownership.assistant(caller, assistant_id))
        self._delete_belongings(assistant_id)
        if not self._assistants.delete(assistant_id):
            raise NotFound(f"There is no assistant {assistant_id!r}.")
        self._delete_belongings(assistant_id)

    def _delete_belongings(self, assistant_id: str) -> None:
        belongings = self._belongings
        belongings.threads.forget(assistant_id)
        belongings.hosting.forget(assistant_id)
        belongings.conversations.delete_of_assistant(assistant_id)
        belongings.chats.delete_of_assistant(assistant_id)
        belongings.documents.delete_of_assistant(assistant_id)
        belongings.passages.delete_of_assistant(assistant_id)
        belongings.vectors.delete_of_assistant(assistant_id)
        belongings.datasets.delete_of_assistant(assistant_id)
        belongings.runs.delete_of_assistant(assistant_id)
        belongings.files.delete_of_assistant(assistant_id)
        belongings.index.forget(assistant_id)

    def rotate_key(self, caller: Principal, assistant_id: str, grace_seconds: int) -> Assistant:
        """Give an assistant a new key; the current one works until the grace ends.

        Raises:
            Conflict: another rotation came first.
        """
        assistant = self._ownership.assistant(caller, assistant_id)
        at = now()
        _, fresh = self._keys.create(at)
        ends = at + timedelta(seconds=grace_seconds)
        in_grace = tuple(
            dataclasses.replace(key, expires_at=min(key.expires_at or ends, ends))
            for key in assistant.keys
            if key.expires_at is None or key.expires_at > at
        )
        if grace_seconds == 0:
            in_grace = ()
        if not self._assistants.set_keys(assistant_id, (fresh, *in_grace), assistant.keys[0].key_id):
            raise Conflict(
                "The key was rotated by somebody else just now. Read the assistant again.", code="key_rotated"
            )
        return self._ownership.assistant(caller, assistant_id)

    def rotate_webhook_secret(self, caller: Principal, assistant_id: str, grace_seconds: int) -> Assistant:
        """Give an assistant a new webhook secret; until the grace ends, callbacks are signed with the one before too.

        The secret follows from the version, so two rotations at once are one, and both callers read the same secret.
        """
        assistant, at = self._ownership.assistant(caller, assistant_id), now()
        changes = {
            "webhook_version": assistant.webhook_version + 1,
            "webhook_grace_until": at + timedelta(seconds=grace_seconds) if grace_seconds else None,
        }
        return self._changed(assistant_id, changes)

    def webhook_secret(self, assistant: Assistant) -> str:
        """Return the secret that the receivers of an assistant's callbacks check signatures with."""
        return self._webhooks.current(assistant)

    def revealed_key(self, assistant: Assistant) -> str | None:
        """Return the current key in clear, None if the server's secret has changed since it was made."""
        return self._keys.reveal(assistant.keys[0])

    def admit(self, key: str | None, *, counted: bool = True) -> Assistant:
        """Return the assistant that a caller's API key names, and count the message against its rate.

        Args:
            counted: False for a request that is no message.

        Raises:
            Unauthenticated: no key, an unknown one, or one whose grace has ended.
            RateLimited: more messages a minute than the assistant takes.
        """
        if not key:
            raise Unauthenticated(
                "Send the assistant's API key as X-API-Key or as a Bearer token.", code="api_key_missing"
            )
        digest = self._keys.sha256(key)
        assistant = self._assistants.find_by_key_hash(digest) if self._keys.looks_like_key(key) else None
        used = next((one for one in assistant.keys if one.sha256 == digest), None) if assistant else None
        if assistant is None or used is None or (used.expires_at is not None and used.expires_at <= now()):
            raise Unauthenticated(
                "This API key is not valid. Look the current one up with the assistant.", code="api_key_invalid"
            )
        if counted:
            self.count(assistant)
        return assistant

    def admit_manager(self, caller: Principal, assistant_id: str, *, counted: bool = True) -> Assistant:
        """Return an assistant that one who may manage it talks to, and count the message as `admit` does.

        Raises:
            NotFound: it does not exist, or is somebody else's.
            RateLimited: as `admit`.
        """
        assistant = self._ownership.assistant(caller, assistant_id)
        if counted:
            self.count(assistant)
        return assistant

    def count(self, assistant: Assistant) -> None:
        """Count a message, or what costs as much, against an assistant's rate.

        Raises:
            RateLimited: more a minute than the assistant takes.
        """
        limit = assistant.messages_per_minute
        limit = self._messages_per_minute if limit is None else limit
        if limit == 0:
            return
        try:
            wait = self._limiter.hit("messages", assistant.id, limit)
        except Unavailable:
            logger.warning("rate limits are not counted: the limiter's server cannot be reached")
            return
        if wait is not None:
            raise RateLimited(f"More than {limit} messages a minute to this assistant. Slow down.", retry_after=wait)

    def _changed(self, assistant_id: str, changes: Mapping[str, object]) -> Assistant:
        changed = self._assistants.update(assistant_id, changes, now())
        if changed is None:
            raise NotFound(f"There is no assistant {assistant_id!r}.")
        return changed

    def _check_provider(self, provider: object) -> None:
        if provider is not None and provider not in self._providers:
            known = ", ".join(sorted(self._providers))
            raise Invalid(
                "The provider is not configured on this server.", errors={"provider": [f"Must be one of: {known}."]}
            )

    def _check_owner(self, caller: Principal, owner_id: str) -> None:
        if owner_id != caller.user_id and not caller.is_admin:
            raise Forbidden("Only an admin may give an assistant to another user.", code="owner_not_allowed")
        if not is_id(owner_id) or self._users.get(owner_id) is None:
            raise Invalid("The owner does not exist.", errors={"owner_id": ["There is no such user."]})
