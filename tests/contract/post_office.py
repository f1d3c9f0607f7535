"""What one server does with callbacks, over a store and to a real receiver, with jobs that run when a test says so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from models.answers import Inbound
from models.assistants import Assistant
from models.callbacks import Delivery
from models.chats import Chat
from models.clock import now
from routes.audio_links import AudioLinks
from routes.webhooks import event_body
from services.callbacks import RESEND_CALLBACK, CallbackService, Courier
from services.nudges import ANSWER_CHAT, SEND_CALLBACK, Nudges
from services.providers.scripted import ScriptedModel
from services.providers.webhooks import StandardWebhookSender
from services.voice.links import LinkSigner
from services.webhook_secrets import WebhookSecrets
from stores import Repositories
from tests.contract.engine import Asked, Engine
from tests.contract.stores import Stores, make_assistant

LOOPBACK = (ip_network("127.0.0.0/8"),)
SECRETS = WebhookSecrets("the server's own secret")
LINKS = AudioLinks(LinkSigner("the server's own secret"))


@dataclass
class Destinations:
    """Implement `Destinations` as a test says, and keep what it was told."""

    pause: float = 0.0
    told: list[tuple[str, str]] = field(default_factory=list)

    def wait(self, destination: str) -> float:
        """Return the pause."""
        return self.pause

    def failed(self, destination: str) -> None:
        """Keep it."""
        self.told.append(("failed", destination))

    def recovered(self, destination: str) -> None:
        """Keep it."""
        self.told.append(("recovered", destination))


def callback_service(
    stores: Repositories, jobs: Asked, destinations: Destinations, networks: Sequence[Any] = LOOPBACK
) -> CallbackService:
    """Return the service over a store, as a server has it."""

    def secrets(assistant: Assistant) -> Sequence[str]:
        return SECRETS.signing(assistant, now())

    courier = Courier(StandardWebhookSender(networks), destinations, secrets, lambda chat: event_body(chat, LINKS))
    return CallbackService(stores.chats, stores.assistants, Nudges(jobs), courier, stores.dead_letters.add)


class PostOffice:
    """An assistant, its engine and its callbacks."""

    def __init__(self, stores: Stores, url: str, model: ScriptedModel | None = None, **fields: Any) -> None:
        self.stores, self.url = stores, url
        self.assistant = make_assistant(**{"callback_hosts": ("127.0.0.1",), **fields})
        stores.assistants.add(self.assistant)
        self.engine = Engine(stores, model or ScriptedModel([["Olá."]]), assistant=self.assistant)
        self.jobs = self.engine.jobs
        self.destinations = Destinations()
        self.callbacks = callback_service(stores, self.jobs, self.destinations)
        self.secret = SECRETS.current(self.assistant)

    def twin(self, networks: Sequence[Any] = LOOPBACK) -> CallbackService:
        """Return the service of another server over the same store."""
        return callback_service(self.stores, self.jobs, self.destinations, networks)

    def accept(self, text: str = "Oi", **fields: Any) -> Chat:
        """Take a message in, as the route does."""
        message: Inbound = self.engine.inbound(text, callback_url=f"{self.url}/hook", **fields)
        return self.engine.service.accept(message)[0]

    def settle(self, text: str = "Oi", **fields: Any) -> Chat:
        """Take a message in and have it answered, or not; its delivery is then pending."""
        chat = self.accept(text, **fields)
        self.engine.service.resume(chat.id)
        self.jobs.jobs.clear()
        return self.chat(chat)

    def work(self, most: int = 20) -> list[tuple[str, float]]:
        """Do the jobs that were asked for without a delay; return the later ones, which are forgotten."""
        handlers: Mapping[str, Callable[[str], None]] = {
            ANSWER_CHAT: self.engine.service.resume,
            SEND_CALLBACK: self.callbacks.send,
            RESEND_CALLBACK: self.callbacks.resend,
        }
        later: list[tuple[str, float]] = []
        while self.jobs.jobs:
            job, argument, delay = self.jobs.jobs.pop(0)
            if delay:
                later.append((job, delay))
                continue
            most -= 1
            assert most >= 0, "the jobs ask for each other without end"
            handlers[job](argument)
        return later

    def chat(self, chat: Chat) -> Chat:
        """Return a chat as it is stored now."""
        stored = self.stores.chats.get(chat.id)
        assert stored is not None
        return stored

    def delivery(self, chat: Chat) -> Delivery:
        """Return a chat's delivery as it is stored now."""
        delivery = self.chat(chat).delivery
        assert delivery is not None
        return delivery

    def pass_time(self, chat: Chat, overdue: float = 1.0, **fields: Any) -> None:
        """Let the time of a chat's delivery come, and so many seconds go by after it."""
        seen = self.delivery(chat)
        past = replace(seen, next_at=now() - timedelta(seconds=overdue), **fields)
        assert self.stores.chats.change_delivery(chat.id, seen, past)
