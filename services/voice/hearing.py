"""What people say, as text."""

import time
from hashlib import sha256

from models.deadline import Deadline
from models.errors import Invalid, TooLarge
from models.voice import Heard, Upload
from services.characters import whole
from services.drafts import ms_since
from services.ports import AudioDecoder, Transcriber
from services.voice.on_use import OnUse


class Hearing:
    """Decode recordings and have them transcribed.

    Args:
        max_upload_bytes: largest recording.
    """

    def __init__(
        self, decoder: OnUse[AudioDecoder], transcriber: OnUse[Transcriber], max_upload_bytes: int = 50 * 2**20
    ) -> None:
        self._decoder = decoder
        self._transcriber = transcriber
        self._max_upload_bytes = max_upload_bytes

    def hear(self, upload: Upload, language: str | None, deadline: Deadline) -> tuple[str, Heard]:
        """Return what was said, and how it was heard.

        Args:
            language: BCP 47 tag of what is expected; None to find it out.

        Raises:
            Invalid: code `audio_unreadable`; `no_speech`, nobody says anything in it; `language_unsupported`.
            TooLarge: code `too_large`; `audio_too_long`.
            ProviderFailed, DeadlineExceeded, CallCancelled: as `Transcriber.transcribe`.
        """
        if len(upload.content) > self._max_upload_bytes:
            raise TooLarge(f"The recording has more than {self._max_upload_bytes // 2**20} MiB (MAX_UPLOAD_MB).")
        began = time.monotonic()
        recording = self._decoder().decode(upload, deadline)
        decode_ms, began = ms_since(began), time.monotonic()
        transcriber = self._transcriber()
        transcript = transcriber.transcribe(recording, language, deadline)
        text = whole(transcript.text).replace("\0", " ").strip()  # as every store can hold it
        if not text:
            raise Invalid("Nobody speaks in this recording. Say it again.", code="no_speech")
        digest = sha256(upload.content).hexdigest()
        spoken = transcript.language or language
        return text, Heard(transcriber.name, spoken, recording.seconds, digest, decode_ms, ms_since(began))
