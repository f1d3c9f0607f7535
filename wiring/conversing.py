"""What answers messages and sends the answers."""

from dataclasses import dataclass

from models.clock import now
from queues import Queues
from repositories.redis.destinations import RedisDestinations
from repositories.redis.events import RedisEventBus
from repositories.redis.locks import RedisLocks
from repositories.redis.places import RedisPlaces
from routes.audio_links import AudioLinks
from routes.webhooks import event_body
from services.arrivals import Arrivals
from services.attempts import Attempts
from services.callbacks import CallbackService, Courier
from services.composing import Composer
from services.conversations import ConversationService
from services.dead_letters import DeadLetterService
from services.journal import Journal
from services.leases import LeaseKeeper
from services.news import ConversationNews
from services.nudges import ANSWER_CHAT, Nudges
from services.providers.webhooks import StandardWebhookSender
from services.voice.links import LinkSigner
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
    arrivals: Arrivals
    leases: LeaseKeeper
    events: RedisEventBus


def build_conversing(
    settings: Settings,
    held: Repositories,
    stores: Stores,
    composer: Composer,
    letters: DeadLetterService,
    queues: Queues,
) -> Conversing:
    """Wire answers and callbacks."""
    events = RedisEventBus(stores.redis)
    news = ConversationNews(events, held.assistants, held.conversations)
    leases, nudges = LeaseKeeper(), Nudges(queues.jobs)
    arrivals = Arrivals(held.conversations, held.chats, RedisPlaces(stores.redis), leases)
    journal = Journal(held.assistants, held.conversations, held.chats, RedisLocks(stores.redis), news, arrivals)
    attempts = Attempts(journal, composer, leases, nudges)
    backlog = queues.backlog_of(ANSWER_CHAT)
    answering = ConversationService(journal, attempts, leases, nudges, settings.answer_deadline_seconds, backlog)
    secrets = WebhookSecrets(jwt_secret(settings))
    links = AudioLinks(LinkSigner(jwt_secret(settings)), settings.public_url.rstrip("/"))
    courier = Courier(
        StandardWebhookSender(settings.callback_networks),
        RedisDestinations(stores.redis),
        lambda assistant: secrets.signing(assistant, now()),
        lambda chat: event_body(chat, links),
    )
    callbacks = CallbackService(held.chats, held.assistants, nudges, courier, letters.bury)
    return Conversing(answering, callbacks, news, arrivals, leases, events)
