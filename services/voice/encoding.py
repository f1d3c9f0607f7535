"""Samples as MP3, for synthesizers that write none themselves."""

import av

from services.voice.samples import WholeSamples

_BITS_PER_SECOND = 64_000


class Mp3Encoder:
    """Encode a row of samples (signed 16 bit, little endian, mono) as MP3 frames, as they come.

    There is no file around the frames, so no tag either, and none rests on the bits of an earlier one ("bit
    reservoir"): each stands alone. LAME takes its fast way, which is a third of the work for as many bits.

    Args:
        rate: samples a second: 8,000, 11,025, 12,000, 16,000, 22,050, 24,000, 32,000, 44,100 or 48,000.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._samples = WholeSamples()
        self._codec = av.AudioCodecContext.create("libmp3lame", "w")
        self._codec.sample_rate = rate
        self._codec.layout = "mono"
        self._codec.format = "s16p"
        self._codec.bit_rate = _BITS_PER_SECOND
        self._codec.options = {"reservoir": "0", "compression_level": "7"}

    def encode(self, samples: bytes) -> bytes:
        """Return the frames that are whole by now, b"" if there are none; half a sample waits for the other half."""
        whole = self._samples.feed(samples)
        if not whole:
            return b""
        frame = av.AudioFrame(format="s16p", layout="mono", samples=len(whole) // 2)
        frame.sample_rate = self._rate
        frame.planes[0].update(whole)
        return self._packets(frame)

    def finish(self) -> bytes:
        """Return the last frames; nothing is encoded after that."""
        return self._packets(None)

    def _packets(self, frame: av.AudioFrame | None) -> bytes:
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))
