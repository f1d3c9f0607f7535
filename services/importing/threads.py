"""Threads of OpenAI's Assistants API become conversations, as if they had been held here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from models.assistants import Assistant
from models.chats import Chat, ChatFilter, ChatStatus
from models.conversations import QUERY_ASSISTANT, Channel, Conversation
from models.errors import Unavailable
from models.ids import id_at
from models.paging import Page
from services.importing.exported_threads import ExportedMessage, ThreadFile
from services.importing.folder import Remark
from services.ports import ChatRepository, ConversationRepository

_PAGE = 1000


@dataclass(frozen=True)
class ThreadsSummary:
    """What became of the threads of a file.

    Attributes:
        conversations: how many conversations have all of their messages now.
        added: how many messages were stored.
        unchanged: how many were there already.
        skipped: what is of no use here.
        failed: lines and threads that could not be taken over.
        failures: how many of these there are; not all of them may be listed.
    """

    conversations: int = 0
    added: int = 0
    unchanged: int = 0
    skipped: tuple[Remark, ...] = ()
    failed: tuple[Remark, ...] = ()
    failures: int = 0


@dataclass(frozen=True)
class _Exchange:
    """Messages of a person, one behind the other, and the answer to them; either may be missing."""

    asked: tuple[ExportedMessage, ...]
    reply: ExportedMessage | None


class ThreadImport:
    """Store the threads of an assistant as conversations. It can be stopped, and repeated, at any moment.

    Args:
        model: what the chats say wrote the answers, None if nobody knows.
        addresses: thread id -> id of the channel that goes on with it; others go on under the thread's own id.
    """

    def __init__(
        self,
        conversations: ConversationRepository,
        chats: ChatRepository,
        assistant: Assistant,
        model: str | None,
        addresses: Mapping[str, str],
    ) -> None:
        self._conversations = conversations
        self._chats = chats
        self._assistant = assistant
        self._model = model
        self._addresses = addresses

    def run(self, file: ThreadFile, progress: Callable[[int, int, str], None]) -> ThreadsSummary:
        """Import the threads of a file that was scanned.

        Args:
            progress: told how many messages are done, of how many, and the id of the last thread, "" at the start.

        Raises:
            Invalid: the file was changed meanwhile.
            Unavailable: the store is down.
        """
        progress(0, file.messages, "")
        conversations, added, unchanged, done = 0, 0, 0, 0
        failed = list(file.failed)
        for thread_id in file.threads:
            messages = file.of_thread(thread_id)
            stored = self._take(thread_id, messages)
            if stored is None:
                failed.append(Remark(thread_id, self._elsewhere(messages)))
            else:
                conversations += 1
                added += stored
                unchanged += len(messages) - stored
            done += len(messages)
            progress(done, file.messages, thread_id)
        progress(file.messages, file.messages, "")
        refused = len(failed) - len(file.failed)
        return ThreadsSummary(
            conversations, added, unchanged, tuple(file.skipped), tuple(failed), file.unreadable + refused
        )

    def _take(self, thread_id: str, messages: Sequence[ExportedMessage]) -> int | None:
        """Store what is new of a thread; return how many messages, None if the thread is in another conversation."""
        channel = Channel(self._addresses.get(thread_id, thread_id), QUERY_ASSISTANT)
        first = self._first(messages)
        if first is not None and first.channel != channel:
            return None
        began, ended = messages[0].created_at, messages[-1].created_at
        conversation = self._conversations.find_or_add(
            Conversation(id_at(began), self._assistant.id, channel, began, ended)
        )
        chats = _Writer(self._assistant.id, conversation, self._model, self._known(conversation.id)).write(messages)
        added = sum(_said(chat) for chat in chats if self._chats.add(chat))
        self._record(conversation.id, messages, added)
        return added

    def _first(self, messages: Sequence[ExportedMessage]) -> Chat | None:
        """Return the chat of the first message that is stored already."""
        key = dedupe_key(messages[0].id)
        return self._chats.find_by_dedupe_key(self._assistant.id, key)

    def _elsewhere(self, messages: Sequence[ExportedMessage]) -> str:
        first = self._first(messages)
        where = first.channel.id if first else ""
        return f"It is here already, in the conversation of {where!r}. Erase that one first to have it under another."

    def _known(self, conversation_id: str) -> dict[str, str]:
        """Return message id -> chat id of what the conversation holds."""
        known: dict[str, str] = {}
        page: Page | None = Page(_PAGE)
        while page is not None:
            listing = self._chats.list(ChatFilter(conversation_id=conversation_id, oldest_first=True), page)
            for chat in listing.items:
                known |= {said: chat.id for said in (chat.message_id, chat.response_id) if said}
            page = Page(_PAGE, listing.items[-1].id) if listing.more else None
        return known

    def _record(self, conversation_id: str, messages: Sequence[ExportedMessage], added: int) -> None:
        """Bring the list entry up to date: what an import that was stopped has not counted is counted now.

        Raises:
            Unavailable: the conversation was erased meanwhile; nothing of it is left.
        """
        stored = self._conversations.get(conversation_id)
        if stored is None:
            self._chats.delete_of_conversation(conversation_id)
            raise Unavailable("A conversation was erased while it was imported. Import again.")
        count = max(added, len(messages) - stored.message_count)
        if count <= 0:
            return
        last = messages[-1]
        text, at = last.text, last.created_at
        if stored.message_count and stored.last_message_at > at:
            text, at = stored.last_message, stored.last_message_at
        self._conversations.record_message(conversation_id, text, at, count=count)


class _Writer:
    """Make the chats of a conversation out of the messages of a thread.

    Args:
        known: message id -> chat id of what is stored already.
    """

    def __init__(self, assistant_id: str, conversation: Conversation, model: str | None, known: dict[str, str]) -> None:
        self._assistant_id = assistant_id
        self._conversation = conversation
        self._model = model
        self._known = known
        self._places: dict[str, str] = {}

    def write(self, messages: Sequence[ExportedMessage]) -> Sequence[Chat]:
        """Return the chats of the messages that are new, in their order."""
        last = None
        for message in messages:
            place = self._known.get(message.id) or id_at(message.created_at, after=last)
            self._places[message.id] = place
            last = max(last or place, place)
        return [chat for exchange in _exchanges(messages) for chat in self._chats(exchange)]

    def _chats(self, exchange: _Exchange) -> Iterator[Chat]:
        """Yield the new chats of an exchange.

        A reply that comes to a question which is stored without one, or the other way round, is a chat of its own.
        """
        reply, known = exchange.reply, self._known.get
        question = exchange.asked[-1] if exchange.asked else None
        together = question is not None and reply is not None and known(question.id) == known(reply.id)
        for message in exchange.asked:
            if message.id in self._known:
                continue
            chat = self._chat(message, ChatStatus.INACTIVE)
            if together and reply is not None and message is question:
                chat = self._answered(chat, reply)
            elif together and question is not None:
                into = self._places[question.id]
                chat = replace(chat, status=ChatStatus.MERGED, active=True, merged_into=into)
            yield chat
        if reply is not None and not together and reply.id not in self._known:
            alone = replace(self._chat(reply, ChatStatus.ANSWERED), message=None, message_id=None)
            yield self._answered(alone, reply)

    def _chat(self, message: ExportedMessage, status: ChatStatus) -> Chat:
        return Chat(
            id=self._places[message.id],
            assistant_id=self._assistant_id,
            conversation_id=self._conversation.id,
            channel=self._conversation.channel,
            dedupe_key=dedupe_key(message.id),
            status=status,
            created_at=message.created_at,
            message=message.text,
            message_id=message.id,
            active=False,
            metadata=dict(message.metadata),
        )

    def _answered(self, chat: Chat, reply: ExportedMessage) -> Chat:
        return replace(
            chat,
            status=ChatStatus.ANSWERED,
            active=True,
            response=reply.text,
            response_id=reply.id,
            model=self._model,
            answered_at=reply.created_at,
        )


def dedupe_key(message_id: str) -> str:
    """Return what keeps a message from being imported twice."""
    return f"exported:{message_id}"


def _exchanges(messages: Sequence[ExportedMessage]) -> Iterator[_Exchange]:
    waiting: list[ExportedMessage] = []
    for message in messages:
        if message.asked:
            waiting.append(message)
        else:
            yield _Exchange(tuple(waiting), message)
            waiting = []
    if waiting:
        yield _Exchange(tuple(waiting), None)


def _said(chat: Chat) -> int:
    """Return how many messages a chat holds."""
    return sum(1 for text in (chat.message, chat.response) if text is not None)
