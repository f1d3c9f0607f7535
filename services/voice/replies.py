"""Answers that are heard after they were given: whoever may read a chat's answer may have it spoken."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator

from models.assistants import Assistant
from models.chats import Chat, ChatStatus
from models.clock import now
from models.deadline import Deadline
from models.errors import Conflict, NotFound, Unauthenticated, Unavailable
from models.ids import is_id
from models.users import Principal
from models.voice import Codec, SpeechFormat
from services.ownership import Ownership
from services.ports import AssistantRepository, ChatRepository, SpeechSynthesizer
from services.voice.links import LinkSignature, LinkSigner
from services.voice.on_use import OnUse
from services.voice.script import is_said
from services.voice.speaking import Audio, Speaker, Spoken

logger = logging.getLogger("orquestra.voice")

Listener = Assistant | Principal | LinkSignature
"""Who wants to hear an answer: a channel with the assistant's key, a manager, or whoever has a link."""

OggEncoder = Callable[[Iterable[bytes], int], bytes]
"""`services.voice.opus.ogg_opus`, which takes time to load."""


class SpokenReplies:
    """Speak stored answers, and keep how long listeners waited for those that were spoken while they were written.

    Args:
        count: counts what is spoken against the assistant's rate, as `AssistantService.count`.

    Attributes:
        signer: signs the links to them.
    """

    def __init__(  # noqa: PLR0913  the composition root is the only caller
        self,
        chats: ChatRepository,
        assistants: AssistantRepository,
        signer: LinkSigner,
        speaker: Speaker,
        synthesizer: OnUse[SpeechSynthesizer],
        ogg: OnUse[OggEncoder],
        count: Callable[[Assistant], None],
    ) -> None:
        self._chats = chats
        self._assistants = assistants
        self._ownership = Ownership(assistants)
        self.signer = signer
        self._speaker = speaker
        self._synthesizer = synthesizer
        self._ogg = ogg
        self._count = count

    def find(self, listener: Listener, chat_id: str) -> Chat:
        """Return a chat whose answer may be heard.

        Raises:
            Unauthenticated: code `link_invalid`, the link has ended or is not one of ours.
            NotFound: there is no such chat, or it is somebody else's.
            Conflict: code `no_answer`, it has no answer to speak.
        """
        if isinstance(listener, LinkSignature) and not self.signer.is_valid(chat_id, listener, now()):
            raise Unauthenticated(
                "This link is not valid, or not any more. Deliver the message again to get another one.",
                code="link_invalid",
            )
        chat = self._chats.get(chat_id) if is_id(chat_id) else None
        if chat is None or not self._may_hear(listener, chat):
            raise NotFound(f"There is no chat {chat_id!r}.")
        given_out = chat.status is ChatStatus.ANSWERED
        given_out |= chat.status is ChatStatus.SUPPRESSED and isinstance(listener, Principal)
        if not given_out or not is_said(chat.response or ""):
            raise Conflict("This chat has no answer to speak. GET /chats/get/<id> says why.", code="no_answer")
        return chat

    def speak(self, chat: Chat, fmt: SpeechFormat, deadline: Deadline) -> Generator[Audio, None, None]:
        """Speak a chat's answer as its assistant speaks now.

        Raises:
            NotFound: the assistant was deleted.
            RateLimited: more a minute than the assistant takes.
            ProviderFailed, DeadlineExceeded, CallCancelled: as `Speaker.retell`.
        """
        assistant = self._assistants.get(chat.assistant_id)
        if assistant is None:
            raise NotFound(f"There is no chat {chat.id!r}.")
        self._count(assistant)
        yield from self._speaker.retell(assistant, chat, fmt, deadline)

    def speak_into_ogg(self, chat: Chat, deadline: Deadline) -> bytes:
        """Return a chat's answer as a whole file, Opus in Ogg; raises as `speak`."""
        rate = self._synthesizer().format_of(Codec.PCM).rate
        return self._ogg()(self._samples(chat, deadline), rate)

    def note(self, chat_id: str, spoken: Spoken) -> bool:
        """Keep with a chat how long its listener waited; tell whether that is news. It is not worth failing for."""
        if spoken.first_sentence_ms is None or spoken.first_audio_ms is None:
            return False
        try:
            return self._chats.note_speech(chat_id, spoken.first_sentence_ms, spoken.first_audio_ms)
        except Unavailable:
            logger.warning("the timings of a spoken answer are lost: the store is away", extra={"chat": chat_id})
            return False

    def _may_hear(self, listener: Listener, chat: Chat) -> bool:
        if isinstance(listener, Assistant):
            return chat.assistant_id == listener.id
        return isinstance(listener, LinkSignature) or self._ownership.sees(listener, chat.assistant_id)

    def _samples(self, chat: Chat, deadline: Deadline) -> Iterator[bytes]:
        for audio in self.speak(chat, SpeechFormat.PCM, deadline):
            yield audio.data
