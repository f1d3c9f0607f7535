"""Transcription by any server that speaks OpenAI's: OpenAI itself, Azure, Groq, or whisper.cpp and vLLM at home.

What was uploaded goes out as it came, if it is of a kind that OpenAI takes: it is smaller than its samples, and sounds
better. Everything else, and what a server refuses all the same, goes out as a WAV of the decoded samples.
"""

import contextlib
import logging
import re

import httpx2
import msgspec
import openai

from models.deadline import Deadline
from models.voice import RECORDING_RATE, Recording, Transcript
from services.providers.http_calls import opened, read_whole
from services.providers.http_sockets import Call
from services.providers.openai_embeddings import QuietEndpoint
from services.providers.openai_sending import opening
from services.voice.wav import whole_wav

_MOST_BYTES = 25_000_000
"""OpenAI takes files of so many bytes."""
_LONGEST_ANSWER = 1 << 22
_REFUSING = frozenset({400, 413, 415, 422})
_KINDS = (
    (re.compile(rb"RIFF.{4}WAVE", re.DOTALL), "wav", "audio/wav"),
    (re.compile(rb"fLaC"), "flac", "audio/flac"),
    (re.compile(rb"OggS"), "ogg", "audio/ogg"),
    (re.compile(rb"\x1aE\xdf\xa3.{,60}webm", re.DOTALL), "webm", "audio/webm"),
    (re.compile(rb".{4}ftypM4A ", re.DOTALL), "m4a", "audio/mp4"),
    (re.compile(rb".{4}ftyp(?:iso|mp4|dash|avc)", re.DOTALL), "mp4", "audio/mp4"),
    (re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), "mp3", "audio/mpeg"),
)
"""How the files begin that OpenAI takes, their extension and their type."""
_TAG = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")

_File = tuple[str, bytes, str]
"""Name, content, type."""


class _Answer(msgspec.Struct):
    """What is read of an answer: OpenAI writes codes into `languages`, others a code or a name into `language`."""

    text: str
    languages: object = None
    language: object = None


_answers = msgspec.json.Decoder(_Answer)


class OpenAITranscriber:
    """Implement `Transcriber` over `POST /audio/transcriptions`.

    Args:
        client: from `openai_chat.build_client`; another one is not woken by a cancel.
    """

    name = "openai"

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self._model = model
        self._transcriptions = client.with_options(max_retries=0).audio.transcriptions.with_streaming_response
        self._endpoint = QuietEndpoint(
            name="The transcription endpoint",
            key_hint="Check TRANSCRIPTION_API_KEY.",
            model_hint="Check TRANSCRIPTION_MODEL and TRANSCRIPTION_BASE_URL.",
            url_hint="Check TRANSCRIPTION_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def transcribe(self, recording: Recording, language: str | None, deadline: Deadline) -> Transcript:
        """Return what was said; raises as `Transcriber.transcribe`."""
        call = Call(deadline)
        with opened(lambda: self._send(recording, language, call), call, self._endpoint) as response:
            return self._read(read_whole(call, response, self._endpoint, _LONGEST_ANSWER))

    def _send(self, recording: Recording, language: str | None, call: Call) -> httpx2.Response:
        """Send the upload, or where that is refused its samples; return the response whatever its status."""
        original = _original(recording)
        if original is not None:
            response = self._post(original, language, call)
            if response.status_code not in _REFUSING:
                return response
            self._endpoint.log(logging.INFO, f"HTTP {response.status_code} for {original[0]}", "")
        samples = ("recording.wav", whole_wav(recording.samples, RECORDING_RATE), "audio/wav")
        return self._post(samples, language, call)

    def _post(self, file: _File, language: str | None, call: Call) -> httpx2.Response:
        asking = self._transcriptions.create(
            file=file,
            model=self._model,
            language=_two_letters(language) or openai.omit,
            response_format="json",
            timeout=call.timeout(),
        )
        return opening(asking, self._endpoint)

    def _read(self, content: bytes) -> Transcript:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            answer = _answers.decode(content)
            return Transcript(answer.text, _language(answer))
        self._endpoint.log(logging.ERROR, "no transcript", "")
        raise self._endpoint.unreadable()


def _original(recording: Recording) -> _File | None:
    """Return the upload as OpenAI takes it; None if it does not."""
    upload = recording.upload
    if upload.sample_rate is not None or len(upload.content) > _MOST_BYTES:
        return None
    for beginning, extension, mimetype in _KINDS:
        if beginning.match(upload.content):
            return f"recording.{extension}", upload.content, mimetype
    return None


def _language(answer: _Answer) -> str | None:
    """Return the tag of the first language that is told; some servers write its English name, which is none."""
    told: object = answer.language
    match answer.languages:
        case [{"code": first}, *_]:
            told = first
    return told if isinstance(told, str) and _TAG.fullmatch(told) else None


def _two_letters(language: str | None) -> str | None:
    """Return the ISO 639-1 code of a language tag; None where there is none."""
    code = (language or "").lower().partition("-")[0].replace("cmn", "zh")
    return code if len(code) == 2 else None
