"""Bare samples as WAV (RIFF): signed 16 bit, little endian, mono."""

import io
import struct
import wave

_UNKNOWN = 0xFFFFFFFF
_PCM, _MONO, _SAMPLE = 1, 1, 2


def wav_header(rate: int) -> bytes:
    """Return the header of a file of which nobody knows yet how long it will be; players play it to its end.

    Args:
        rate: samples a second.
    """
    layout = struct.pack("<HHIIHH", _PCM, _MONO, rate, rate * _SAMPLE, _SAMPLE, 8 * _SAMPLE)
    form = b"fmt " + struct.pack("<I", len(layout)) + layout
    unknown = struct.pack("<I", _UNKNOWN)
    return b"RIFF" + unknown + b"WAVE" + form + b"data" + unknown


def whole_wav(samples: bytes, rate: int) -> bytes:
    """Return a file of these samples.

    Args:
        rate: samples a second.
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(_MONO)
        writer.setsampwidth(_SAMPLE)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()
