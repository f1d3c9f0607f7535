"""Where the memory of conversations begins."""

import logging

from models.assistants import Assistant
from models.ids import new_id
from services.ports import ChatRepository, ConversationRepository

logger = logging.getLogger("orquestra.memory")


class MemoryService:
    """Let conversations begin anew; what was said stays where managers read it."""

    def __init__(self, conversations: ConversationRepository, chats: ChatRepository) -> None:
        self._conversations = conversations
        self._chats = chats

    def clear(self, assistant: Assistant, message_service: str, channel_id: str | None = None) -> int:
        """End the memory of an assistant's conversations of a message service, or of one channel's.

        A message that comes after this knows nothing of the ones before, and those that still wait for their answers
        are among these. The beginning lies behind the newest chat that is stored, even where the clock of the server
        that stored it is ahead; and later ids are made behind the beginning (services/journal.py).

        Returns:
            How many conversations begin anew.
        """
        newest = self._chats.newest_of_assistant(assistant.id)
        begins = new_id(after=newest.id if newest else None)
        cleared = self._conversations.clear_memory(assistant.id, message_service, begins, channel_id)
        logger.info("memory cleared", extra={"assistant_id": assistant.id, "conversations": cleared})
        return cleared
