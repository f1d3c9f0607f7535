"""What answers messages and sends the answers."""

from dataclasses import dataclass

from models.clock import now
from repositories.redis.destinations import RedisDestinations
from repositories.redis.events import RedisEventBus
from repositories.redis.locks import RedisLocks
from routes.webhooks import event_body
from services.attempts import Attempts
from services.callbacks import CallbackService, Courier
from services.composing import Composer
from services.conversations import ConversationService
from services.dead_letters import DeadLetterService
from services.journal import Journal
from services.leases import LeaseKeeper
from services.news import ConversationNews
from services.nudges import Nudges
from services.ports import JobQueue
from services.providers.webhooks import StandardWebhookSender
from services.webhook_secrets import WebhookSecrets
from settings import Settings
from stores import Repositories, Stores
from wiring.accounts import jwt_secret


@dataclass(frozen=True)
class Conversing:
    """Everything that answers messages and sends the answers."""

    answering: ConversationService
    callbacks: CallbackService
    news: ConversationNews
    leases: LeaseKeeper
    events: RedisEventBus


def build_conversing(
    settings: Settings,
    held: Repositories,
    stores: Stores,
    composer: Composer,
    letters: DeadLetterService,
    jobs: JobQueue,
) -> Conversing:
    """Wire answers and callbacks."""
    events = RedisEventBus(stores.redis)
    news = ConversationNews(events, held.assistants, held.conversations)
    journal = Journal(held.assistants, held.conversations, held.chats, RedisLocks(stores.redis), news)
    leases, nudges = LeaseKeeper(), Nudges(jobs)
    attempts = Attempts(journal, composer, leases, nudges)
    answering = ConversationService(journal, attempts, leases, nudges, settings.answer_deadline_seconds)
    secrets = WebhookSecrets(jwt_secret(settings))
    courier = Courier(
        StandardWebhookSender(settings.callback_networks),
        RedisDestinations(stores.redis),
        lambda assistant: secrets.signing(assistant, now()),
        event_body,
    )
    callbacks = CallbackService(held.chats, held.assistants, nudges, courier, letters.bury)
    return Conversing(answering, callbacks, news, leases, events)
