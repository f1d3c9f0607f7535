"""What the doors for clients of model providers share: threads, and messages that come with their own history."""

import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from models.answers import Audience, Inbound
from models.assistants import Assistant
from models.chats import Chat
from models.conversations import THREAD, Channel
from models.errors import Invalid
from models.given import NOTHING_GIVEN, Given
from models.ids import is_id
from models.tools import ToolResult
from services.ports import ChatRepository, ConversationRepository

_BEHIND_ALL = "f" * 24
"""An id behind those of all chats."""


@dataclass(frozen=True)
class DoorMessage:
    """What a client asks, in no door's words.

    Attributes:
        text: the person's newest words, which `given.rounds` are about if there are any; "" if only these came.
        thread: whose memory goes on; None begins a thread of its own, of which the request tells everything.
        given: as the request tells it; its `alone` and `question` are found out here.
        message_id, digest, repeated, audience: as `Inbound`.
    """

    text: str
    thread: str | None = None
    given: Given = NOTHING_GIVEN
    username: str | None = None
    message_id: str | None = None
    digest: str = ""
    repeated: bool = False
    audience: Audience = Audience.NOBODY
    metadata: dict[str, Any] = field(default_factory=dict)


class DoorService:
    """Make messages for the engine of what the doors' clients send."""

    def __init__(self, conversations: ConversationRepository, chats: ChatRepository) -> None:
        self._conversations = conversations
        self._chats = chats

    def inbound(self, assistant: Assistant, message: DoorMessage) -> Inbound:
        """Return the message with its place: in the thread it names, or in a new one.

        In a thread only what is new counts: what the request tells of earlier turns is in the memory already.

        Raises:
            Invalid: code `message_missing`, there is nothing to answer; `tool_outputs_unexpected`, outputs came of
                calls that the thread's last answer did not ask for.
        """
        if not message.text and not message.given.rounds:
            raise Invalid("Send a message of the user.", code="message_missing")
        if message.thread is None:
            return self._alone(assistant, message)
        channel = self.channel_of(assistant, message.thread)
        given, text = replace(message.given, turns=()), message.text
        if given.rounds:
            given, text = self._going_on(assistant, channel, message), ""
        return _inbound(assistant, message, channel, text, given)

    def channel_of(self, assistant: Assistant, thread: str) -> Channel:
        """Return where a thread's memory is: that of the conversation whose id it is, or one of the thread's own."""
        held = self._conversations.get(thread) if is_id(thread) else None
        return held.channel if held is not None and held.assistant_id == assistant.id else Channel(thread, THREAD)

    def _alone(self, assistant: Assistant, message: DoorMessage) -> Inbound:
        if not message.text:
            raise Invalid("Send the message of the user that the tools were called for.", code="message_missing")
        channel = Channel(new_thread(), THREAD)
        return _inbound(assistant, message, channel, message.text, replace(message.given, alone=True))

    def _going_on(self, assistant: Assistant, channel: Channel, message: DoorMessage) -> Given:
        """Return what was given with the question that the thread's last answers asked for calls about."""
        chain = self._asking(assistant, channel)
        if not chain:
            raise _unexpected()
        rounds = message.given.rounds
        if len(rounds) == 1 < len(chain) and chain[-1].given is not None:  # the earlier ones are stored
            rounds = (*chain[-1].given.rounds, *rounds)
        if len(rounds) != len(chain) or {call.id for call in chain[-1].asked} != {one.call.id for one in rounds[-1]}:
            raise _unexpected()
        rounds = tuple(_completed(round_, chat) for round_, chat in zip(rounds, chain, strict=True))
        return replace(message.given, turns=(), question=chain[0].message or "", rounds=rounds)

    def _asking(self, assistant: Assistant, channel: Channel) -> list[Chat]:
        """Return the thread's last chats that wait for calls, from the one with the question on."""
        held = self._conversations.find_by_channel(assistant.id, channel)
        chain: list[Chat] = []
        before = _BEHIND_ALL
        while held is not None and (earlier := self._chats.history(held.id, before, 1, held.memory_from)):
            if not earlier[0].asked:
                return []
            chain.insert(0, earlier[0])
            if earlier[0].message is not None:
                return chain
            before = earlier[0].id
        return []


def new_thread() -> str:
    """Return the name of a thread that nobody can guess."""
    return secrets.token_hex(16)


def _inbound(assistant: Assistant, message: DoorMessage, channel: Channel, text: str, given: Given) -> Inbound:
    return Inbound(
        assistant=assistant,
        channel=channel,
        text=text,
        username=message.username,
        message_id=message.message_id,
        metadata=message.metadata,
        given=given,
        digest=message.digest,
        repeated=message.repeated,
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
