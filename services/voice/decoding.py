"""Recordings of browsers and phones as samples, read with PyAV (FFmpeg).

An upload is a stranger's file, and FFmpeg reads formats that name other files and addresses, that state a million
samples in a few bytes, or that unpack to gigabytes. Hence lists of the containers and codecs that people record in, and
nothing else; a bound on what FFmpeg may allocate at once; and an eye on the deadline and the length while it decodes.
"""

import ctypes
import io
from collections.abc import Iterator
from contextlib import suppress

import av
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from models.deadline import Deadline
from models.errors import Invalid, TooLarge
from models.voice import RECORDING_RATE, Recording, Upload
from services.voice.notes import has_too_many_notes
from services.voice.tags import without_tags

_CONTAINERS = "mp3,wav,ogg,flac,aac,amr,caf,aiff,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
_PCM = "alaw mulaw s8 u8 s16le s16be s24le s24be s32le s32be f32le f32be f64le f64be"
_CODECS = frozenset(
    "opus libopus vorbis speex mp3 mp3float aac alac flac amrnb amrwb libopencore_amrnb libopencore_amrwb gsm gsm_ms "
    "adpcm_ms adpcm_ima_wav adpcm_ima_qt".split()
) | {f"pcm_{form}" for form in _PCM.split()}
_MOST_STREAMS = 16  # a phone's video has up to seven: picture, sound, and what its sensors said
_OPTIONS = {
    "format_whitelist": _CONTAINERS,
    "codec_whitelist": ",".join(sorted(_CODECS)),  # holds while FFmpeg looks what is in a file
    "protocol_whitelist": "none",  # no such protocol: what is to be read is here already
    "max_streams": str(_MOST_STREAMS),
    "ignore_chapters": "1",  # of mp4, where another track may hold them
    "max_probe_packets": "8",  # FFmpeg looks for other codecs in the samples of a WAV file, else in half a megabyte
}
_LEAST_RATE, _MOST_RATE = 4_000, 192_000
_MOST_CHANNELS = 8
_MOST_SILENT_PACKETS = 10_000
_ALLOCATED_AT_ONCE = 8 * 2**20
_INDEX_BYTES_A_SECOND = 1_200  # of an m4a: 47 entries of 24 bytes


class PyAvDecoder:
    """Implement `AudioDecoder`. Of a file with several tracks the first one with sound is read.

    Args:
        max_seconds: how long a recording may be.
    """

    def __init__(self, max_seconds: int) -> None:
        self._max_seconds = max_seconds
        # The index of an m4a may be stated in a few bytes and fill gigabytes. PyAV does not hand this bound out.
        most = _ALLOCATED_AT_ONCE + max_seconds * _INDEX_BYTES_A_SECOND
        ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(most))

    def decode(self, upload: Upload, deadline: Deadline) -> Recording:
        """Return the sound of an upload; raises as `AudioDecoder.decode`."""
        sound = _Sound(self._max_seconds)
        with suppress(FFmpegError):  # what came before is the readable part
            for frame in _of_samples(upload) if upload.sample_rate else _of_file(upload, deadline):
                sound.add(frame)
        with suppress(FFmpegError):
            sound.end()
        deadline.check()
        if not sound.samples:
            raise _unreadable()
        return Recording(bytes(sound.samples), upload)


class _Sound:
    """What was decoded so far, in the form of a recording.

    Attributes:
        samples: signed 16 bit, little endian, mono, `RECORDING_RATE` a second.
    """

    def __init__(self, max_seconds: int) -> None:
        self.samples = bytearray()
        self._max_seconds = max_seconds
        self._form: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None
        self._gathered = AudioFifo()  # a second at a time: frames of 20 ms cost the resampler a third more

    def add(self, frame: AudioFrame) -> None:
        """Add a frame; it may be of another form than the one before, as in joined files."""
        form = frame.format.name, frame.layout.name, frame.sample_rate
        if form != self._form:
            if frame.layout.nb_channels > _MOST_CHANNELS or not _LEAST_RATE <= frame.sample_rate <= _MOST_RATE:
                raise _unreadable()
            self.end()
            self._form, self._resampler = form, AudioResampler("s16", "mono", RECORDING_RATE)
            self._gathered = AudioFifo()
        frame.pts = None  # its place is behind the one before, whatever the file says
        self._gathered.write(frame)
        if self._gathered.samples >= frame.sample_rate:
            self._resample(self._gathered.read())

    def end(self) -> None:
        """Add what was gathered, and what the resampler still holds."""
        rest = self._gathered.read()
        if rest is not None:
            self._resample(rest)
        self._resample(None)

    def _resample(self, frame: AudioFrame | None) -> None:
        for made in self._resampler.resample(frame) if self._resampler else ():
            if made is not None:  # without anything to change, it returns what it was given
                self.samples += memoryview(made.planes[0])[: 2 * made.samples]
        if len(self.samples) > 2 * RECORDING_RATE * self._max_seconds:
            raise TooLarge(
                f"The recording is longer than {self._max_seconds} s. Send a shorter one, or raise MAX_AUDIO_SECONDS.",
                code="audio_too_long",
            )


class _File(io.BytesIO):
    """An upload that ends with the deadline: FFmpeg takes no errors from the file that it reads."""

    def __init__(self, content: bytes, deadline: Deadline) -> None:
        super().__init__(content)
        self._deadline = deadline

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, b"" once nobody waits any more."""
        return b"" if self._deadline.cancelled or not self._deadline.remaining() else super().read(size)


def _of_file(upload: Upload, deadline: Deadline) -> Iterator[AudioFrame]:
    content = without_tags(upload.content)
    if has_too_many_notes(content, deadline):
        raise _unreadable()
    file = _File(content, deadline)
    with av.open(file, "r", options=dict(_OPTIONS), metadata_errors="replace") as container:
        if not container.streams.audio:
            return
        stream = container.streams.audio[0]
        if stream.codec_context and stream.codec_context.name in _CODECS:
            yield from _frames(container, stream, deadline)


def _frames(container: InputContainer, stream: AudioStream, deadline: Deadline) -> Iterator[AudioFrame]:
    silent = 0
    for packet in container.demux(stream):
        deadline.check()
        frames: list[AudioFrame] = []
        with suppress(FFmpegError):  # a damaged packet costs its own sound only
            frames = packet.decode()
        silent = 0 if frames else silent + 1
        if silent > _MOST_SILENT_PACKETS:
            return
        yield from frames


def _of_samples(upload: Upload) -> Iterator[AudioFrame]:
    rate = upload.sample_rate or RECORDING_RATE
    samples = memoryview(upload.content)[: len(upload.content) // 2 * 2]
    for start in range(0, len(samples), 2 * rate):
        second = samples[start : start + 2 * rate]
        frame = AudioFrame("s16", "mono", len(second) // 2)
        frame.sample_rate = rate
        frame.planes[0].update(bytes(second))
        yield frame


def _unreadable() -> Invalid:
    return Invalid(
        "No sound can be read in this file. Send webm, ogg, mp3, m4a, mp4, wav or flac, or samples with `sample_rate`.",
        code="audio_unreadable",
    )
