"""Assistants and their API keys."""

from dataclasses import dataclass
from datetime import datetime

from models.routing import Routing
from models.tools import ToolSource


@dataclass(frozen=True)
class ApiKey:
    """One API key of an assistant, as the store holds it.

    Attributes:
        key_id: the public part, between the two underscores of `orq_<key id>_<secret>`.
        sha256: hex digest of the whole key, for look-up.
        encrypted: the whole key under the server's secret, for display.
        expires_at: end of the grace after a rotation; None for the current key.
    """

    key_id: str
    sha256: str
    encrypted: str
    created_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Assistant:
    """An assistant: what answers, and how.

    Attributes:
        keys: the current key first, then those in their grace.
        version: counts the changes, from 1.
        index_version: counts the changes of its passages; a local index older than this is stale.
        provider: name of the language model provider, None for the server's own choice.
        model: the provider's model name, None for the server's own choice.
        temperature: 0 to 2, None for the model's own default.
        history_turns: how many earlier turns the model sees.
        language: BCP 47 tag of the answers, None to follow the question.
        voice: id of the voice that speaks its answers, None for the server's own choice.
        debounce_seconds: messages of a conversation that come within so long of each other are answered together.
        callback_hosts: the hosts that answers may be sent to (`example.com`, or `*.example.com` for all below it).
        webhook_version: counts the secrets that its callbacks were signed with.
        webhook_grace_until: until when callbacks are signed with the secret before as well.
        messages_per_minute: messages it takes with all its keys; None for the server's limit, 0 for no limit.
        tools: where the tools come from that its model may call.
        routing: None for one model that answers everything, without filler.
    """

    id: str
    name: str
    owner_id: str
    keys: tuple[ApiKey, ...]
    created_at: datetime
    updated_at: datetime
    version: int = 1
    index_version: int = 0
    provider: str | None = None
    model: str | None = None
    temperature: float | None = None
    max_output_tokens: int | None = None
    history_turns: int = 20
    language: str | None = None
    voice: str | None = None
    messages_per_minute: int | None = None
    debounce_seconds: float = 0.0
    callback_hosts: tuple[str, ...] = ()
    webhook_version: int = 1
    webhook_grace_until: datetime | None = None
    tools: tuple[ToolSource, ...] = ()
    routing: Routing | None = None
