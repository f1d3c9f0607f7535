"""Devices: each has one memory, which begins anew with every conversation that the device begins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.chats import Chat
from models.conversations import DEVICE, Channel
from models.given import Given


@dataclass(frozen=True)
class DeviceSession:
    """A conversation that a device began.

    Attributes:
        session: the device's own name of it.
    """

    device_id: str
    session: str

    @property
    def channel(self) -> Channel:
        """Return where the device's memory is, whichever conversation it is in."""
        return Channel(self.device_id, DEVICE)

    def given(self, given: Given) -> Given:
        """Return what a request of the device's says, with where it comes from."""
        return replace(given, device_id=self.device_id, session=self.session)


def device_session(session_id: str) -> DeviceSession | None:
    """Read `<conversation>_<device>`, as system 003's devices name their sessions; None for any other name."""
    session, _, device_id = session_id.rpartition("_")
    return DeviceSession(device_id, session) if session and device_id else None


def of_newest_session(earlier: Sequence[Chat], chat: Chat) -> Sequence[Chat]:
    """Return those of the chats before one that belong to the same conversation of the device, or all without any.

    What the store holds decides, whenever it is asked: a new conversation forgets the one before in the same moment in
    which its first message is stored, however many come at once, and as often as one is delivered. Chats of no
    conversation, such as an agent's words, belong to the one they came in.
    """
    session = _session(chat)
    for index in range(len(earlier) - 1, -1, -1):
        told = _session(earlier[index])
        session = session or told
        if told not in ("", session):
            return _from_the_first_told(earlier[index + 1 :])
    return earlier


def are_of_one_session(one: Chat, other: Chat) -> bool:
    """Tell whether nothing says that two chats of a device are from two of its conversations."""
    return _session(one) == _session(other) or "" in (_session(one), _session(other))


def _from_the_first_told(chats: Sequence[Chat]) -> Sequence[Chat]:
    """Return the chats without those that came before the conversation's first message."""
    return chats[next((index for index, one in enumerate(chats) if _session(one)), len(chats)) :]


def _session(chat: Chat) -> str:
    return chat.given.session if chat.given is not None else ""
