"""A melody that is told again after any encoder, and the files that ffmpeg makes of it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from shutil import which
from types import MappingProxyType

import numpy as np

from models.voice import RECORDING_RATE
from services.voice.wav import whole_wav
from tests.servers import missing

NOTES = (400, 1200, 700, 2000)
"""Hertz, half a second each."""
SECONDS = 0.5 * len(NOTES)

FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "opus-48k-stereo.webm": "-ar 48000 -ac 2 -c:a libopus -b:a 32k",
        "live-without-lengths.webm": "-c:a libopus -f webm -live 1",
        "opus.mkv": "-c:a libopus",
        "opus.ogg": "-c:a libopus -b:a 24k",
        "vorbis.ogg": "-c:a libvorbis -ar 44100",
        "speex.ogg": "-c:a libspeex",
        "constant.mp3": "-c:a libmp3lame -ar 44100 -b:a 64k",
        "variable.mp3": "-c:a libmp3lame -ar 22050 -q:a 4",
        "bare-frames.mp3": "-c:a libmp3lame -ar 24000 -write_xing 0 -id3v2_version 0",
        "aac.m4a": "-c:a aac -ar 44100",
        "alac.m4a": "-c:a alac",
        "front.mp4": "-c:a aac -ar 48000 -ac 2 -movflags +faststart",
        "fragmented.mp4": "-c:a aac -movflags +frag_keyframe+empty_moov+default_base_moof",
        "adts.aac": "-c:a aac -ar 44100",
        "lossless.flac": "-c:a flac -ar 44100 -ac 2",
        "alac.caf": "-c:a alac",
        "pcm.caf": "-c:a pcm_s16le",
        "8-bit.wav": "-c:a pcm_u8 -ar 8000",
        "16-bit-44k-stereo.wav": "-c:a pcm_s16le -ar 44100 -ac 2",
        "24-bit-48k.wav": "-c:a pcm_s24le -ar 48000",
        "float-32k.wav": "-c:a pcm_f32le -ar 32000",
        "a-law-8k.wav": "-c:a pcm_alaw -ar 8000",
        "mu-law-8k.wav": "-c:a pcm_mulaw -ar 8000",
        "adpcm-ms.wav": "-c:a adpcm_ms",
        "adpcm-ima.wav": "-c:a adpcm_ima_wav",
        "gsm-ms.wav": "-c:a libgsm_ms -ar 8000",
        "pcm.aiff": "-c:a pcm_s16be",
        "six-channels.wav": "-c:a pcm_s16le -ac 6",
    }
)
"""Name of a file -> what ffmpeg is told to make it of a melody."""


def melody(rate: int = RECORDING_RATE) -> bytes:
    """Return samples (signed 16 bit, little endian, mono) of the notes, one after the other."""
    length = np.arange(rate // 2) / rate
    notes = [np.sin(2 * np.pi * note * length) for note in NOTES]
    samples: bytes = (np.concatenate(notes) * 12_000).astype("<i2").tobytes()
    return samples


def notes_in(samples: bytes, rate: int = RECORDING_RATE) -> list[int]:
    """Return the loudest frequency in the middle of each half second, in steps of 100 Hz."""
    sound = np.frombuffer(samples[: len(samples) // 2 * 2], "<i2").astype(float)
    found = []
    for start in range(0, len(sound) - rate // 4, rate // 2):
        middle = sound[start + rate // 8 : start + rate * 3 // 8]
        loudest = int(np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))))
        found.append(round(loudest * rate / len(middle) / 100) * 100)
    return found


def ffmpeg() -> str:
    """Return the path of ffmpeg, with which the test is skipped where it is missing."""
    return which("ffmpeg") or missing("ffmpeg is not installed: apt-get install ffmpeg")


def encoded(folder: Path) -> dict[str, bytes]:
    """Return the melody in each of the formats, made by one run of ffmpeg."""
    source = folder / "melody.wav"
    source.write_bytes(whole_wav(melody(), RECORDING_RATE))
    files = {name: folder / name for name in FORMATS}
    outputs = [word for name, file in files.items() for word in (*FORMATS[name].split(), str(file))]
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-i", str(source), *outputs], check=True)
    return {name: file.read_bytes() for name, file in files.items()}
