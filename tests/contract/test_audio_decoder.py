"""What reads recordings: what browsers and phones record, what is broken, and what is made to do harm."""

import ctypes
import io
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, Invalid, TooLarge
from models.voice import RECORDING_RATE, Recording, Upload
from services.ports import AudioDecoder
from services.voice.decoding import PyAvDecoder
from services.voice.encoding import Mp3Encoder
from services.voice.wav import wav_header, whole_wav
from tests.corpus import hostile_sounds as hostile
from tests.corpus.sounds import FORMATS, NOTES, SECONDS, encoded, ffmpeg, melody, notes_in

_OPENED = 0x20  # IN_OPEN of inotify(7)


@pytest.fixture
def decoder() -> AudioDecoder:
    return PyAvDecoder(max_seconds=300)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return encoded(tmp_path_factory.mktemp("sounds"))


def decoded(decoder: AudioDecoder, content: bytes, sample_rate: int | None = None) -> Recording:
    return decoder.decode(Upload(content, sample_rate=sample_rate), Deadline(20))


def refusal(decoder: AudioDecoder, content: bytes, sample_rate: int | None = None) -> str:
    with pytest.raises(Invalid) as refused:
        decoded(decoder, content, sample_rate)
    return refused.value.code


class Counting(Deadline):
    """A deadline that counts how often it is asked, and is cancelled at one of these times."""

    def __init__(self, cancel_at: int = 0) -> None:
        super().__init__(20)
        self.checks = 0
        self._cancel_at = cancel_at

    def check(self) -> None:
        self.checks += 1
        if self.checks == self._cancel_at:
            self.cancel()
        super().check()


@pytest.mark.parametrize("name", FORMATS)
def test_what_browsers_and_phones_record_is_heard(decoder: AudioDecoder, files: dict[str, bytes], name: str) -> None:
    recording = decoded(decoder, files[name])
    assert SECONDS <= recording.seconds < SECONDS + 0.12
    assert notes_in(recording.samples) == list(NOTES)
    assert recording.upload.content == files[name]


@pytest.mark.parametrize("container", ["amr", "3gp"])
def test_what_old_phones_record_is_heard(decoder: AudioDecoder, container: str) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream("libopencore_amrnb", rate=8000, layout="mono")  # Debian's ffmpeg has no such encoder
        frame = av.AudioFrame("s16", "mono", len(melody(8000)) // 2)
        frame.sample_rate = 8000
        frame.planes[0].update(melody(8000))
        output.mux([*stream.encode(frame), *stream.encode(None)])
    recording = decoded(decoder, file.getvalue())
    assert abs(recording.seconds - SECONDS) < 0.1
    assert notes_in(recording.samples) == list(NOTES)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 41_000, 44_100, 48_000])
def test_bare_samples_are_heard(decoder: AudioDecoder, rate: int) -> None:
    recording = decoded(decoder, melody(rate), rate)
    assert abs(recording.seconds - SECONDS) < 0.01
    assert notes_in(recording.samples) == list(NOTES)


def test_half_a_sample_at_the_end_is_left_out(decoder: AudioDecoder) -> None:
    samples = melody()
    assert decoded(decoder, samples + b"\x7f", RECORDING_RATE).samples == samples
    assert refusal(decoder, b"\x7f", RECORDING_RATE) == "audio_unreadable"


def test_bare_samples_are_not_taken_for_a_file(decoder: AudioDecoder) -> None:
    for rate in (8000, 41_000, 44_100):
        assert refusal(decoder, melody(rate)) == "audio_unreadable"


def test_a_wav_of_unknown_length_is_heard(decoder: AudioDecoder) -> None:
    recording = decoded(decoder, wav_header(RECORDING_RATE) + melody())
    assert recording.samples == melody()


@pytest.mark.parametrize(
    "name",
    ["live-without-lengths.webm", "constant.mp3", "front.mp4", "adts.aac", "lossless.flac", "16-bit-44k-stereo.wav"],
)
def test_of_a_file_that_was_cut_off_the_readable_part_is_heard(
    decoder: AudioDecoder, files: dict[str, bytes], name: str
) -> None:
    content = files[name]
    recording = decoded(decoder, content[: len(content) * 3 // 5])
    assert 0.4 * SECONDS < recording.seconds < 0.8 * SECONDS
    assert notes_in(recording.samples)[:1] == list(NOTES)[:1]


def test_damaged_places_cost_their_own_sound_only(decoder: AudioDecoder, files: dict[str, bytes]) -> None:
    content = bytearray(files["bare-frames.mp3"])
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    recording = decoded(decoder, bytes(content))
    assert SECONDS - 0.3 < recording.seconds < SECONDS
    assert notes_in(recording.samples)[:2] == list(NOTES)[:2]


def test_a_stream_may_change_its_form(decoder: AudioDecoder) -> None:
    parts = [Mp3Encoder(rate).encode(melody(rate)) for rate in (24_000, 16_000)]
    recording = decoded(decoder, b"".join(parts))
    assert notes_in(recording.samples[: RECORDING_RATE * 4])[:2] == list(NOTES)[:2]
    assert 3.5 < recording.seconds < 4.2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        b"\xff\xfb" * 5000,
        b"What is the leave policy? " * 400,
        b"<html><body>No sound here</body></html>",
        b"%PDF-1.7\n" + bytes(2000),
        b"ID3\x04\0\0\0\0\x0f\x76" + bytes(2000),
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0",
        b"OggS\0\x02" + bytes(300),
        b"\x1a\x45\xdf\xa3" + bytes(300),
        random.Random(7).randbytes(50_000),
    ],
    ids=["empty", "zeros", "syncs", "text", "html", "pdf", "tag", "wav", "ogg", "webm", "noise"],
)
def test_what_has_no_sound_is_unreadable(decoder: AudioDecoder, content: bytes) -> None:
    assert refusal(decoder, content) == "audio_unreadable"


def test_what_nobody_records_in_is_not_decoded(decoder: AudioDecoder, tmp_path: Path) -> None:
    kinds = {"codec.mkv": "-c:a ac3", "container.au": "", "channels.wav": "-af aformat=channel_layouts=hexadecagonal"}
    files = {name: tmp_path / name for name in kinds}
    tone = "-v error -f lavfi -i sine=500:r=48000:d=0.5".split()
    outputs = [word for name, file in files.items() for word in (*kinds[name].split(), str(file))]
    subprocess.run([ffmpeg(), *tone, *outputs], check=True)
    for file in files.values():
        assert refusal(decoder, file.read_bytes()) == "audio_unreadable"


def test_packets_without_sound_are_given_up(decoder: AudioDecoder) -> None:
    file, deadline = io.BytesIO(), Counting()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("aac", rate=RECORDING_RATE, layout="mono")
        for number in range(25_000):
            packet = av.Packet(b"\x21junk")
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 1000)
            output.mux(packet)
    with pytest.raises(Invalid):
        decoder.decode(Upload(file.getvalue()), deadline)
    assert 10_000 < deadline.checks < 10_100


def test_a_film_without_sound_is_unreadable_and_one_with_sound_is_heard(decoder: AudioDecoder, tmp_path: Path) -> None:
    silent, film, source = (tmp_path / name for name in ("silent.mp4", "film.mp4", "melody.wav"))
    source.write_bytes(whole_wav(melody(), RECORDING_RATE))
    picture = f"-v error -f lavfi -i color=red:s=64x64:r=10:d={SECONDS:g}".split()
    outputs = ["-map", "0:v", "-c:v", "mpeg4", str(silent), "-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", str(film)]
    subprocess.run([ffmpeg(), *picture, "-i", str(source), *outputs], check=True)
    assert refusal(decoder, silent.read_bytes()) == "audio_unreadable"
    assert notes_in(decoded(decoder, film.read_bytes()).samples) == list(NOTES)


def test_what_is_too_long_is_refused_while_it_is_read(files: dict[str, bytes]) -> None:
    decoder = PyAvDecoder(max_seconds=1)
    for content, rate in ((files["opus.ogg"], None), (melody(8000), 8000)):
        with pytest.raises(TooLarge) as refused:
            decoded(decoder, content, rate)
        assert (refused.value.code, "MAX_AUDIO_SECONDS" in refused.value.detail) == ("audio_too_long", True)


def test_half_an_hour_of_silence_in_a_small_file_is_not_unpacked(tmp_path: Path) -> None:
    file, deadline = tmp_path / "silence.flac", Counting()
    silence = "-v error -f lavfi -i anullsrc=r=8000:cl=mono -t 1800 -c:a flac -compression_level 0".split()
    subprocess.run([ffmpeg(), *silence, str(file)], check=True)
    assert file.stat().st_size < 1_200_000
    with pytest.raises(TooLarge):
        PyAvDecoder(max_seconds=60).decode(Upload(file.read_bytes()), deadline)
    assert deadline.checks < 6_000  # of 150,000


@pytest.mark.parametrize("rate", [1, 999, 200_001, 4_000_000_000])
def test_absurd_rates_are_refused(decoder: AudioDecoder, rate: int) -> None:
    assert refusal(decoder, hostile.wav_stating(rate, 1, min(1.0, 50_000 / rate))) == "audio_unreadable"


def test_absurd_numbers_of_channels_are_refused(decoder: AudioDecoder) -> None:
    for channels in (9, 64, 4000):
        assert refusal(decoder, hostile.wav_stating(8000, channels, 0.2)) == "audio_unreadable"


def test_a_cancelled_call_ends_before_and_while_it_reads(decoder: AudioDecoder, files: dict[str, bytes]) -> None:
    gone, late = Deadline(20), Deadline(0.0)
    gone.cancel()
    for deadline, error in ((gone, CallCancelled), (late, DeadlineExceeded)):
        with pytest.raises(error):
            decoder.decode(Upload(files["opus.ogg"]), deadline)

    leaving = Counting(cancel_at=20)
    with pytest.raises(CallCancelled):
        decoder.decode(Upload(files["opus.ogg"]), leaving)
    assert leaving.checks == 20


@contextmanager
def watched(folder: Path) -> Iterator[Callable[[], bool]]:
    """Give what tells whether any file of the folder has been opened since."""
    libc = ctypes.CDLL(None, use_errno=True)
    notices = libc.inotify_init1(os.O_NONBLOCK)
    assert notices >= 0 and libc.inotify_add_watch(notices, str(folder).encode(), _OPENED) >= 0

    def was_opened() -> bool:
        try:
            return bool(os.read(notices, 4096))
        except BlockingIOError:
            return False

    try:
        yield was_opened
    finally:
        os.close(notices)


@contextmanager
def listening() -> Iterator[tuple[int, Callable[[], bool]]]:
    """Give a port of TCP, and what tells whether somebody has come."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)

        def has_come() -> bool:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        yield listener.getsockname()[1], has_come


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux'")
def test_no_upload_has_a_file_of_the_server_read(
    decoder: AudioDecoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "canary.wav").write_bytes(whole_wav(melody(), RECORDING_RATE))
    place = str(tmp_path / "canary.wav")
    script, alias = hostile.concat_script("canary.wav"), hostile.mov_of_other_file(place, 1000)
    uploads = [
        script,
        alias,
        hostile.mov_of_other_file("canary.wav", 1000),
        *map(hostile.concat_script, (place, f"file:{place}", f"subfile,,start,0,end,0,,:{place}")),
        *map(hostile.hls_playlist, ("canary.wav", f"file://{place}")),
        *map(hostile.dash_manifest, ("canary.wav", f"file://{place}")),
        f"#EXTM3U\n{place}\n".encode(),
        place.encode(),
        b"concat:canary.wav|canary.wav",
    ]
    with watched(tmp_path) as was_opened:
        for upload in uploads:
            assert refusal(decoder, upload) == "audio_unreadable"
            assert not was_opened(), upload[:80]
        # without what the decoder tells it, FFmpeg reads the server's file
        with av.open(io.BytesIO(script), "r") as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) == len(melody()) // 2
        assert was_opened()
        with av.open(io.BytesIO(alias), "r", options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) == 1000
        assert was_opened()


def test_no_upload_opens_a_connection(decoder: AudioDecoder) -> None:
    with listening() as (port, has_come):
        address = f"http://127.0.0.1:{port}/sound.ts"
        schemes = [address, f"tcp://127.0.0.1:{port}", f"rtmp://127.0.0.1:{port}/a", f"cache:{address}"]
        makers = (hostile.concat_script, hostile.hls_playlist, hostile.dash_manifest)
        uploads = [make(scheme) for make in makers for scheme in schemes]
        for upload in (*uploads, hostile.session_description(port), hostile.mov_of_other_file(address, 1000)):
            assert refusal(decoder, upload) == "audio_unreadable"
            assert not has_come(), upload[:80]
        socket.create_connection(("127.0.0.1", port)).close()
        assert has_come()


def test_small_files_that_state_much_fill_no_memory(tmp_path: Path) -> None:
    bombs = [
        hostile.packed_header_bomb(100_000_000),
        hostile.index_bomb(tracks=1, samples=10_000_000),
        hostile.index_bomb(tracks=60, samples=340_000),
    ]
    for number, bomb in enumerate(bombs):
        (tmp_path / str(number)).write_bytes(bomb)
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from models.deadline import Deadline; from models.errors import Invalid; from models.voice import Upload\n"
        "from services.voice.decoding import PyAvDecoder\n"
        "decoder = PyAvDecoder(300)\n"
        "for name in '012':\n"
        "  content = (Path(sys.argv[1]) / name).read_bytes()\n"
        "  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "  try: decoder.decode(Upload(content), Deadline(20))\n"
        "  except Invalid as error: print(error.code)\n"
        "  print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    said = run.stdout.split()
    assert (said[::2], run.stderr) == (["audio_unreadable"] * 3, "")
    header, index, tracks = map(int, said[1::2])  # kB
    assert (header < 50_000, index < 50_000, tracks < 180_000) == (True, True, True), said


def test_memory_stays_flat_and_threads_do_not_disturb_each_other(
    decoder: AudioDecoder, files: dict[str, bytes]
) -> None:
    names = ["opus.ogg", "constant.mp3", "aac.m4a", "lossless.flac", "opus-48k-stereo.webm"]
    alone = {name: decoded(decoder, files[name]).samples for name in names}
    ready = threading.Barrier(8)

    def work(number: int) -> bool:
        ready.wait()
        return all(decoded(decoder, files[name]).samples == alone[name] for name in names[number % 5 :] + names)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
        before = _resident()
        for number in range(200):
            decoded(decoder, files[names[number % 5]] if number % 2 else files["bare-frames.mp3"][: 2000 + number])
        assert _resident() - before < 8 * 2**20


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], decoder: AudioDecoder, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        if name.endswith(("mp3", "m4a", "webm", "wav")):
            damaged = content[: len(content) // 2] + struct.pack(">Q", 2**63) * 20
            try:
                decoded(decoder, damaged)
            except Invalid as error:
                assert error.code == "audio_unreadable"
    assert capfd.readouterr() == ("", "")


def test_what_came_before_a_file_breaks_off_is_heard_to_its_end(decoder: AudioDecoder, files: dict[str, bytes]) -> None:
    aac = files["adts.aac"]
    whole = aac[: aac.rindex(b"\xff\xf1", 0, len(aac) * 3 // 4)]  # no whole second: that is what is gathered
    broken = whole + b"\xff\xf1" + bytes(100)  # a frame that is shorter than its header
    assert decoded(decoder, broken).samples == decoded(decoder, whole).samples
