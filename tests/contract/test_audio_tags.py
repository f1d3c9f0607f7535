"""What is said of sound in its file: FFmpeg, which compares each note with all others, does not get to see it."""

import io
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, Invalid
from models.voice import RECORDING_RATE, Recording, Upload
from services.ports import AudioDecoder
from services.voice.decoding import PyAvDecoder
from services.voice.notes import has_too_many_notes
from services.voice.tags import without_tags
from services.voice.wav import whole_wav
from tests.corpus import noted_sounds as noted
from tests.corpus.sounds import NOTES, ffmpeg, melody, notes_in

Noted = Callable[[int], bytes]

_MOST_OF_THEIR_OWN = 5
"""What FFmpeg tells of a file and its tracks without any tags: brands, languages, names of what wrote it."""

_WITH_COVER = {
    "cover.mp3": "-c:a libmp3lame -c:v copy -id3v2_version 3",
    "cover.m4a": "-c:a aac -c:v copy",
    "cover.flac": "-c:a flac -c:v copy",
}
_WITH_TAGS = {
    "title.webm": "-c:a libopus",
    "title.mkv": "-c:a libopus",
    "title.ogg": "-c:a libvorbis",
    "title.aac": "-c:a aac -write_id3v2 1",
    "title.caf": "-c:a pcm_s16le",
    "keys.m4a": "-c:a aac -movflags use_metadata_tags",
    "pieces.mp4": "-c:a aac -movflags dash -frag_duration 500000",
    "title.aiff": "-c:a pcm_s16be -write_id3v2 1",
    "broadcast.wav": "-c:a pcm_s16le -write_bext 1",
    "64-bit.wav": "-c:a pcm_s16le -rf64 always",
}


@pytest.fixture(scope="module")
def decoder() -> AudioDecoder:
    return PyAvDecoder(max_seconds=300)


def decoded(decoder: AudioDecoder, content: bytes) -> Recording:
    return decoder.decode(Upload(content), Deadline(20))


def notes_of(content: bytes) -> int:
    """Return how many tags, chapters and places FFmpeg finds."""
    with av.open(io.BytesIO(content), metadata_errors="replace") as container:
        chapters = container.chapters()
        tags = [container.metadata, *(stream.metadata for stream in container.streams)]
        tags += [chapter["metadata"] for chapter in chapters]
        return len(chapters) + sum(map(len, tags))


@pytest.mark.parametrize("file", noted.PASSED_OVER)
def test_what_is_said_of_the_sound_is_passed_over(decoder: AudioDecoder, file: Noted) -> None:
    many, none = file(60), file(0)
    if file not in {noted.m4a_in_pieces, noted.matroska_with_cues}:  # tables for seeking are no notes
        assert notes_of(many) >= 60
    assert notes_of(without_tags(many)) <= _MOST_OF_THEIR_OWN
    assert decoded(decoder, many).samples == decoded(decoder, none).samples
    assert decoded(decoder, none).seconds >= 1


def test_tables_for_seeking_are_passed_over() -> None:
    for file, name in ((noted.m4a_in_pieces, b"sidx"), (noted.matroska_with_cues, b"\x1c\x53\xbb\x6b")):
        assert (file(10).count(name), without_tags(file(10)).count(name)) in {(10, 0), (1, 0)}


def test_an_upload_is_decoded_without_what_is_said_of_it(decoder: AudioDecoder) -> None:
    many = noted.mp3_with_pictures(20)  # a picture is a track, and 16 of these are the most
    with pytest.raises(av.FFmpegError), av.open(io.BytesIO(many), options={"max_streams": "16"}):
        pass
    assert decoded(decoder, many).samples == decoded(decoder, noted.mp3_with_pictures(0)).samples


def test_an_mp4_with_a_track_of_chapters_is_heard(decoder: AudioDecoder, tmp_path: Path) -> None:
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/10\nSTART={n}\nEND={n + 1}\ntitle=c{n}\n" for n in range(10))
    (tmp_path / "chapters.txt").write_text(f";FFMETADATA1\n{chapters}")
    (tmp_path / "melody.wav").write_bytes(whole_wav(melody(), RECORDING_RATE))
    inputs = ["-i", str(tmp_path / "melody.wav"), "-i", str(tmp_path / "chapters.txt")]
    output = ["-map_chapters", "1", "-c:a", "aac", str(tmp_path / "chapters.m4a")]
    subprocess.run([ffmpeg(), "-v", "error", *inputs, *output], check=True)
    content = (tmp_path / "chapters.m4a").read_bytes()
    assert notes_of(content) >= 20
    assert notes_in(decoded(decoder, content).samples) == list(NOTES)


def test_a_packed_header_which_hides_what_is_said_is_refused(decoder: AudioDecoder) -> None:
    content = noted.m4a_with_packed_header(60)
    assert notes_of(content) >= 60
    with pytest.raises(Invalid) as refused:
        decoded(decoder, content)
    assert refused.value.code == "audio_unreadable"


@pytest.mark.parametrize("file", noted.REFUSED)
def test_comments_that_cannot_be_passed_over_are_refused_in_masses(decoder: AudioDecoder, file: Noted) -> None:
    with pytest.raises(Invalid) as refused:
        decoded(decoder, file(noted.REFUSED[file]))
    assert refused.value.code == "audio_unreadable"
    assert decoded(decoder, file(100)).samples == decoded(decoder, file(10)).samples != b""


def test_what_begins_in_many_places_is_not_walked_through_from_each() -> None:
    assert not has_too_many_notes(noted.entangled_flac(999)[-80:], Deadline(20))
    assert has_too_many_notes(noted.entangled_flac(2 * 999), Deadline(20))


def test_looking_for_comments_ends_with_whoever_waits() -> None:
    gone = Deadline(20)
    gone.cancel()
    for content in (noted.flac(10), noted.ogg(10)):
        with pytest.raises(CallCancelled):
            has_too_many_notes(content, gone)


def test_ogg_of_what_nobody_records_is_refused(decoder: AudioDecoder) -> None:
    for mark in (b"CELT    ", b"\x01audio"):
        assert not has_too_many_notes(noted.ogg(1), Deadline(20))
        assert has_too_many_notes(noted.ogg(1) + mark, Deadline(20))


def test_tags_before_tags_are_cut_off(decoder: AudioDecoder) -> None:
    sound, tag = noted.mp3(0), noted.id3(1)
    with_footer = tag[:5] + b"\x10" + tag[6:] + b"3DI" + tag[3:10]
    assert without_tags(20 * tag + with_footer + sound) == without_tags(sound)
    assert decoded(decoder, 20 * tag + with_footer + sound).samples == decoded(decoder, sound).samples
    assert b"ID3" not in without_tags(1_000 * tag + sound)  # no file has so many: what is left of them is junk


def test_a_wav_of_samples_alone_stays_as_it_is_whatever_they_look_like() -> None:
    samples = b"LIST" + bytes(96)
    bare = whole_wav(samples, 16_000)
    assert without_tags(bare) == bare
    behind = bare + b"LIST" + (26).to_bytes(4, "little") + b"INFOINAM" + (14).to_bytes(4, "little") + bytes(14)
    assert b"LIST" not in without_tags(behind), "what may be a part of the file is found"
    box = bare[:4] + b"ftyp" + bare[8:]
    assert b"LIST" not in without_tags(box), "nor does a file of another kind pass for one"


def test_a_tag_that_is_longer_than_its_file_leaves_nothing(decoder: AudioDecoder) -> None:
    with pytest.raises(Invalid):
        decoded(decoder, noted.mp3(10)[:100])


def test_what_encoders_write_with_tags_and_covers_is_heard(decoder: AudioDecoder, tmp_path: Path) -> None:
    (tmp_path / "melody.wav").write_bytes(whole_wav(melody(), RECORDING_RATE))
    picture = "-f lavfi -i color=red:s=64x64:d=0.04 -frames:v 1".split()
    subprocess.run([ffmpeg(), "-v", "error", *picture, str(tmp_path / "cover.png")], check=True)
    inputs = ["-i", str(tmp_path / "melody.wav"), "-i", str(tmp_path / "cover.png")]
    title = ["-metadata", "title=A melody", "-metadata", "artist=Somebody", "-metadata", "comment=Ω" * 100]
    outputs: list[str] = []
    for name, how in _WITH_COVER.items():
        outputs += ["-map", "0", "-map", "1", "-disposition:v", "attached_pic", *title, *how.split()]
        outputs.append(str(tmp_path / name))
    for name, how in _WITH_TAGS.items():
        outputs += ["-map", "0", *title, *how.split(), str(tmp_path / name)]
    subprocess.run([ffmpeg(), "-v", "error", *inputs, *outputs], check=True)
    for name in (*_WITH_COVER, *_WITH_TAGS):
        content = (tmp_path / name).read_bytes()
        assert notes_in(decoded(decoder, content).samples) == list(NOTES), name


def _id3(*frames: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack(">IH", len(text), 0) + text for name, text in frames)
    return b"ID3\3\0\0" + bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0)) + body


def test_titles_and_covers_between_frames_of_aac_cost_no_sound(decoder: AudioDecoder, tmp_path: Path) -> None:
    source, file = tmp_path / "melody.wav", tmp_path / "melody.aac"
    source.write_bytes(whole_wav(melody(), RECORDING_RATE))
    subprocess.run([ffmpeg(), "-v", "error", "-i", str(source), "-c:a", "aac", str(file)], check=True)
    aac = file.read_bytes()
    titles = _id3(*((name, b"\1" + "Uma can\xe7\xe3o".encode("utf-16")) for name in (b"TIT2", b"TPE1", b"TALB")))
    cover = _id3((b"APIC", b"\0image/png\0\3\0" + random.Random(1).randbytes(200_000)))
    joined = decoded(decoder, aac * 4)
    assert decoded(decoder, aac + titles + aac + cover + aac + titles + cover + aac + titles).samples == joined.samples


def test_tags_between_frames_of_aac_are_looked_for_in_bounded_time() -> None:
    assert b"ID3" not in without_tags(b"\xff\xf1" + b"ID3\3" * 3_000_000)
