"""Speech as MP3 and WAV: whole frames that can follow each other, and headers of unknown length."""

import io
import random
import struct
import wave
from collections.abc import Callable

import av
import pytest

from services.voice.encoding import Mp3Encoder
from services.voice.mp3 import Mp3Joiner
from services.voice.wav import wav_header, whole_wav
from tests.corpus.sounds import NOTES, melody, notes_in

RATE = 24_000


def encoded(samples: bytes, rate: int = RATE) -> bytes:
    encoder = Mp3Encoder(rate)
    return encoder.encode(samples) + encoder.finish()


FRAMES = encoded(melody(RATE))
SIZE = 192
"""Bytes of each frame: 64 kbit/s at 24 kHz."""


def joined(file: bytes, cuts: Callable[[], int] = lambda: 1_000_000) -> bytes:
    joiner, frames, at = Mp3Joiner(), b"", 0
    while at < len(file):
        size = cuts()
        frames += joiner.feed(file[at : at + size])
        at += size
    return frames + joiner.finish()


def samples_of(file: bytes) -> tuple[bytes, int]:
    """Return what PyAV decodes, and its rate."""
    with av.open(io.BytesIO(file), "r") as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("s16", "mono", stream.rate)
        frames = [made for frame in container.decode(stream) for made in resampler.resample(frame)]
        return b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in frames), stream.rate


def tagged(frames: bytes) -> bytes:
    """Return an MP3 file as FFmpeg writes one: with ID3v2 and a frame that counts the others."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        container.metadata["title"] = "A sentence"
        stream = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        stream.bit_rate = 64_000
        frame = av.AudioFrame("s16p", "mono", len(frames) // 2)
        frame.sample_rate = RATE
        frame.planes[0].update(frames)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def id3v2(size: int, flags: int = 0) -> bytes:
    length = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\x04\0" + bytes((flags,)) + length + b"\xff\xfb\x90\x64" * (size // 4) + bytes(size % 4)
    return tag + (b"3DI\x04\0" + bytes((flags,)) + length if flags & 0x10 else b"")


def ape(size: int) -> bytes:
    def edge(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, size + 32, 1, flags) + bytes(8)

    return edge(0xA0000000) + b"\xff\xf3\x84\xc4" * (size // 4) + edge(0x80000000)


def counting(mark: bytes) -> bytes:
    """Return a frame that holds no sound: Xing and Info stand behind 9 bytes of side information, VBRI at byte 36."""
    frame = bytearray(FRAMES[:4] + bytes(SIZE - 4))
    place = 36 if mark == b"VBRI" else 13
    frame[place : place + 4] = mark
    return bytes(frame)


FILES = {
    "nothing": FRAMES,
    "id3v2": id3v2(300) + FRAMES,
    "id3v2 with a footer, twice": id3v2(300, 0x10) + id3v2(5) + FRAMES,
    "a long id3v2": id3v2(70_000) + FRAMES,
    "id3v1": FRAMES + b"TAG" + b"\xff\xf3\x84\xc4" * 31 + b"\0",
    "ape before and behind": ape(200) + FRAMES + ape(40),
    "ape without a header": FRAMES + b"key\0value" + ape(0)[32:],
    "ape without a header in the middle": FRAMES[: SIZE * 9] + b"key\0" + ape(900)[-32:] + FRAMES[SIZE * 9 :],
    "xing": counting(b"Xing") + FRAMES,
    "info": id3v2(10) + counting(b"Info") + FRAMES,
    "vbri": counting(b"VBRI") + FRAMES,
    "everything": id3v2(9) + ape(8) + counting(b"Info") + FRAMES + ape(4) + b"TAG" + bytes(125),
    "junk before": b"\xff\xf3\xff\xfb\x90 text \xff\xe2" * 9 + FRAMES,
    "junk behind": FRAMES + b"\0\xff no frame \xff\xfb" * 9,
    "a last frame that is cut": FRAMES + FRAMES[: SIZE - 1],
    "files one after the other": (id3v2(3) + counting(b"Xing") + FRAMES[: SIZE * 40])
    + (id3v2(3) + counting(b"Xing") + FRAMES[SIZE * 40 :]),
}


@pytest.mark.parametrize("kind", FILES)
def test_only_frames_of_sound_are_left_whatever_the_pieces(kind: str) -> None:
    chance = random.Random(len(kind))
    sizes: list[Callable[[], int]] = [lambda: 10**6, lambda: 1, lambda: 3, lambda: chance.randint(1, 700)]
    for cuts in sizes:
        assert joined(FILES[kind], cuts) == FRAMES


def test_zeros_before_the_first_frame_cost_nothing_wherever_they_end() -> None:
    for length in range(0, 90):
        assert joined(bytes(length) + FRAMES[: SIZE * 4], lambda: 1) == FRAMES[: SIZE * 4]


def test_a_single_frame_counts_before_a_tag_and_before_the_end() -> None:
    for behind in (b"", b"TAG" + bytes(125), ape(4), b"\xff"):
        assert joined(FRAMES[:SIZE] + behind) == FRAMES[:SIZE]


def test_junk_in_the_middle_costs_no_whole_frame() -> None:
    for junk in (b"\0" * 50, b"\xff\xf3" * 30, b"ID3\xff nothing", b"TAGS are not tags" * 3):
        assert (
            joined(FRAMES[: SIZE * 7] + junk + FRAMES[SIZE * 7 :])
            in (
                FRAMES,  # "TAG" behind a frame is ID3v1 for 128 bytes: then a frame goes with it
                FRAMES[: SIZE * 7] + FRAMES[SIZE * 8 :],
            )
        )


def test_any_cut_frames_are_dropped_and_no_others() -> None:
    for cut in range(1, SIZE * 3, 7):
        assert joined(FRAMES[:-cut]) == FRAMES[: len(FRAMES) - cut - (len(FRAMES) - cut) % SIZE]


def test_frames_go_on_as_soon_as_they_are_whole() -> None:
    joiner, out = Mp3Joiner(), 0
    for at in range(0, len(FRAMES), 64):
        out += len(joiner.feed(FRAMES[at : at + 64]))
        assert out % SIZE == 0
        assert at + 64 - out <= 2 * SIZE + 64
    assert Mp3Joiner().finish() == joined(b"no sound at all") == joined(b"") == b""


@pytest.mark.parametrize(
    ("rate", "layout"), [(8000, "mono"), (16_000, "stereo"), (22_050, "mono"), (44_100, "stereo"), (48_000, "mono")]
)
def test_files_of_every_version_are_told(rate: int, layout: str) -> None:
    file, sizes = io.BytesIO(), []
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=rate, layout=layout)
        frame = av.AudioFrame("s16p", layout, rate)
        frame.sample_rate = rate
        for plane in frame.planes:
            plane.update(melody(rate)[: 2 * rate])
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            sizes.append(packet.size)
            container.mux(packet)
    assert b"Info" in file.getvalue() or b"Xing" in file.getvalue()
    frames = joined(file.getvalue(), lambda: 100)
    assert (len(frames), b"Info" in frames, b"Xing" in frames) == (sum(sizes), False, False)


def test_sentences_are_valid_alone_and_together() -> None:
    sentences = [joined(tagged(melody(RATE)[: 2 * RATE * tenths // 10])) for tenths in (5, 12, 20)]
    lengths = []
    for sentence in sentences:
        samples, rate = samples_of(sentence)
        lengths.append(len(samples))
        assert (rate, b"Info" in sentence, b"ID3" in sentence) == (RATE, False, False)
    together, _ = samples_of(b"".join(sentences))
    assert len(together) == sum(lengths)
    assert 3.7 < len(together) / 2 / RATE < 3.7 + 3 * 0.1
    with pytest.raises(av.error.InvalidDataError):  # as synthesizers write them, they do not follow each other
        samples_of(tagged(melody(RATE)) * 3)


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000])
def test_samples_become_frames_that_stand_alone(rate: int) -> None:
    chance = random.Random(rate)
    samples = melody(rate)
    whole = encoded(samples, rate)
    encoder, pieces, at = Mp3Encoder(rate), [], 0
    while at < len(samples):
        size = chance.choice((1, 3, 777, 5000))
        pieces.append(encoder.encode(samples[at : at + size]))
        at += size
    pieces.append(encoder.finish())
    assert b"".join(pieces) == whole == joined(whole)
    assert all(joined(piece) == piece for piece in pieces)
    assert all(map(_rests_on_nothing, pieces))
    heard, heard_rate = samples_of(whole)
    assert (heard_rate, notes_in(heard, rate)) == (rate, list(NOTES))
    assert 0 < len(heard) / 2 / rate - 2 < 0.12
    later, _ = samples_of(joined(whole[len(whole) // 2 :]))  # nothing of the first half is needed
    assert notes_in(later[-rate * 2 :], rate)[-1] == NOTES[-1]


def _rests_on_nothing(frames: bytes) -> bool:
    """Tell whether no frame of MPEG 2 says that its sound begins in one before it."""
    begins = [at for at in range(0, len(frames) - 4) if joined(frames[at:]) == frames[at:]]
    return all(frames[at + 4] == 0 for at in begins)


def test_no_samples_are_no_frames() -> None:
    encoder = Mp3Encoder(RATE)
    assert (encoder.encode(b""), encoder.encode(b"x"), encoder.finish()) == (b"", b"", b"")


def test_wav_headers_of_known_and_unknown_length() -> None:
    samples = melody(RATE)
    with wave.open(io.BytesIO(whole_wav(samples, RATE))) as reader:
        parameters = reader.getparams()
        assert (parameters.nchannels, parameters.sampwidth, parameters.framerate) == (1, 2, RATE)
        assert reader.readframes(parameters.nframes) == samples
    header = wav_header(RATE)
    assert (header[4:8], header[40:44], len(header)) == (b"\xff" * 4, b"\xff" * 4, 44)
    assert header[8:40] == whole_wav(samples, RATE)[8:40]
    assert samples_of(header + samples) == (samples, RATE)
