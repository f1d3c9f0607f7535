"""Assistants, with all that goes when one is deleted."""

from services.api_keys import ApiKeys
from services.assistants import AssistantBelongings, AssistantService
from services.ports import RateLimiter
from services.threads import ThreadService
from services.tools.sources import ToolSources
from services.webhook_secrets import WebhookSecrets
from settings import Settings
from stores import Repositories
from wiring.accounts import jwt_secret
from wiring.conversing import Conversing
from wiring.files import Files
from wiring.hosting import Hosting
from wiring.knowledge import Knowledge
from wiring.providers import Models


def build_assistants(  # noqa: PLR0913  an assistant has something everywhere
    settings: Settings,
    held: Repositories,
    files: Files,
    knowledge: Knowledge,
    conversing: Conversing,
    threads: ThreadService,
    hosting: Hosting,
    models: Models,
    sources: ToolSources,
    limiter: RateLimiter,
) -> AssistantService:
    """Wire assistants."""
    belongings = AssistantBelongings(
        held.conversations,
        held.chats,
        held.documents,
        held.passages,
        held.vectors,
        held.datasets,
        held.runs,
        files,
        knowledge.index,
        conversing.news,
        threads,
        hosting.service,
    )
    secret = jwt_secret(settings)
    return AssistantService(
        held.assistants,
        held.users,
        belongings,
        ApiKeys(secret),
        WebhookSecrets(secret),
        sources,
        limiter,
        frozenset(models.by_name),
        settings.messages_per_minute,
    )
