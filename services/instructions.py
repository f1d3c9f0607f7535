"""Prompts as a message's model is told them: with the values of the message."""

import logging

from models.assistants import Assistant
from models.chats import Chat
from models.clock import now
from models.errors import Invalid
from models.routing import PromptRole
from services import templates
from services.prompt_texts import PromptTexts

logger = logging.getLogger("orquestra.composing")


class Instructions:
    """Render the prompts of assistants."""

    def __init__(self, texts: PromptTexts) -> None:
        self._texts = texts

    def of(self, assistant: Assistant, chat: Chat, role: PromptRole | None = None) -> str:
        """Return a prompt with the chat's values; one that is no template is used as it stands.

        Args:
            role: None for the assistant's own prompt; as `PromptTexts.of`.
        """
        prompt = self._texts.of(assistant, role)
        values = templates.PromptValues(chat.username or "", chat.channel.message_service, now().date(), assistant.name)
        try:
            return templates.render(prompt, values)
        except Invalid:  # it was stored before templates were checked
            logger.warning("a prompt is no valid template; upload it again", extra={"assistant_id": assistant.id})
            return prompt
