"""The engine with conversations kept by OGX, which was not written for us: they hold what our memory holds, always."""

import contextlib
import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from models.answers import TextDelta
from models.chats import ChatStatus
from models.deadline import Deadline
from models.ids import new_id
from models.threads import Leftover, LeftoverKind, Thread
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.providers.openai_erasing import OpenAIEraser
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from tests.contract.engine import Engine, wait_until
from tests.contract.hosted import Places
from tests.contract.stores import make_chat, opened_sqlite
from tests.emulators.aimock import AimockServer, aimock
from tests.emulators.ogx import OgxServer, ogx

_NUMBERS = ("one", "two", "three", "four", "five")


@pytest.fixture(scope="module")
def writer() -> Iterator[AimockServer]:
    """Give the model that writes OGX's answers."""
    fixtures = [{"match": {"userMessage": word}, "response": {"content": f"re {word}"}} for word in _NUMBERS]
    with aimock(fixtures) as server:
        yield server


@pytest.fixture(scope="module")
def host(writer: AimockServer) -> Iterator[OgxServer]:
    with ogx(writer.base_url) as server:
        yield server


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisDatabase]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        with contextlib.closing(RedisDatabase(server.url)) as database:
            yield database


class Hosted:
    """An engine whose conversations OGX keeps, with a stateless model on the same endpoint to switch to."""

    def __init__(self, folder: Path, host: OgxServer, database: RedisDatabase, stack: contextlib.ExitStack) -> None:
        self.host, self.registry = host, RedisThreads(database)
        client = stack.enter_context(contextlib.closing(build_client("", host.base_url, 4)))
        self.eraser = OpenAIEraser(client)
        model = OpenAIResponsesModel(client, host.model, OpenAIThreads(client, self.registry), Places())
        self.stores = stack.enter_context(opened_sqlite(folder / "orquestra.sqlite"))
        self.engine = Engine(self.stores, cast(Any, model))
        stateless = OpenAIChatModel(client, host.model)
        self.stateless = Engine(self.stores, cast(Any, stateless), assistant=self.engine.assistant)

    @property
    def ours(self) -> tuple[str, str]:
        """Return the ids of the assistant and of its one conversation."""
        (conversation,) = {chat.conversation_id for chat in self.engine.chats()}
        return self.engine.assistant.id, conversation

    def thread(self) -> Thread:
        """Return the thread as it is, and leave it so."""
        thread = self.registry.take(*self.ours, "look")
        self.registry.keep(*self.ours, "look", thread)
        return thread

    def check(self) -> Thread:
        """Assert that the provider's conversation holds what our memory holds, in its order."""
        said: list[tuple[str, str]] = []
        for chat in self.stores.chats.history(self.ours[1], new_id(), 100):
            said += [("user", chat.message)] if chat.message else []
            said += [("assistant", chat.response)] if chat.response and chat.status is ChatStatus.ANSWERED else []
        thread = self.thread()
        assert thread.settled
        assert self.host.items(thread.id) == said
        return thread


@pytest.fixture
def hosted(tmp_path: Path, host: OgxServer, database: RedisDatabase) -> Iterator[Hosted]:
    with contextlib.ExitStack() as stack:
        yield Hosted(tmp_path, host, database, stack)


def _agent_writes(hosted: Hosted, words: str) -> None:
    chat = hosted.engine.chats()[-1]
    said = make_chat(
        assistant_id=chat.assistant_id, conversation_id=chat.conversation_id, channel=chat.channel, message=None,
        response=words, status=ChatStatus.ANSWERED, dedupe_key=new_id(),
    )  # fmt: skip
    assert hosted.stores.chats.add(dataclasses.replace(said, id=new_id(after=chat.id)))


def test_a_conversation_goes_on_where_it_was(hosted: Hosted, writer: AimockServer) -> None:
    first = hosted.engine.say("one").chat
    thread = hosted.check()
    second = hosted.engine.say("two").chat
    assert hosted.check().id == thread.id
    assert (first.response, second.response) == ("re one", "re two")
    assert second.response_id and second.response_id != first.response_id
    asked = writer.journal()[-1]["body"]["messages"]
    assert [one["content"] for one in asked if one["role"] != "system"] == ["one", "re one", "two"]


def test_an_agents_words_and_messages_left_to_a_human_are_taken_along(hosted: Hosted) -> None:
    hosted.engine.say("one")
    thread = hosted.check()
    hosted.engine.switch(active=False)
    hosted.engine.say("is anybody there?")
    _agent_writes(hosted, "I am.")
    hosted.engine.switch(active=True)
    hosted.engine.say("two")
    assert hosted.check().id == thread.id


def test_an_answer_that_was_withheld_is_no_part_of_it(hosted: Hosted) -> None:
    hosted.engine.say("one")
    events = hosted.engine.service.answer(hosted.engine.inbound("two"))
    next(event for event in events if isinstance(event, TextDelta))
    hosted.engine.switch(active=False)
    list(events)
    assert hosted.engine.chat("two").status is ChatStatus.SUPPRESSED
    hosted.engine.switch(active=True)
    hosted.engine.say("three")
    hosted.check()


def test_a_provider_that_was_switched_and_back_learns_what_was_said_meanwhile(hosted: Hosted) -> None:
    hosted.engine.say("one")
    thread = hosted.check()
    hosted.stateless.say("two")
    hosted.engine.say("three")
    assert hosted.check().id == thread.id


def test_a_message_that_failed_and_is_answered_later_stands_in_its_place(hosted: Hosted) -> None:
    hosted.engine.say("one")
    events = hosted.engine.service.answer(hosted.engine.inbound("two"))
    next(event for event in events if isinstance(event, TextDelta))
    cast(Any, events).close()
    assert hosted.engine.chat("two").status is ChatStatus.FAILED
    hosted.engine.say("three")
    hosted.check()
    hosted.stateless.retry(hosted.engine.chat("two"))
    hosted.engine.say("four")
    thread = hosted.check()
    assert [text for _, text in hosted.host.items(thread.id)][2:4] == ["two", "re two"]


def test_a_conversation_that_is_gone_at_the_provider_is_made_anew(hosted: Hosted) -> None:
    hosted.engine.say("one")
    gone = hosted.check().id
    hosted.eraser.delete(Leftover(LeftoverKind.CONVERSATION, gone), Deadline(10))
    hosted.engine.say("two")
    assert hosted.check().id != gone


def test_a_registry_that_was_lost_costs_a_new_conversation(hosted: Hosted) -> None:
    for word in _NUMBERS:
        hosted.engine.say(word)
    old = hosted.check().id
    hosted.registry.flush(hosted.engine.assistant.id)
    hosted.engine.say("one")
    assert hosted.check().id != old


def test_messages_of_a_burst_are_part_of_it(hosted: Hosted) -> None:
    hosted.engine.say("one")
    thread = hosted.check()
    at_once = hosted.engine.assistant
    hosted.engine.assistant = dataclasses.replace(at_once, debounce_seconds=30.0)
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(hosted.engine.say, "two")
        wait_until(lambda: hosted.engine.is_stored("two"))
        hosted.engine.say("three", assistant=hosted.engine.hurried())
        assert early.result(30).chat.merged_into == hosted.engine.chat("three").id
    hosted.engine.assistant = at_once
    hosted.engine.say("four")
    assert hosted.thread().id == thread.id
    said = [text for _, text in hosted.host.items(thread.id)]
    assert said == ["one", "re one", "two\nthree", "re two", "four", "re four"]


def test_without_a_history_nothing_is_kept_at_the_provider(hosted: Hosted) -> None:
    hosted.engine.assistant = dataclasses.replace(hosted.engine.assistant, history_turns=0)
    assert hosted.engine.say("one").chat.response == "re one"
    assert hosted.thread() == Thread()
