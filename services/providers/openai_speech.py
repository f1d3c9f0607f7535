"""Speech by any server that speaks OpenAI's: OpenAI itself, Azure, Kokoro-FastAPI, Speaches and others at home."""

import logging
from collections.abc import Generator, Sequence

import httpx2
import openai

from models.deadline import Deadline
from models.errors import Invalid, ProviderFailed
from models.voice import AudioFormat, Codec, Manner, Voice
from services.providers.http_calls import opened, read_on
from services.providers.http_sockets import Call
from services.providers.openai_embeddings import QuietEndpoint
from services.providers.openai_sending import Sender

_RATE = 24_000
"""Samples a second of OpenAI's `pcm`."""
_REFUSING = frozenset({400, 404, 422})


class OpenAISpeech:
    """Implement `SpeechSynthesizer` over `POST /audio/speech`.

    The endpoint hears the language from the text, and every voice speaks every language that it knows.

    Args:
        client: from `openai_chat.build_client`; another one is not woken by a cancel.
    """

    name = "openai"

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self._model = model
        self._sender = Sender(client, "audio/speech", "application/octet-stream")
        self._endpoint = QuietEndpoint(
            name="The speech endpoint",
            key_hint="Check SPEECH_API_KEY.",
            model_hint="Check SPEECH_MODEL and SPEECH_BASE_URL.",
            url_hint="Check SPEECH_BASE_URL and that the server is up.",
            secret=client.api_key,
        )

    def format_of(self, codec: Codec) -> AudioFormat:
        """Return what `synthesize` yields for a codec."""
        return AudioFormat(codec, _RATE)

    def synthesize(self, text: str, manner: Manner, codec: Codec, deadline: Deadline) -> Generator[bytes, None, None]:
        """Yield the sound of a text as it comes; raises as `SpeechSynthesizer.synthesize`."""
        voice = manner.voice
        if not voice:
            raise Invalid(
                "The speech endpoint speaks with a named voice only. Set SPEECH_VOICE, or the assistant's voice.",
                code="voice_unknown",
            )
        call = Call(deadline)
        with opened(lambda: self._send(text, voice, codec, call), call, self._endpoint) as response:
            self._expect_sound(response)
            silent = True
            for chunk in read_on(call, response, self._endpoint):
                if chunk:
                    silent = False
                    yield chunk
            if silent:
                raise ProviderFailed("The speech endpoint sent no sound. Try again, or choose another voice.")

    def voices(self, deadline: Deadline) -> Sequence[Voice]:
        """Return none: the API has no list of them."""
        deadline.check()
        return ()

    def _send(self, text: str, voice: str, codec: Codec, call: Call) -> httpx2.Response:
        """Send the text and return the response, whatever its status but for one refusal.

        Raises:
            Invalid: code `voice_unknown`.
        """
        body = {"model": self._model, "voice": voice, "input": text, "response_format": codec.value}
        response = self._sender.send(body, call)
        words = response.text.replace(self._model, "").replace(text, "") if response.status_code in _REFUSING else ""
        if "voice" in words.lower():
            self._endpoint.log(logging.INFO, f"HTTP {response.status_code} for a voice", response.text)
            raise Invalid(
                f"The speech endpoint refuses the voice {voice!r}. Choose one that its documentation names.",
                code="voice_unknown",
            )
        return response

    def _expect_sound(self, response: httpx2.Response) -> None:
        """Refuse a page or a document: the address is not that of an endpoint of speech."""
        kind = response.headers.get("content-type", "")
        if kind.startswith(("text/", "application/json")):
            self._endpoint.log(logging.ERROR, "no sound", kind)
            raise self._endpoint.unreadable()
