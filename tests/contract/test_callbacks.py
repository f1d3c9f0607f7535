"""Callbacks on every store, to a real receiver: at least once, never twice at a time, always under the same id."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from models.callbacks import DeliveryStatus
from models.chats import Chat, ChatStatus, Feedback
from models.clock import now
from models.errors import NotFound, ProviderFailed
from models.ids import new_id
from models.paging import Page
from models.users import Principal, Role
from repositories.mongo.database import MongoDatabase
from services.callbacks import RESEND_CALLBACK
from services.nudges import ANSWER_CHAT, SEND_CALLBACK
from services.ports import ChatRepository
from services.providers.scripted import ScriptedModel
from tests.contract.post_office import PostOffice, callback_service
from tests.contract.stores import MONGODB_TEST_URI, Stores, at_once
from tests.servers import free_port
from tests.webhook_receiver import Answer, Post, Receiver, running_receiver

DAY = timedelta(hours=24)
ADMIN = Principal(new_id(), Role.ADMIN)
DOWN = ProviderFailed("The model is down. Try again.")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run a receiver."""
    with running_receiver() as running:
        yield running


@pytest.fixture
def office(stores: Stores, receiver: Receiver) -> Iterator[PostOffice]:
    """Give an assistant whose callbacks go to the receiver."""
    made = PostOffice(stores, receiver.url)
    yield made
    made.engine.leases.close()


@pytest.fixture
def office_of(stores: Stores, receiver: Receiver) -> Iterator[Callable[..., PostOffice]]:
    """Give a maker of such assistants whose model does what the test says."""
    made: list[PostOffice] = []

    def make(model: ScriptedModel, **fields: object) -> PostOffice:
        made.append(PostOffice(stores, receiver.url, model, **fields))
        return made[-1]

    yield make
    for one in made:
        one.engine.leases.close()


def test_an_answer_is_posted_once_and_signed(office: PostOffice, receiver: Receiver) -> None:
    chat = office.accept("Que horas são?", message_id="m1", metadata={"é": "ê"})
    assert (chat.status, chat.delivery and chat.delivery.status) == (ChatStatus.RECEIVED, DeliveryStatus.WAITING)
    assert office.work() == []
    (post,) = receiver.posts
    assert post.path == "/hook" and post.event_id == f"{chat.id}-1"
    event, stored = post.verified(office.secret), office.chat(chat)
    assert event["type"] == "chat.answered"
    assert event["data"]["response"] == "Olá." and event["data"]["_id"] == chat.id
    assert event["data"]["metadata"] == {"é": "ê"} and "callback" not in event["data"]
    assert stored.answered_at is not None
    assert event["timestamp"].removesuffix("Z")[:19] == stored.answered_at.isoformat()[:19]
    delivery = office.delivery(chat)
    assert (delivery.status, delivery.tries, delivery.next_at) == (DeliveryStatus.DELIVERED, 1, None)
    assert [(one.event_id, one.status_code, one.error) for one in delivery.log] == [(f"{chat.id}-1", 204, None)]
    assert office.destinations.told == [("recovered", f"{office.assistant.id} {receiver.url}")]
    office.callbacks.send(chat.id)
    assert len(receiver.posts) == 1 and office.engine.model.calls == 1


def test_a_message_for_a_human_is_posted_as_inactive(office: PostOffice, receiver: Receiver) -> None:
    chat = office.accept(active=False)
    assert office.work() == []
    (post,) = receiver.posts
    event = post.verified(office.secret)
    assert (event["type"], event["data"]["response"], event["data"]["active"]) == ("chat.inactive", None, False)
    assert post.event_id == f"{chat.id}-0"


def test_an_overtaken_answer_is_posted_without_its_words(
    stores: Stores, office_of: Callable[..., PostOffice], receiver: Receiver
) -> None:
    model = ScriptedModel()
    office = office_of(model)
    chat = office.accept()
    model.add(lambda *_: [str(stores.conversations.set_active(chat.conversation_id, False, None))])
    assert office.work() == []
    (post,) = receiver.posts
    event = post.verified(office.secret)
    assert (event["type"], event["data"]["status"]) == ("chat.suppressed", "suppressed")
    assert event["data"]["response"] is None
    assert office.chat(chat).response == "True"


def test_the_messages_of_a_burst_are_posted_each(office_of: Callable[..., PostOffice], receiver: Receiver) -> None:
    office = office_of(ScriptedModel([["Olá."]]), debounce_seconds=30.0)
    chats = [office.accept("Oi"), office.accept("tudo bem?", assistant=office.engine.hurried())]
    time.sleep(0.4)  # the burst closes
    office.engine.service.resume(chats[1].id)
    assert office.work() == []
    events = {post.event["data"]["_id"]: post.verified(office.secret) for post in receiver.posts}
    assert len(receiver.posts) == 2
    assert events[chats[0].id]["type"] == "chat.merged"
    assert events[chats[0].id]["data"]["merged_into"] == chats[1].id
    assert (events[chats[1].id]["type"], events[chats[1].id]["data"]["response"]) == ("chat.answered", "Olá.")


def test_a_failing_model_is_asked_five_times_before_that_is_the_outcome(
    office_of: Callable[..., PostOffice], receiver: Receiver
) -> None:
    model = ScriptedModel([DOWN] * 5)
    office = office_of(model)
    chat = office.accept()
    pauses = []
    for calls in range(1, 5):
        ((job, delay),) = office.work()
        assert (job, model.calls, office.delivery(chat).status) == (SEND_CALLBACK, calls, DeliveryStatus.WAITING)
        pauses.append(delay)
        office.callbacks.send(chat.id)  # too early
        assert office.work() == [] and model.calls == calls
        office.pass_time(chat)
        office.callbacks.send(chat.id)
        assert office.jobs.jobs == [(ANSWER_CHAT, chat.id, 0.0)]
    assert receiver.posts == []
    assert office.work() == []
    assert [5 <= pauses[0] < 7, 19 < pauses[1] < 25, 79 < pauses[2] < 97, 319 < pauses[3] < 385] == [True] * 4
    (post,) = receiver.posts
    event = post.verified(office.secret)
    assert (event["type"], event["data"]["error"]["code"]) == ("chat.failed", "provider_failed")
    assert event["timestamp"] == event["data"]["error"]["at"]
    assert post.event_id == f"{chat.id}-5" and model.calls == 5
    assert office.delivery(chat).status is DeliveryStatus.DELIVERED


def test_a_model_that_recovers_leaves_no_failure_behind(
    office_of: Callable[..., PostOffice], receiver: Receiver
) -> None:
    office = office_of(ScriptedModel([DOWN, ["Olá."]]))
    chat = office.accept()
    office.work()
    office.pass_time(chat)
    office.callbacks.sweep()
    assert office.jobs.jobs == [], "it is not late enough for the sweeper"
    office.pass_time(chat, overdue=16)
    office.callbacks.sweep()
    assert office.work() == []
    (post,) = receiver.posts
    assert post.event["type"] == "chat.answered" and post.event["data"]["error"] is None
    assert post.event_id == f"{chat.id}-2"


def test_a_receiver_that_is_down_gets_the_same_event_again(office: PostOffice, receiver: Receiver) -> None:
    chat = office.settle()
    receiver.says(503, 302, 200)
    pauses = []
    for _ in range(3):
        office.callbacks.send(chat.id)
        pauses += office.work()
        office.callbacks.send(chat.id)  # not before its time
        if office.delivery(chat).next_at is not None:
            office.pass_time(chat)
    assert [job for job, _ in pauses] == [SEND_CALLBACK] * 2
    assert 4.5 < pauses[0][1] <= 6 and 29 < pauses[1][1] <= 36
    assert len(receiver.posts) == 3 and len({(post.event_id, post.body) for post in receiver.posts}) == 1
    for post in receiver.posts:
        post.verified(office.secret)
    delivery = office.delivery(chat)
    assert (delivery.status, delivery.tries) == (DeliveryStatus.DELIVERED, 3)
    assert [one.status_code for one in delivery.log] == [503, 302, 200]
    assert [told for told, _ in office.destinations.told] == ["failed", "recovered", "recovered"]


def test_an_absent_receiver_is_noted_as_such(stores: Stores) -> None:
    port = free_port()
    away = PostOffice(stores, f"http://127.0.0.1:{port}")
    chat = away.settle()
    away.callbacks.send(chat.id)
    assert [(one.status_code, one.error) for one in away.delivery(chat).log] == [(None, "callback_unreachable")]
    with running_receiver(port) as back:
        away.pass_time(chat)
        away.callbacks.send(chat.id)
        assert len(back.posts) == 1 and away.delivery(chat).status is DeliveryStatus.DELIVERED
    away.engine.leases.close()


def test_a_410_is_the_end_of_it(office: PostOffice, receiver: Receiver, stores: Stores) -> None:
    chat = office.settle()
    receiver.says(410)
    office.callbacks.send(chat.id)
    assert office.work() == []
    delivery = office.delivery(chat)
    assert (delivery.status, delivery.next_at, delivery.tries) == (DeliveryStatus.GONE, None, 1)
    office.callbacks.send(chat.id)
    office.callbacks.sweep()
    assert office.work() == [] and len(receiver.posts) == 1
    assert stores.dead_letters.list(Page()).items == []


def test_after_a_day_it_is_a_dead_letter_that_can_be_sent_again(
    office: PostOffice, receiver: Receiver, stores: Stores
) -> None:
    chat = office.settle()
    receiver.says(500, 500, 200)
    office.callbacks.send(chat.id)
    since = now() - DAY
    office.pass_time(chat, since=since)
    office.callbacks.send(chat.id)
    delivery = office.delivery(chat)
    assert (delivery.status, delivery.tries, delivery.next_at) == (DeliveryStatus.EXHAUSTED, 2, None)
    (letter,) = stores.dead_letters.list(Page()).items
    assert (letter.job, letter.argument, letter.tries) == (RESEND_CALLBACK, chat.id, 2)
    assert (letter.code, letter.asked_at) == ("callback_rejected", since)
    office.jobs.jobs.clear()
    office.jobs.enqueue(letter.job, letter.argument)
    assert office.work() == []
    delivery = office.delivery(chat)
    assert (delivery.status, [one.status_code for one in delivery.log]) == (DeliveryStatus.DELIVERED, [500, 500, 200])
    assert len({(post.event_id, post.body) for post in receiver.posts}) == 1
    office.callbacks.resend(chat.id)
    assert len(receiver.posts) == 3, "what was delivered is not sent again"


def test_a_receiver_that_wanted_no_more_may_change_its_mind(office: PostOffice, receiver: Receiver) -> None:
    chat = office.settle()
    receiver.says(410, 200)
    office.callbacks.send(chat.id)
    office.callbacks.resend(chat.id)
    assert office.delivery(chat).status is DeliveryStatus.DELIVERED and len(receiver.posts) == 2


class ReadTogether:
    """Stand before a chat repository: whoever reads a chat goes on when all the others have read it."""

    def __init__(self, chats: ChatRepository, readers: threading.Barrier) -> None:
        self._chats, self._readers = chats, readers

    def get(self, chat_id: str) -> Chat | None:
        """Return the chat as it was before anybody went on."""
        chat = self._chats.get(chat_id)
        self._readers.wait(30)
        return chat

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chats, name)


def test_of_many_servers_that_see_it_due_at_once_one_posts(
    office: PostOffice, receiver: Receiver, stores: Stores
) -> None:
    chat = office.settle()
    together = replace(stores, chats=cast(ChatRepository, ReadTogether(stores.chats, threading.Barrier(6))))
    servers = [callback_service(together, office.jobs, office.destinations) for _ in range(6)]
    at_once(6, lambda n: servers[n].send(chat.id))
    assert len(receiver.posts) == 1 and office.delivery(chat).status is DeliveryStatus.DELIVERED


def test_while_a_post_is_under_way_nobody_makes_another(office: PostOffice, receiver: Receiver) -> None:
    chat, other = office.settle(), office.twin()

    def meanwhile(post: Post) -> Answer:
        other.send(chat.id)
        other.sweep()
        other.resend(chat.id)
        return 200, {}

    receiver.answer = meanwhile
    office.callbacks.send(chat.id)
    assert office.work() == []
    assert (len(receiver.posts), receiver.most_at_once) == (1, 1)


@pytest.fixture
def store_arguments(request: pytest.FixtureRequest, stores: Stores, tmp_path: Path) -> tuple[str, str]:
    """Give what another process opens the store with."""
    if not isinstance(stores.probe, MongoDatabase):
        return str(tmp_path / "var" / "orquestra.sqlite"), ""
    database = stores.probe.collection("chats").database
    kind = request.node.callspec.params["stores"]
    uri: str = MONGODB_TEST_URI if kind == "mongodb" else request.getfixturevalue("secantus")
    return uri, database.name


def test_a_post_whose_sender_is_killed_before_it_is_stored_is_made_again(
    office: PostOffice, receiver: Receiver, store_arguments: tuple[str, str]
) -> None:
    chat, started = office.settle(), threading.Event()
    victims: list[subprocess.Popen[bytes]] = []

    def kill(post: Post) -> Answer:
        assert started.wait(30)
        victims[0].send_signal(signal.SIGKILL)
        victims[0].wait(30)
        return 200, {}

    receiver.answer = kill
    command = [sys.executable, "-m", "tests.contract.callback_victim", *store_arguments, chat.id]
    victims.append(subprocess.Popen(command))
    started.set()
    assert victims[0].wait(60) == -signal.SIGKILL
    delivery = office.delivery(chat)
    assert (delivery.status, delivery.tries, delivery.log) == (DeliveryStatus.PENDING, 0, ())
    receiver.says(200)
    office.callbacks.send(chat.id)
    office.callbacks.sweep()
    assert office.work() == [] and len(receiver.posts) == 1, "the victim's lease holds"
    office.pass_time(chat, overdue=16)
    office.callbacks.sweep()
    assert office.work() == []
    first, second = receiver.posts
    assert (first.event_id, first.body) == (second.event_id, second.body)
    delivery = office.delivery(chat)
    assert (delivery.status, delivery.tries) == (DeliveryStatus.DELIVERED, 1)


def test_a_retry_of_a_posted_failure_is_another_event(office_of: Callable[..., PostOffice], receiver: Receiver) -> None:
    office = office_of(ScriptedModel([DOWN] * 5 + [["Agora sim."]]))
    chat = office.accept()
    for _ in range(4):
        office.work()
        office.pass_time(chat)
        office.callbacks.send(chat.id)
    office.work()
    assert [post.event["type"] for post in receiver.posts] == ["chat.failed"]
    service = office.engine.service
    list(service.retry(office.assistant, office.chat(chat), service.new_deadline()))
    assert office.work() == []
    failed, answered = receiver.posts
    assert (failed.event_id, answered.event_id) == (f"{chat.id}-5", f"{chat.id}-6")
    assert (answered.event["type"], answered.event["data"]["response"]) == ("chat.answered", "Agora sim.")
    delivery = office.delivery(chat)
    assert (delivery.status, delivery.event_id, delivery.tries) == (DeliveryStatus.DELIVERED, f"{chat.id}-6", 1)
    assert [one.event_id for one in delivery.log] == [f"{chat.id}-5", f"{chat.id}-6"]


def test_a_late_result_changes_nothing_about_a_newer_outcome(
    office_of: Callable[..., PostOffice], receiver: Receiver
) -> None:
    office = office_of(ScriptedModel([["Agora sim."]]))
    chat = office.settle(active=False)
    service = office.engine.service

    def retried(post: Post) -> Answer:
        if post.event["type"] == "chat.inactive":
            list(service.retry(office.assistant, office.chat(chat), service.new_deadline()))
        return 200, {}

    receiver.answer = retried
    office.callbacks.send(chat.id)
    assert office.delivery(chat).status is DeliveryStatus.PENDING
    assert office.delivery(chat).event_id == f"{chat.id}-1"
    assert office.work() == []
    assert [post.event_id for post in receiver.posts] == [f"{chat.id}-0", f"{chat.id}-1"]
    assert office.delivery(chat).status is DeliveryStatus.DELIVERED


def test_an_outcome_that_is_being_replaced_is_not_posted(office: PostOffice, receiver: Receiver) -> None:
    chat = office.settle(active=False)
    before = office.delivery(chat)
    assert office.stores.chats.claim(chat, "me", now() + timedelta(seconds=30), now())
    office.callbacks.send(chat.id)
    assert receiver.posts == [] and office.delivery(chat) == replace(before, next_at=None)
    office.pass_time(chat, overdue=16)
    office.callbacks.sweep()
    assert office.work() == [] and receiver.posts == []


def test_a_receiver_in_trouble_is_left_alone(office: PostOffice, receiver: Receiver) -> None:
    chat = office.settle()
    office.destinations.pause = 40.0
    office.callbacks.send(chat.id)
    ((job, delay),) = office.work()
    assert job == SEND_CALLBACK and 39 < delay <= 40
    delivery = office.delivery(chat)
    assert (receiver.posts, delivery.tries, delivery.log, office.destinations.told) == ([], 0, (), [])
    office.pass_time(chat, since=now() - DAY)
    office.callbacks.send(chat.id)
    assert office.delivery(chat).status is DeliveryStatus.EXHAUSTED, "its day is over all the same"
    assert office.stores.dead_letters.list(Page()).items[0].argument == chat.id


def test_a_lost_job_is_asked_for_again_once(office: PostOffice, receiver: Receiver) -> None:
    chat = office.settle()
    office.callbacks.sweep()
    assert office.jobs.jobs == [], "its job may come yet"
    office.pass_time(chat, overdue=16)
    at_once(4, lambda _: office.twin().sweep())
    office.callbacks.sweep()
    assert office.jobs.jobs == [(SEND_CALLBACK, chat.id, 0.0)]
    office.work()
    assert len(receiver.posts) == 1


def test_a_host_that_is_no_longer_allowed_gets_nothing(office: PostOffice, receiver: Receiver, stores: Stores) -> None:
    chat = office.settle()
    stores.assistants.update(office.assistant.id, {"callback_hosts": ("example.com",)}, now())
    office.callbacks.send(chat.id)
    assert receiver.posts == []
    assert [(one.status_code, one.error) for one in office.delivery(chat).log] == [(None, "callback_refused")]
    assert office.delivery(chat).status is DeliveryStatus.PENDING
    assert office.destinations.told == [("recovered", f"{office.assistant.id} {receiver.url}")]


def test_a_private_address_is_never_contacted(office: PostOffice, receiver: Receiver) -> None:
    chat = office.settle()
    office.twin(networks=()).send(chat.id)
    assert receiver.posts == []
    assert [one.error for one in office.delivery(chat).log] == ["callback_refused"]


def test_a_deleted_assistants_callbacks_are_not_sent(office: PostOffice, receiver: Receiver, stores: Stores) -> None:
    chat = office.settle()
    stores.assistants.delete(office.assistant.id)
    office.callbacks.send(chat.id)
    stores.chats.delete_of_assistant(office.assistant.id)
    office.callbacks.send(chat.id)
    office.callbacks.resend(chat.id)
    assert receiver.posts == []


def test_what_may_change_between_two_tries(office: PostOffice, receiver: Receiver, stores: Stores) -> None:
    chat = office.settle()
    receiver.says(500, 200)
    office.callbacks.send(chat.id)
    stores.chats.set_active(chat.conversation_id, False, None)
    stores.chats.set_feedback(chat.id, Feedback(1, "u", now()))
    office.pass_time(chat)
    office.callbacks.send(chat.id)
    first, second = (post.event["data"] for post in receiver.posts)
    assert {name for name in first if first[name] != second[name]} == {"active", "feedback"}


def test_the_log_is_for_those_who_may_see_the_chat(office: PostOffice, receiver: Receiver) -> None:
    chat = office.settle()
    receiver.says(500, 200)
    office.callbacks.send(chat.id)
    office.pass_time(chat)
    office.callbacks.send(chat.id)
    for caller in (ADMIN, Principal(office.assistant.owner_id, Role.USER)):
        assert [one.status_code for one in office.callbacks.log(caller, chat.id)] == [200, 500]
    for caller, chat_id in ((Principal(new_id(), Role.USER), chat.id), (ADMIN, new_id()), (ADMIN, "+5511999")):
        with pytest.raises(NotFound):
            office.callbacks.log(caller, chat_id)


def test_a_chat_without_a_callback_has_an_empty_log(office: PostOffice) -> None:
    chat: Chat = office.engine.say("Oi").chat
    assert list(office.callbacks.log(ADMIN, chat.id)) == []
    office.callbacks.send(chat.id)
    office.callbacks.resend(chat.id)
