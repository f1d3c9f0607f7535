"""The people of a chaos run: conversations whose messages are delivered again and again until there is an answer."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Protocol

import httpx2

from bench.chaos.plan import Habit, Planned, Script
from bench.chaos.receiver import Receiver
from bench.chaos.records import Delivery, Message, Pause

_HUNG_SECONDS = 75.0
_LEAVES = 0.08
_STREAMS = 0.5
_LEISURELY = 0.06
_LEISURE_SECONDS = 20.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.3, 2.0
_ACCEPTED = 202
_GOT = frozenset({200, _ACCEPTED})
_PING = "ping"
_KEPT = ("_id", "status", "response", "merged_into")
_POST = "/chats/enviarMensagemLLM"


class Target(Protocol):
    """A server to send to; `label` names its present start."""

    url: str

    @property
    def label(self) -> str:
        """Return its name and which start of it this is."""


class Manager(Protocol):
    """Who may hand a conversation over to a human."""

    async def switch(self, channel: str, active: bool) -> None:
        """Stop or resume a conversation's being answered, whatever it takes."""


@dataclass(frozen=True)
class World:
    """What the people talk to.

    Attributes:
        keys: the API key of the assistant of each habit.
        until: when everybody gives up.
    """

    targets: Sequence[Target]
    client: httpx2.AsyncClient
    keys: Mapping[Habit, str]
    receiver: Receiver
    manager: Manager
    began: float
    until: float


class Crowd:
    """Everybody at once.

    Attributes:
        messages: those that were sent so far.
        deliveries: those that have ended.
        pauses: when humans had conversations.
    """

    def __init__(self, world: World) -> None:
        self.messages: list[Message] = []
        self.deliveries: list[Delivery] = []
        self.pauses: list[Pause] = []
        self._world = world
        self._couriers: set[asyncio.Task[None]] = set()

    async def play(self, scripts: Sequence[Script]) -> None:
        """Send every message of every script, and return when every caller has an end."""
        await asyncio.gather(*(self._converse(script) for script in scripts))
        while self._couriers:
            await asyncio.wait(self._couriers)

    async def _converse(self, script: Script) -> None:
        chance = Random(f"{script.seed}/{script.conversation}/people")
        sent: list[asyncio.Event] = []
        for planned in script.planned:
            if script.waits and (planned.first_of_clump or script.habit is not Habit.BURSTS):
                await _all(sent)
                sent = []
            await asyncio.sleep(self._world.began + planned.at - time.time())
            if time.time() > self._world.until:
                return
            sent.append(self._send(script, planned.message, chance))
            if planned.to_the_human:
                await self._hand_over(script, planned, sent, chance)

    async def _hand_over(self, script: Script, planned: Planned, sent: Sequence[asyncio.Event], chance: Random) -> None:
        """Let a human take the conversation while the model writes, and give it back some messages later."""
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        off_began = time.time()
        await self._world.manager.switch(script.conversation, False)
        off_ended = time.time()
        await _all(sent)
        for message in planned.to_the_human:
            await self._send(script, message, chance).wait()
        on_began = time.time()
        await self._world.manager.switch(script.conversation, True)
        self.pauses.append(Pause(script.conversation, off_began, off_ended, on_began, time.time()))

    def _send(self, script: Script, message: Message, chance: Random) -> asyncio.Event:
        """Have one to three couriers deliver a message; the event tells of its first end."""
        self.messages.append(message)
        done = asyncio.Event()
        for number in range(chance.choice((1, 1, 1, 2, 2, 3))):
            courier = self._deliver(script, message, Random(f"{message.id}/{number}/{script.seed}"), number, done)
            task = asyncio.create_task(courier)
            self._couriers.add(task)
            task.add_done_callback(self._couriers.discard)
        return done

    async def _deliver(
        self, script: Script, message: Message, chance: Random, number: int, done: asyncio.Event
    ) -> None:
        """Deliver a message until it has an end; all but the first courier may leave for good."""
        pause = _FIRST_PAUSE
        turn = int(message.id.split("-")[1]) + number
        try:
            while time.time() < self._world.until:
                delivery = await self._once(
                    script, message, self._world.targets[turn % len(self._world.targets)], chance
                )
                self.deliveries.append(delivery)
                if delivery.status in _GOT:
                    await self._take(message, delivery, done)
                    return
                if delivery.left and number:
                    return
                leisurely = chance.random() < _LEISURELY
                await asyncio.sleep(_LEISURE_SECONDS if leisurely else pause * chance.uniform(0.5, 1.0))
                pause = min(2 * pause, _LONGEST_PAUSE)
                turn = chance.randrange(len(self._world.targets))
        finally:
            if number == 0:
                done.set()

    async def _take(self, message: Message, delivery: Delivery, done: asyncio.Event) -> None:
        """End a message; one with a callback ends with its webhook."""
        if delivery.status == _ACCEPTED:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._world.until - time.time()):
                    await self._world.receiver.outcome(message.id)
        done.set()

    async def _once(self, script: Script, message: Message, target: Target, chance: Random) -> Delivery:
        """Deliver a message once."""
        body: dict[str, object] = {
            "id": message.conversation,
            "message_service": "chaos",
            "message": f"Here is message {message.id} of mine.",
            "message_id": message.id,
            "stream": not message.callback and chance.random() < _STREAMS,
        }
        if message.callback:
            body["callback_url"] = self._world.receiver.url
        leaves = chance.uniform(0.05, 1.5) if chance.random() < _LEAVES else None
        sent = Delivery(message.id, target.label, time.time(), 0.0)
        request = self._world.client.build_request(
            "POST", f"{target.url}{_POST}", json=body, headers={"X-API-Key": self._world.keys[script.habit]}
        )
        try:
            async with asyncio.timeout(leaves or _HUNG_SECONDS):
                got = await self._exchange(request, sent)
        except TimeoutError:
            got = replace(sent, left=leaves is not None, code=None if leaves else "hung")
        except httpx2.TransportError as error:
            got = replace(sent, code=f"lost: {type(error).__name__}")
        return replace(got, ended=time.time())

    async def _exchange(self, request: httpx2.Request, sent: Delivery) -> Delivery:
        answer = await self._world.client.send(request, stream=True)
        try:
            replayed = answer.headers.get("Idempotent-Replayed") == "true"
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return replace(await _streamed(answer, sent), replayed=replayed)
            await answer.aread()
            got = replace(sent, status=answer.status_code, replayed=replayed)
            return _with_chat(got, answer.json()) if answer.is_success else replace(got, code=answer.json()["code"])
        finally:
            await answer.aclose()


async def _all(events: Sequence[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


async def _streamed(answer: httpx2.Response, sent: Delivery) -> Delivery:
    pieces: list[str] = []
    async for event, data in _events(answer):
        if event == _PING:
            sent = replace(sent, early=sent.early or not pieces)
        elif event == "message":
            pieces.append(data["delta"])
        elif event == "error":
            return replace(sent, status=int(data["status"]), code=str(data["code"]))
        elif event == "done":
            return _with_chat(replace(sent, status=200, text="".join(pieces)), data)
    return replace(sent, code="unended")


async def _events(answer: httpx2.Response) -> AsyncIterator[tuple[str, Any]]:
    event = ""
    async for line in answer.aiter_lines():
        if line.startswith(":"):
            yield _PING, None
        elif line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield event, json.loads(line.removeprefix("data: "))


def _with_chat(delivery: Delivery, chat: Mapping[str, str | None]) -> Delivery:
    return replace(delivery, chat={name: chat.get(name) for name in _KEPT})
