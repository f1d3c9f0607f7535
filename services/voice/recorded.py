"""Messages that were recorded: each is heard once, however often it is delivered."""

from dataclasses import replace
from hashlib import sha256

from models.answers import Inbound
from models.deadline import Deadline
from models.voice import Upload
from services.arrivals import Arrivals
from services.journal import check_recording, dedupe_key
from services.ports import ChatRepository
from services.voice.hearing import Hearing


class RecordedMessages:
    """Turn recordings into messages for the engine."""

    def __init__(self, chats: ChatRepository, arrivals: Arrivals, hearing: Hearing) -> None:
        self._chats = chats
        self._arrivals = arrivals
        self._hearing = hearing

    def inbound(
        self,
        inbound: Inbound,
        upload: Upload,
        deadline: Deadline,
        language: str | None = None,
        bare_rate: int | None = None,
    ) -> Inbound:
        """Return a message with what is said in its recording as its text, and the place that is kept for it.

        What comes into its conversation meanwhile is answered after it; the journal takes or gives up the place. A
        message that was stored before is not heard again. Deliveries of one message at the same time may each be
        heard, and differently: the journal takes them for the same message all the same, by the recording's digest.

        Args:
            language: BCP 47 tag of what is expected; None for the assistant's.
            bare_rate: as `Hearing.hear`.

        Raises:
            Conflict: code `message_id_reused`, another message came with the same id.
            Invalid, TooLarge, ProviderFailed, DeadlineExceeded, CallCancelled: as `Hearing.hear`; nothing is stored.
        """
        if inbound.message_id is not None:
            earlier = self._chats.find_by_dedupe_key(inbound.assistant.id, dedupe_key(inbound))
            if earlier is not None:
                check_recording(earlier, sha256(upload.content).hexdigest())
                return replace(inbound, text=earlier.message or "", heard=earlier.heard)
        with self._arrivals.keeping(inbound, deadline) as arrival:
            text, heard = self._hearing.hear(upload, language or inbound.assistant.language, deadline, bare_rate)
        return replace(inbound, text=text, heard=heard, arrival=arrival)
