"""Callbacks: outcomes on their way to the URLs that their senders asked for. services/deliveries.py has the rules."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from models.assistants import Assistant
from models.callbacks import Delivery, DeliveryStatus, DeliveryTry, Posted
from models.chats import Chat, ChatStatus
from models.clock import now
from models.errors import NotFound
from models.ids import is_id, new_id
from models.jobs import DeadLetter
from models.users import Principal
from services.callback_urls import callback_origin
from services.deliveries import answers, given_up, is_due, overdue, put_off, renewed, taken_on, tried
from services.nudges import Nudges
from services.ownership import Ownership
from services.ports import AssistantRepository, ChatRepository, Destinations, WebhookSender

logger = logging.getLogger("orquestra.callbacks")

RESEND_CALLBACK = "resend_callback"
"""The job that sends an outcome again which was given up; its argument is the chat's id."""

_OVERDUE = timedelta(seconds=15)
"""So late the job of a delivery counts as lost."""

_SWEPT = 200
_GIVEN_UP = frozenset({DeliveryStatus.EXHAUSTED, DeliveryStatus.GONE})


@dataclass(frozen=True)
class Courier:
    """How an event leaves this server.

    Attributes:
        secrets: what an assistant's callbacks are signed with now.
        body: makes the event of a settled chat.
    """

    sender: WebhookSender
    destinations: Destinations
    secrets: Callable[[Assistant], Sequence[str]]
    body: Callable[[Chat], bytes]

    def pause(self, assistant: Assistant, url: str) -> float:
        """Return the seconds until another try at the receiver makes sense."""
        return self.destinations.wait(_destination(assistant, url))

    def post(self, assistant: Assistant, chat: Chat, delivery: Delivery) -> Posted:
        """Post a chat's outcome once, and note whether the receiver is in trouble."""
        secrets, body = self.secrets(assistant), self.body(chat)
        posted = self.sender.send(delivery.url, assistant.callback_hosts, delivery.event_id, secrets, body)
        tell = self.destinations.recovered if answers(posted) else self.destinations.failed
        tell(_destination(assistant, delivery.url))
        return posted


class CallbackService:
    """Send outcomes until their receivers take them, at least once each, under the same `webhook-id`.

    The chat is the outbox: what settles it makes its delivery pending in the same update. A try leases the delivery by
    moving `next_at` on, so no two are made at once; a process that dies in between costs a minute, never a delivery.

    Args:
        bury: keeps the letter of a delivery that was given up.
    """

    def __init__(
        self,
        chats: ChatRepository,
        assistants: AssistantRepository,
        nudges: Nudges,
        courier: Courier,
        bury: Callable[[DeadLetter], None],
    ) -> None:
        self._chats = chats
        self._assistants = assistants
        self._ownership = Ownership(assistants)
        self._nudges = nudges
        self._courier = courier
        self._bury = bury

    def send(self, chat_id: str) -> None:
        """Do the job `SEND_CALLBACK`: go on with a chat's delivery, if that is due and nobody else is at it."""
        chat, at = self._chats.get(chat_id), now()
        if chat is None or chat.delivery is None or not is_due(chat.delivery, at):
            return
        if chat.status is ChatStatus.RECEIVED:  # an attempt is at it, and its end makes the delivery due again
            self._chats.change_delivery(chat.id, chat.delivery, replace(chat.delivery, next_at=None))
        elif chat.delivery.status is DeliveryStatus.WAITING:
            self._nudges.answer(chat.id)
        else:
            leased = taken_on(chat.delivery, at)
            if self._chats.change_delivery(chat.id, chat.delivery, leased):
                self._try(chat, leased)

    def resend(self, chat_id: str) -> None:
        """Do the job `RESEND_CALLBACK`: give an outcome that was given up another day, and send it."""
        chat = self._chats.get(chat_id)
        if chat is None or chat.delivery is None or chat.delivery.status not in _GIVEN_UP:
            return
        if self._chats.change_delivery(chat.id, chat.delivery, renewed(chat.delivery, now())):
            self.send(chat_id)

    def sweep(self) -> None:
        """Ask again for what is overdue: its job was lost, or whoever was at it died."""
        at = now()
        for chat in self._chats.undelivered(at - _OVERDUE, _SWEPT):
            if chat.delivery is None:
                continue
            asked = replace(chat.delivery, next_at=at)  # so other sweepers, and the next turn, do not ask as well
            if self._chats.change_delivery(chat.id, chat.delivery, asked):
                self._nudges.deliver(replace(chat, delivery=asked))

    def log(self, caller: Principal, chat_id: str) -> Sequence[DeliveryTry]:
        """Return the tries of a chat's delivery, newest first; none for a chat without one.

        Raises:
            NotFound: there is no such chat, or it is somebody else's.
        """
        chat = self._chats.get(chat_id) if is_id(chat_id) else None
        if chat is None or not self._ownership.sees(caller, chat.assistant_id):
            raise NotFound(f"There is no chat {chat_id!r}.")
        return chat.delivery.log[::-1] if chat.delivery is not None else ()

    def _try(self, chat: Chat, leased: Delivery) -> None:
        """Post an outcome whose delivery this try has leased, unless its receiver is in trouble for now."""
        assistant = self._assistants.get(chat.assistant_id)
        if assistant is None:  # deleted, and its chats with it
            return
        pause = self._courier.pause(assistant, leased.url)
        if pause > 0:
            at = now()
            self._store(chat, leased, given_up(leased) if overdue(leased, at) else put_off(leased, at, pause))
            return
        posted = self._courier.post(assistant, chat, leased)
        self._store(chat, leased, tried(leased, posted, now()))
        _note(chat, leased, posted)

    def _store(self, chat: Chat, leased: Delivery, changed: Delivery) -> None:
        """Write what came of a try; it is dropped when the lease has ended or another outcome has come."""
        if changed.status is DeliveryStatus.EXHAUSTED:
            self._bury(_letter(chat, changed, now()))
        if self._chats.change_delivery(chat.id, leased, changed):
            self._nudges.deliver(replace(chat, delivery=changed))


def _destination(assistant: Assistant, url: str) -> str:
    """Return what is paused together: many assistants may send to one host, each to a path of its own."""
    return f"{assistant.id} {callback_origin(url)}"


def _note(chat: Chat, leased: Delivery, posted: Posted) -> None:
    fields = {"chat": chat.id, "webhook_id": leased.event_id, "status_code": posted.status_code, "code": posted.error}
    logger.info("a callback was posted", extra=fields)


def _letter(chat: Chat, delivery: Delivery, at: datetime) -> DeadLetter:
    """Return the letter of a delivery that its receiver took none of the tries of."""
    mine = [entry for entry in delivery.log if entry.event_id == delivery.event_id]
    return DeadLetter(
        new_id(),
        RESEND_CALLBACK,
        chat.id,
        delivery.tries,
        code=(mine[-1].error if mine else None) or "callback_rejected",
        detail=(
            f"The receiver took none of {delivery.tries} tries within a day; GET /chats/deliveries/{chat.id} lists "
            "them. Run this again once the receiver answers."
        ),
        asked_at=delivery.since or chat.created_at,
        died_at=at,
    )
