"""Conversations as people read them: lists, messages, live news, exports, erasure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from models.chats import Chat, ChatFilter, ChatStatus
from models.conversations import Conversation
from models.errors import NotFound
from models.given import NOTHING_GIVEN
from models.ids import is_id
from models.paging import Listing, Page
from models.tools import ToolUse
from models.users import Principal
from services.news import ConversationNews, News
from services.ownership import Ownership
from services.ports import AssistantRepository, ChatRepository, ConversationRepository
from services.threads import ThreadService

_EXPORT_PAGE = 1000


class Speaker(StrEnum):
    """Who said a message."""

    HUMAN = "human"
    AI = "ai"
    AGENT = "agent"
    TOOL = "tool"


@dataclass(frozen=True)
class Message:
    """One utterance of a conversation.

    Attributes:
        given: the client's request told it of earlier turns; it was not said here.
        tool: the call that gave it.
    """

    role: Speaker
    content: str
    created_at: datetime
    chat: Chat
    given: bool = False
    tool: ToolUse | None = None


class ConversationViewer:
    """Read whole conversations of the assistants that a user manages."""

    def __init__(
        self,
        assistants: AssistantRepository,
        conversations: ConversationRepository,
        chats: ChatRepository,
        news: ConversationNews,
        threads: ThreadService,
    ) -> None:
        self._conversations = conversations
        self._chats = chats
        self._news = news
        self._threads = threads
        self._ownership = Ownership(assistants)

    def list(self, caller: Principal, assistant_id: str | None, page: Page) -> Listing[Conversation]:
        """List the caller's conversations, the last written in first."""
        return self._conversations.list(self._ownership.visible_ids(caller, assistant_id), page)

    def get(self, caller: Principal, conversation_id: str) -> Conversation:
        """Return a conversation that the caller may see.

        Raises:
            NotFound: it does not exist, or is somebody else's.
        """
        found = self._conversations.get(conversation_id) if is_id(conversation_id) else None
        if found is None or not self._ownership.sees(caller, found.assistant_id):
            raise NotFound(f"There is no conversation {conversation_id!r}.")
        return found

    def chats(self, caller: Principal, conversation_id: str, page: Page) -> Listing[Chat]:
        """List a conversation's chats, oldest first; `messages_of` tells what was said in each."""
        conversation = self.get(caller, conversation_id)
        return self._chats.list(ChatFilter(conversation_id=conversation.id, oldest_first=True), page)

    def export(self, caller: Principal, conversation_id: str) -> tuple[Conversation, Sequence[Message]]:
        """Return a conversation with all its messages, oldest first."""
        conversation = self.get(caller, conversation_id)
        messages = []
        page = Page(limit=_EXPORT_PAGE)
        while True:
            listing = self._chats.list(ChatFilter(conversation_id=conversation.id, oldest_first=True), page)
            messages += [message for chat in listing.items for message in messages_of(chat)]
            if not listing.more:
                return conversation, messages
            page = Page(limit=_EXPORT_PAGE, after=listing.items[-1].id)

    def erase(self, caller: Principal, conversation_id: str) -> None:
        """Delete a conversation and everything that was said in it.

        What a provider keeps of it is written down before, because its chats say what that is; a job deletes it there.
        The chats go first, so that whatever fails can be repeated, and once more behind the conversation: whoever
        stores a message after that finds it gone, and begins a new one.

        Raises:
            Unavailable: nothing was erased, or not all; repeat it.
        """
        conversation = self.get(caller, conversation_id)
        self._threads.forget(conversation.assistant_id, conversation.id)
        self._chats.delete_of_conversation(conversation.id)
        self._conversations.delete(conversation.id)
        self._chats.delete_of_conversation(conversation.id)
        self._news.deleted(conversation.assistant_id, conversation.id)

    def watch(self, caller: Principal, still_allowed: Callable[[], bool]) -> Iterator[News | None]:
        """Yield what happens to the caller's conversations; None means that nothing did for a while."""
        return self._news.watch(caller, still_allowed)


def messages_of(chat: Chat) -> list[Message]:
    """Return what was said in a chat and reached the other side, in order, and what tools gave on the way."""
    said = [*_told(chat)]
    if chat.message is not None:
        said.append(Message(Speaker.HUMAN, chat.message, chat.created_at, chat))
    said += [
        Message(Speaker.TOOL, use.output, use.started_at, chat, tool=use) for use in (*_brought(chat), *chat.tools)
    ]
    if chat.response is not None and chat.status is ChatStatus.ANSWERED and (chat.response or not chat.asked):
        role = Speaker.AGENT if chat.answered_by else Speaker.AI
        said.append(Message(role, chat.response, chat.answered_at or chat.created_at, chat))
    return said


def _told(chat: Chat) -> Iterator[Message]:
    """Yield the earlier turns that a client's request told."""
    for turn in chat.given.turns if chat.given is not None else ():
        for role, text in ((Speaker.HUMAN, turn.message), (Speaker.AI, turn.response)):
            if text is not None:
                yield Message(role, text, chat.created_at, chat, given=True)


def _brought(chat: Chat) -> Iterator[ToolUse]:
    """Yield what the client's own functions gave; within a thread, the rounds before are shown with earlier chats."""
    given = chat.given or NOTHING_GIVEN
    for result in [result for round_ in given.rounds[0 if given.alone else -1 :] for result in round_]:
        yield ToolUse(result.call.name, "", result.call.arguments, result.output, False, chat.created_at, 0)
