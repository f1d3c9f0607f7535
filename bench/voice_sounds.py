"""Sounds for `bench.voice`: what matters of them is how long they are and what reading them takes."""

import io

import av
import numpy
from numpy.typing import NDArray

from services.voice.encoding import Mp3Encoder
from services.voice.wav import whole_wav

SENTENCE_SECONDS = 4.0
"""Twelve words, said at an ordinary pace."""
SENTENCE_RATE = 24_000
CLIP_SECONDS = 10.0
_CLIP_RATE = 48_000


def sentence_mp3() -> bytes:
    """Return a sentence's MP3."""
    encoder = Mp3Encoder(SENTENCE_RATE)
    return encoder.encode(_hum(SENTENCE_SECONDS, SENTENCE_RATE).tobytes()) + encoder.finish()


def clip_wav() -> bytes:
    """Return a recording as WAV."""
    return whole_wav(_hum(CLIP_SECONDS, _CLIP_RATE).tobytes(), _CLIP_RATE)


def clip_webm() -> bytes:
    """Return a recording as browsers make it: Opus in WebM."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=_CLIP_RATE)
        frame = av.AudioFrame.from_ndarray(_hum(CLIP_SECONDS, _CLIP_RATE).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = _CLIP_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _hum(seconds: float, rate: int) -> NDArray[numpy.int16]:
    """Return samples that are loud and soft by turns, as speech is, with some noise."""
    times = numpy.arange(int(seconds * rate)) / rate
    tone = numpy.sin(2 * numpy.pi * 180 * times) * (1 + numpy.sin(2 * numpy.pi * 3 * times)) / 2
    noise = numpy.random.default_rng(7).normal(0, 0.05, times.size)
    return numpy.asarray((tone + noise) * 12_000, dtype=numpy.int16)
