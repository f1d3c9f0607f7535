"""What the doors for clients of model providers share: threads, and messages that come with their own history."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models.answers import Audience, Inbound
from models.assistants import Assistant
from models.chats import Chat
from models.conversations import THREAD, Channel, Conversation
from models.errors import Invalid, NotFound
from models.given import NOTHING_GIVEN, Given
from models.ids import is_id
from models.tools import ToolResult
from services.devices import DeviceSession
from services.ports import ChatRepository, ConversationRepository
from services.repetitions import Repetitions

BEHIND_ALL = "f" * 24
"""An id behind those of all chats."""


@dataclass(frozen=True)
class DoorMessage:
    """What a client asks, in no door's words.

    Attributes:
        text: the person's newest words, which `given.rounds` are about if there are any; "" if only these came.
        thread: whose memory goes on; None begins a thread of its own, of which the request tells everything.
        device: the device whose memory goes on, instead of a thread's.
        given: as the request tells it; its `alone` and `question` are found out here.
        message_id, digest, audience: as `Inbound`.
        repeated: the client says that it sends this request once more.
    """

    text: str
    thread: str | None = None
    device: DeviceSession | None = None
    given: Given = NOTHING_GIVEN
    username: str | None = None
    message_id: str | None = None
    digest: str = ""
    repeated: bool = False
    audience: Audience = Audience.NOBODY
    metadata: dict[str, Any] = field(default_factory=dict)


class DoorService:
    """Make messages for the engine of what the doors' clients send."""

    def __init__(self, conversations: ConversationRepository, chats: ChatRepository, repetitions: Repetitions) -> None:
        self._conversations = conversations
        self._chats = chats
        self._repetitions = repetitions

    def inbound(self, assistant: Assistant, message: DoorMessage) -> Inbound:
        """Return the message with its place: in the thread it names, or in a new one.

        In a thread only what is new counts: what the request tells of earlier turns is in the memory already.

        Raises:
            Invalid: code `message_missing`, there is nothing to answer; `tool_outputs_unexpected`, outputs came of
                calls that the thread's last answer did not ask for.
        """
        if not message.text and not message.given.rounds:
            raise Invalid("Send a message of the user.", code="message_missing")
        earlier = self._first_try(assistant, message)
        if earlier is not None:
            inbound = _inbound(assistant, message, earlier.channel, earlier.message or "", earlier.given)
            return replace(inbound, repeats=earlier.id)
        if message.device is not None:
            given = message.device.given(replace(message.given, turns=()))
            return _inbound(assistant, message, message.device.channel, message.text, given)
        if message.thread is None:
            return self._alone(assistant, message)
        channel = self.channel_of(assistant, message.thread)
        given, text = replace(message.given, turns=()), message.text
        if given.rounds:
            given, text = self._going_on(assistant, channel, message), ""
        return _inbound(assistant, message, channel, text, given)

    def model(self, assistant: Assistant, name: str) -> Assistant:
        """Return the assistant, by its id or name: it is the one model that its keys are for.

        Raises:
            NotFound: code `model_not_found`.
        """
        if name not in (assistant.id, assistant.name):
            raise NotFound("There is no such model. GET /v1/models names the key's.", code="model_not_found")
        return assistant

    def channel_of(self, assistant: Assistant, thread: str) -> Channel:
        """Return where a thread's memory is: that of the conversation whose id it is, or one of the thread's own."""
        held = self._conversations.get(thread) if is_id(thread) else None
        return held.channel if held is not None and held.assistant_id == assistant.id else Channel(thread, THREAD)

    def _first_try(self, assistant: Assistant, message: DoorMessage) -> Chat | None:
        """Return the chat of a request that its client sends once more, or names as one that was sent before.

        It is the same message, although what it went on from need not be the thread's newest answer any more.
        """
        if not message.digest:
            return None
        if message.message_id is not None:
            return self._repetitions.named(assistant.id, message.digest, message.message_id)
        return self._repetitions.first_try(assistant.id, message.digest) if message.repeated else None

    def _alone(self, assistant: Assistant, message: DoorMessage) -> Inbound:
        if not message.text:
            raise Invalid("Send the message of the user that the tools were called for.", code="message_missing")
        channel = Channel(thread_of(message.message_id), THREAD)
        return _inbound(assistant, message, channel, message.text, replace(message.given, alone=True))

    def _going_on(self, assistant: Assistant, channel: Channel, message: DoorMessage) -> Given:
        """Return what was given with the question that the thread's last answers asked for calls about."""
        held = self._conversations.find_by_channel(assistant.id, channel)
        chain = [] if held is None else asking_chats(self._chats, held, BEHIND_ALL)
        given = with_outputs(message.given, chain)
        return replace(given, turns=(), question=chain[0].message or "")


def asking_chats(chats: ChatRepository, conversation: Conversation, before: str) -> list[Chat]:
    """Return the conversation's last chats before an id that wait for calls, from the one with the question on."""
    chain: list[Chat] = []
    while earlier := chats.history(conversation.id, before, 1, conversation.memory_from):
        if not earlier[0].asked:
            return []
        chain.insert(0, earlier[0])
        if earlier[0].message is not None:
            return chain
        before = earlier[0].id
    return []


def with_outputs(given: Given, chain: Sequence[Chat]) -> Given:
    """Return what a request says, with all rounds of calls since the question: the earlier ones are stored.

    Args:
        chain: the chats that wait for the calls, from `asking_chats`.

    Raises:
        Invalid: code `tool_outputs_unexpected`, they asked for other calls, or for none.
    """
    rounds = given.rounds
    if len(rounds) == 1 < len(chain) and chain[-1].given is not None:
        rounds = (*chain[-1].given.rounds, *rounds)
    if not chain or len(rounds) != len(chain):
        raise _unexpected()
    if {call.id for call in chain[-1].asked} != {one.call.id for one in rounds[-1]}:
        raise _unexpected()
    return replace(given, rounds=tuple(_completed(round_, chat) for round_, chat in zip(rounds, chain, strict=True)))


def new_thread() -> str:
    """Return the name of a thread that nobody can guess."""
    return secrets.token_hex(16)


def thread_of(message_id: str | None) -> str:
    """Return the name of a message's own thread: the same for every delivery of a message that has an id."""
    return new_thread() if message_id is None else hashlib.sha256(message_id.encode()).hexdigest()[:32]


def _inbound(assistant: Assistant, message: DoorMessage, channel: Channel, text: str, given: Given | None) -> Inbound:
    return Inbound(
        assistant=assistant,
        channel=channel,
        text=text,
        username=message.username,
        message_id=message.message_id,
        metadata=message.metadata,
        given=given,
        digest=message.digest,
        audience=message.audience,
    )


def _completed(round_: tuple[ToolResult, ...], chat: Chat) -> tuple[ToolResult, ...]:
    """Return the results with the calls as the model wrote them, where the client told only their ids."""
    asked = {call.id: call for call in chat.asked}
    return tuple(replace(result, call=asked.get(result.call.id, result.call)) for result in round_)


def _unexpected() -> Invalid:
    return Invalid(
        "The thread's last answer did not ask for these calls. Send the outputs of exactly the calls it asked for.",
        code="tool_outputs_unexpected",
    )
