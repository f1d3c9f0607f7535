"""What people say, as text."""

import time
from dataclasses import replace
from hashlib import sha256

from models.deadline import Deadline
from models.errors import Invalid, TooLarge
from models.voice import Heard, Recording, Upload
from services.characters import whole
from services.drafts import ms_since
from services.ports import AudioDecoder, Transcriber
from services.voice.beginnings import is_file
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

    def hear(
        self, upload: Upload, language: str | None, deadline: Deadline, bare_rate: int | None = None
    ) -> tuple[str, Heard]:
        """Return what was said, and how it was heard.

        Args:
            language: BCP 47 tag of what is expected; None to find it out.
            bare_rate: samples a second of a recording that is no file at all, but bare samples; None if it has to be a
                file.

        Raises:
            Invalid: code `audio_unreadable`; `no_speech`, nobody says anything in it; `language_unsupported`.
            TooLarge: code `too_large`; `audio_too_long`.
            ProviderFailed, DeadlineExceeded, CallCancelled: as `Transcriber.transcribe`.
        """
        if len(upload.content) > self._max_upload_bytes:
            raise TooLarge(f"The recording has more than {self._max_upload_bytes // 2**20} MiB (MAX_UPLOAD_MB).")
        began = time.monotonic()
        recording = self._decoded(upload, deadline, bare_rate)
        decode_ms, began = ms_since(began), time.monotonic()
        transcriber = self._transcriber()
        transcript = transcriber.transcribe(recording, language, deadline)
        text = whole(transcript.text).replace("\0", " ").strip()  # as every store can hold it
        if not text:
            raise Invalid("Nobody speaks in this recording. Say it again.", code="no_speech")
        digest = sha256(upload.content).hexdigest()
        spoken = transcript.language or language
        return text, Heard(transcriber.name, spoken, recording.seconds, digest, decode_ms, ms_since(began))

    def _decoded(self, upload: Upload, deadline: Deadline, bare_rate: int | None) -> Recording:
        try:
            return self._decoder().decode(upload, deadline)
        except Invalid as error:
            if error.code != "audio_unreadable" or bare_rate is None or upload.sample_rate is not None:
                raise
            if is_file(upload.content):
                raise
        return self._decoder().decode(replace(upload, sample_rate=bare_rate), deadline)
