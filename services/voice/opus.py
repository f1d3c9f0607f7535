"""Opus in Ogg (RFC 7845), which messengers take for a voice note; only whole files."""

import io
from collections.abc import Iterable

import av

_RATE = 48_000
"""Opus' own rate, to which everything is resampled."""

_BITS_PER_SECOND = 32_000


def ogg_opus(pieces: Iterable[bytes], rate: int) -> bytes:
    """Return a file of sound; b"" if there is none.

    Args:
        pieces: whole samples, signed 16 bit, little endian, mono.
        rate: of these, a second.
    """
    file, written = io.BytesIO(), 0
    resampler = av.AudioResampler("s16", "mono", _RATE)
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=_RATE, layout="mono")
        stream.bit_rate = _BITS_PER_SECOND
        for samples in filter(None, pieces):
            frame = _frame(samples, rate, written)
            written += frame.samples
            for resampled in resampler.resample(frame):
                container.mux(stream.encode(resampled))
        if not written:
            return b""
        for resampled in resampler.resample(None):
            container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return file.getvalue()


def _frame(samples: bytes, rate: int, position: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples) // 2)
    plane = frame.planes[0]
    plane.update(samples.ljust(plane.buffer_size, b"\0"))
    frame.sample_rate, frame.pts = rate, position
    return frame
