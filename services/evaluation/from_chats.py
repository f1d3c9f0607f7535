"""Questions that people really asked: chats that were rated, or that a human answered, with what was said before."""

import random
import re
from collections.abc import Iterator, Sequence

from models.assistants import Assistant
from models.chats import Chat, ChatFilter, ChatStatus
from models.evaluations import EVALUATION, DatasetItem, Making
from models.given import Turn
from models.paging import Page
from services.knowledge.language import detect
from services.ports import ChatRepository

_PAGE = 500
_LOOKED_AT = 20_000
"""So many chats are looked at, the newest first."""

_HISTORY = 10
_NEXT = 5
"""A human's reply is looked for among so many chats behind a question."""

_KEY = re.compile(r"\b(?:orq|sk|pk|rk|xox[abp]|ghp)[-_][A-Za-z0-9_-]{12,}")


class ChatQuestions:
    """Make items from an assistant's chats."""

    def __init__(self, chats: ChatRepository) -> None:
        self._chats = chats

    def make(self, assistant: Assistant, making: Making) -> Sequence[DatasetItem]:
        """Return up to so many items, oldest first.

        What a human replied is `expected`, and so is an answer that was rated good. One that was rated bad is named in
        the `criteria`. Texts that look like API keys are taken out.
        """
        found = list(self._found(assistant, making))
        if len(found) > making.limit:
            found = random.Random(making.seed).sample(found, making.limit)
        return [self._item(chat, reply) for chat, reply in sorted(found, key=lambda one: one[0].id)]

    def _found(self, assistant: Assistant, making: Making) -> Iterator[tuple[Chat, Chat | None]]:
        """Yield the chats to take, each with the human's reply to it, newest first."""
        wanted = ChatFilter(assistant_ids=(assistant.id,), status=making.status)
        page, seen = Page(_PAGE), 0
        while seen < _LOOKED_AT:
            listing = self._chats.list(wanted, page)
            for chat in listing.items:
                if making.since is not None and chat.created_at < making.since:
                    return
                if chat.message is not None and chat.channel.message_service != EVALUATION:
                    reply = self._reply(chat)
                    if _is_chosen(chat, making, replied=reply is not None):
                        yield chat, reply
            if not listing.more:
                return
            seen, page = seen + len(listing.items), Page(_PAGE, listing.items[-1].id)

    def _reply(self, chat: Chat) -> Chat | None:
        """Return a human's words that came next, before another message of the person."""
        behind = ChatFilter(conversation_id=chat.conversation_id, oldest_first=True)
        if chat.status is ChatStatus.ANSWERED and chat.feedback is None:
            return None  # most chats: a model answered, and nobody minded
        for later in self._chats.list(behind, Page(_NEXT, chat.id)).items:
            if later.message is not None:
                return None
            if later.answered_by is not None and later.response:
                return later
        return None

    def _item(self, chat: Chat, reply: Chat | None) -> DatasetItem:
        score = chat.feedback.score if chat.feedback is not None else 0
        answered = chat.response if chat.status is ChatStatus.ANSWERED else None
        cited = tuple(dict.fromkeys(citation.filename for citation in chat.citations))
        good = answered if score > 0 else None
        expected = reply.response if reply is not None else good
        earlier = self._chats.history(chat.conversation_id, chat.id, _HISTORY)
        return DatasetItem(
            chat.id,
            _without_keys(chat.message or ""),
            expected=_without_keys(expected) if expected else None,
            documents=cited if cited and good and reply is None else None,
            criteria=_criteria(chat) if score < 0 and answered else None,
            history=tuple(_turn(one) for one in earlier),
            language=detect(chat.message or "") or None,
            tags=_tags(score, replied=reply is not None) or (chat.status.value,),
        )


def _is_chosen(chat: Chat, making: Making, *, replied: bool) -> bool:
    if making.feedback is not None:
        return chat.feedback is not None and chat.feedback.score == making.feedback
    return making.status is not None or chat.feedback is not None or replied


def _criteria(chat: Chat) -> str:
    """Return what a judge is told of an answer that was rated bad."""
    comment = chat.feedback.comment if chat.feedback is not None else None
    said = f" A person said of it: {comment}" if comment else ""
    text = f"An earlier answer was rated bad, and a good one does not repeat it: {chat.response}{said}"
    return _without_keys(text)


def _tags(score: int, *, replied: bool) -> tuple[str, ...]:
    rated = {1: ("thumbs-up",), -1: ("thumbs-down",)}.get(score, ())
    return (*rated, *(("handed-over",) if replied else ()))


def _turn(chat: Chat) -> Turn:
    answered = chat.response if chat.status is ChatStatus.ANSWERED else None
    return Turn(
        None if chat.message is None else _without_keys(chat.message),
        None if answered is None else _without_keys(answered),
    )


def _without_keys(text: str) -> str:
    """Return a text without what looks like an API key: people paste them into chats."""
    return _KEY.sub("[key]", text)
