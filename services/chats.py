"""What managers do with stored chats: find, switch on and off, reply, retry, rate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from models.answers import AnswerEvent
from models.chats import Chat, ChatFilter, ChatStatus, Feedback
from models.clock import now
from models.conversations import Conversation
from models.deadline import Deadline
from models.errors import NotFound
from models.ids import is_id, new_id
from models.paging import Listing, Page
from models.users import Principal
from services.conversations import ConversationService
from services.news import ConversationNews
from services.ownership import Ownership
from services.ports import AssistantRepository, ChatRepository, ConversationRepository


@dataclass(frozen=True)
class Switched:
    """What an activation or deactivation reached."""

    conversations: Sequence[str]
    active: bool
    paused_until: datetime | None


class ChatService:
    """Show and steer the chats of the assistants that a user manages."""

    def __init__(
        self,
        assistants: AssistantRepository,
        conversations: ConversationRepository,
        chats: ChatRepository,
        answering: ConversationService,
        news: ConversationNews,
    ) -> None:
        self._assistants = assistants
        self._conversations = conversations
        self._chats = chats
        self._answering = answering
        self._news = news
        self._ownership = Ownership(assistants)

    def get(self, caller: Principal, reference: str) -> Chat:
        """Return a chat by its id, or a channel's newest chat by the channel's id.

        Raises:
            NotFound: neither exists for this caller.
        """
        chat, conversations = self._resolve(caller, reference)
        if chat is not None:
            return chat
        newest = [self._chats.newest(conversation.id) for conversation in conversations]
        found = max((one for one in newest if one is not None), key=lambda one: one.id, default=None)
        if found is None:
            raise _nothing_at(reference)
        return found

    def list(
        self, caller: Principal, wanted: ChatFilter, active: bool | None, assistant_id: str | None, page: Page
    ) -> Listing[Chat]:
        """List the caller's chats that pass the filter, newest first."""
        visible = self._ownership.visible_ids(caller, assistant_id)
        return self._chats.list(replace(wanted, assistant_ids=visible, active=active, at=now()), page)

    def switch(self, caller: Principal, reference: str, active: bool, until: datetime | None = None) -> Switched:
        """Stop or resume the answering of a chat's conversation, or of every conversation of a channel id.

        Args:
            until: when a stopped conversation resumes by itself.
        """
        chat, conversations = self._resolve(caller, reference)
        ids = [chat.conversation_id] if chat else [one.id for one in conversations]
        if not ids:
            raise _nothing_at(reference)
        for conversation_id in ids:
            self._conversations.set_active(conversation_id, active, until)
            self._chats.set_active(conversation_id, active, until)
            conversation = self._conversations.get(conversation_id)
            if conversation is not None:
                self._news.changed(conversation.assistant_id, conversation_id)
        return Switched(ids, active, until)

    def reply(self, caller: Principal, reference: str, text: str) -> Chat:
        """Store a human agent's words in the conversation, as part of its memory."""
        to = self.get(caller, reference)
        conversation = self._conversations.get(to.conversation_id)
        at, chat_id = now(), new_id(after=conversation.memory_from if conversation else None)
        words = Chat(
            id=chat_id,
            assistant_id=to.assistant_id,
            conversation_id=to.conversation_id,
            channel=to.channel,
            dedupe_key=f"chat:{chat_id}",
            status=ChatStatus.ANSWERED,
            created_at=at,
            username=to.username,
            response=text,
            active=to.active,
            paused_until=to.paused_until,
            answered_by=caller.user_id,
            answered_at=at,
        )
        self._chats.add(words)
        if self._conversations.get(to.conversation_id) is None:
            self._chats.delete_of_conversation(to.conversation_id)
            raise NotFound("The conversation was erased just now.")
        self._conversations.record_message(to.conversation_id, text, at)
        self._news.changed(to.assistant_id, to.conversation_id)
        return words

    def retry(self, caller: Principal, reference: str, deadline: Deadline) -> Iterator[AnswerEvent]:
        """Ask the model again for a chat without an answer.

        Raises:
            Conflict: it has an answer, is being answered, or its conversation is inactive.
        """
        chat = self.get(caller, reference)
        assistant = self._ownership.assistant(caller, chat.assistant_id)
        return self._answering.retry(assistant, chat, deadline)

    def rate(self, caller: Principal, reference: str, score: int, comment: str | None) -> Chat:
        """Store the caller's opinion of an answer; a later one replaces it."""
        chat = self.get(caller, reference)
        self._chats.set_feedback(chat.id, Feedback(score, caller.user_id, now(), comment))
        return self.get(caller, chat.id)

    def _resolve(self, caller: Principal, reference: str) -> tuple[Chat | None, Sequence[Conversation]]:
        """Return the chat with this id, or the conversations of this channel id.

        A trailing slash of the URL may be part of the channel's id; without such a channel it is none.
        """
        for text in dict.fromkeys((reference, reference.removesuffix("/"))):
            chat = self._chats.get(text) if is_id(text) else None
            if chat is not None and self._ownership.sees(caller, chat.assistant_id):
                return chat, ()
            conversations = self._conversations.find_by_channel_id(text, self._ownership.visible_ids(caller))
            if conversations:
                return None, conversations
        return None, ()


def _nothing_at(reference: str) -> NotFound:
    return NotFound(f"There is no chat or channel {reference!r}.")
