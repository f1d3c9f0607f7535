"""What OpenAI's Responses API has on top of threads: responses that are gone on from, and asked for again."""

from dataclasses import replace

from models.answers import Inbound
from models.assistants import Assistant
from models.chats import Chat, ChatStatus
from models.clock import now
from models.conversations import Conversation, is_active
from models.errors import Invalid, NotFound
from models.given import Turn
from models.ids import is_id
from services.doors import BEHIND_ALL, DoorMessage, DoorService, asking_chats, with_outputs
from services.ports import ChatRepository, ConversationRepository
from services.prompting import fit_history
from services.remembering import turns_of

_LOOKED_AT = 50
"""More chats than an agent writes between two responses."""


class ResponseService:
    """Find the place of a message that goes on from an earlier response. A response is a chat.

    Args:
        history_tokens: estimated tokens of the turns that are carried over into a thread that branches off.
    """

    def __init__(
        self, doors: DoorService, conversations: ConversationRepository, chats: ChatRepository, history_tokens: int
    ) -> None:
        self._doors = doors
        self._conversations = conversations
        self._chats = chats
        self._history_tokens = history_tokens

    def inbound(self, assistant: Assistant, message: DoorMessage, previous: str | None) -> Inbound:
        """Return the message with its place: behind an earlier response, or where `DoorService.inbound` puts it.

        Behind the newest response of a conversation the conversation goes on. Behind an older one a thread of its own
        begins, which is told what was said up to there.

        Args:
            previous: the id of the chat that it goes on from; None where the request names none.

        Raises:
            Invalid: code `previous_response_not_found`; those of `DoorService.inbound`.
        """
        if previous is None:
            return self._doors.inbound(assistant, message)
        chat = self._find(assistant, previous)
        held = self._conversations.get(chat.conversation_id) if chat is not None else None
        if chat is None or held is None:
            raise Invalid(
                "There is no such response. Send the id of a response that this API key was given.",
                code="previous_response_not_found",
                errors={"previous_response_id": ["Not found."]},
            )
        if not self._goes_on(chat, held):
            return self._doors.inbound(assistant, self._branched(assistant, message, chat, held))
        inbound = self._doors.inbound(assistant, replace(message, thread=held.id))
        if inbound.given is None or message.given.rounds:
            return inbound
        return replace(inbound, given=replace(inbound.given, turns=message.given.turns))  # all that came is new

    def get(self, assistant: Assistant, chat_id: str) -> Chat:
        """Return the chat that a response is.

        Raises:
            NotFound: there is none, or it is another assistant's.
        """
        chat = self._find(assistant, chat_id)
        if chat is None:
            raise NotFound("There is no such response. Send the id of a response that this API key was given.")
        return chat

    def _find(self, assistant: Assistant, chat_id: str) -> Chat | None:
        chat = self._chats.get(chat_id) if is_id(chat_id) else None
        return chat if chat is not None and chat.assistant_id == assistant.id else None

    def _goes_on(self, chat: Chat, held: Conversation) -> bool:
        """Tell whether a message behind a chat belongs to its conversation.

        It does if nobody was answered since: failures and an agent's words do not make a response an older one. And it
        does while people have taken over, or a model would answer in their place.
        """
        if not is_active(held.active, held.paused_until, now()):
            return True
        newest = self._chats.newest(held.id)
        if newest is None or newest.id == chat.id:
            return True
        later = self._chats.history(held.id, BEHIND_ALL, _LOOKED_AT, chat.id)
        return newest.status is not ChatStatus.RECEIVED and all(one.answered_by is not None for one in later)

    def _branched(self, assistant: Assistant, message: DoorMessage, chat: Chat, held: Conversation) -> DoorMessage:
        """Return the message as one that tells by itself what was said up to that chat."""
        text, given, told, behind = message.text, message.given, message.given.turns, _next_id(chat.id)
        if given.rounds:
            chain = asking_chats(self._chats, held, behind)
            given = with_outputs(given, chain)
            text, told, behind = chain[0].message or "", (), chain[0].id
        turns = (*self._turns(assistant, held, behind), *told)
        return replace(message, text=text, thread=None, given=replace(given, turns=turns))

    def _turns(self, assistant: Assistant, held: Conversation, before: str) -> tuple[Turn, ...]:
        """Return what the assistant would remember of the conversation before that id."""
        if assistant.history_turns == 0:
            return ()
        earlier = self._chats.history(held.id, before, assistant.history_turns, held.memory_from)
        turns = [turn for one in earlier for turn in turns_of(one)]
        return fit_history(turns[-assistant.history_turns :], self._history_tokens)


def _next_id(chat_id: str) -> str:
    """Return the id right behind one, to find what comes before it, itself included."""
    return f"{int(chat_id, 16) + 1:024x}"
