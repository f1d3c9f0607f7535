"""Files of sound with far more said of them than any recording: titles, comments, chapters, tables for seeking.

Each function takes a number of notes, which are all different.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import islice, product
from types import MappingProxyType

import av
from av.audio.fifo import AudioFifo
from av.audio.resampler import AudioResampler

from services.voice.wav import whole_wav
from tests.corpus.hostile_sounds import box, full_box, numbers

_RATE = 16_000
_SILENCE = bytes(2 * _RATE)
_LETTERS = b"0123456789abcdefghijklmnopqrstuvwxyz"
_FLAC_HEAD = 4 + 4 + 34


def wav(notes: int) -> bytes:
    """Return a WAV with a list of `INFO`."""
    return _riff(b"RIFF", _chunk(b"LIST", b"INFO" + b"".join(_chunk(name, b"v") for name in _names(notes))))


def wav_of_64_bits(notes: int) -> bytes:
    """Return an RF64 (EBU Tech 3306) with a list of `INFO` for each note."""
    sizes = _chunk(b"ds64", struct.pack("<QQQI", 2**32 - 1, len(_SILENCE), len(_SILENCE) // 2, 0))
    lists = (_chunk(b"LIST", b"INFO" + _chunk(name, b"v")) for name in _names(notes))
    return _riff(b"RF64", b"".join(lists), sizes)


def wav_with_cues(notes: int) -> bytes:
    """Return a WAV with named places."""
    places = b"".join(struct.pack("<II4sIII", note, note, b"data", 0, 0, note) for note in range(notes))
    labels = (_chunk(b"labl", struct.pack("<I", note) + name) for note, name in enumerate(_names(notes)))
    return _riff(
        b"RIFF",
        _chunk(b"cue ", struct.pack("<I", notes) + places) + _chunk(b"LIST", b"adtl" + b"".join(labels)),
    )


def wav_with_id3(notes: int) -> bytes:
    """Return a WAV with an ID3 tag in it."""
    return _riff(b"RIFF", _chunk(b"id3 ", id3(notes)))


def mp3(notes: int) -> bytes:
    """Return an MP3 behind an ID3 tag."""
    return id3(notes) + _encoded("mp3", "libmp3lame")


def mp3_with_packed_chapter(notes: int) -> bytes:
    """Return an MP3 behind an ID3 tag with one chapter, which is packed and has the notes in it."""
    chapter = b"c\0" + struct.pack(">4I", 0, 1000, 2**32 - 1, 2**32 - 1) + _id3_frames(notes)
    packed = struct.pack(">I", len(chapter)) + zlib.compress(chapter)
    return _id3(b"CHAP" + _sevens(len(packed)) + b"\0\x09" + packed) + _encoded("mp3", "libmp3lame")


def mp3_with_pictures(pictures: int) -> bytes:
    """Return an MP3 behind an ID3 tag with pictures."""
    picture = b"\0image/png\0\3\0\x89PNG\r\n\x1a\n"
    return _id3(pictures * (b"APIC" + _sevens(len(picture)) + b"\0\0" + picture)) + _encoded("mp3", "libmp3lame")


def aac(notes: int) -> bytes:
    """Return an ADTS with an ID3 tag in the midst of it."""
    sound = _encoded("adts", "aac")
    return sound + id3(notes) + sound


def aac_with_ape(notes: int) -> bytes:
    """Return an ADTS before an APE tag of version 2."""
    items = b"".join(struct.pack("<II", 1, 0) + name + b"\0v" for name in _names(notes))
    length = struct.pack("<III", 2000, len(items) + 32, notes)
    head, foot = (b"APETAGEX" + length + flags + bytes(8) for flags in (b"\0\0\0\xa0", bytes(4)))
    return _encoded("adts", "aac") + head + items + foot


def aiff(notes: int) -> bytes:
    """Return an AIFF with an ID3 tag in it."""
    tag, sound = id3(notes), _encoded("aiff", "pcm_s16be")
    content = sound[12:] + b"ID3 " + struct.pack(">I", len(tag)) + tag
    return b"FORM" + struct.pack(">I", 4 + len(content)) + sound[8:12] + content


def caf(notes: int) -> bytes:
    """Return a CAF with information."""
    sound = _encoded("caf", "pcm_s16le")
    entries = struct.pack(">I", notes) + b"".join(name + b"\0v\0" for name in _names(notes))
    return _inserted(sound, sound.index(b"data"), b"info" + struct.pack(">Q", len(entries)) + entries)


def m4a(notes: int) -> bytes:
    """Return an m4a with titles in many languages, as QuickTime has them."""
    languages = islice(product(range(1, 27), repeat=3), notes)
    codes = (a << 10 | b << 5 | c for a, b, c in languages)
    return _m4a(box(b"udta", *(box(b"\xa9nam", struct.pack(">HH", 1, code), b"v") for code in codes)))


def m4a_of_itunes(notes: int) -> bytes:
    """Return an m4a with names of one's own."""
    value = box(b"data", numbers(1, 0), b"v")
    named = (box(b"----", full_box(b"mean", b"c"), full_box(b"name", name), value) for name in _names(notes))
    handler = full_box(b"hdlr", bytes(4), b"mdir", b"appl", bytes(9))
    return _m4a(box(b"udta", full_box(b"meta", handler, box(b"ilst", *named))))


def m4a_of_phones(notes: int) -> bytes:
    """Return an m4a with keys and values, as iPhones write them."""
    keys = full_box(b"keys", numbers(notes), *(box(b"mdta", name) for name in _names(notes)))
    values = (box(numbers(note), box(b"data", numbers(1, 0), b"v")) for note in range(1, notes + 1))
    return _m4a(box(b"meta", full_box(b"hdlr", bytes(4), b"mdta", bytes(13)), keys, box(b"ilst", *values)))


def m4a_with_packed_header(notes: int) -> bytes:
    """Return an m4a whose header is packed with zlib, as old versions of QuickTime could."""
    sound = m4a(notes)
    at = sound.index(b"moov") - 4
    header = sound[at:]
    packed = numbers(len(header)) + zlib.compress(header)
    return sound[:at] + box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", packed)))


def m4a_in_pieces(notes: int) -> bytes:
    """Return an m4a with tables of places, one entry each, from the last place to the first."""
    file = io.BytesIO()
    _encode(file, "mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"})
    ends = struct.pack(">HH", 0, 1) + numbers(100, 100, 0)
    tables = (full_box(b"sidx", numbers(1, _RATE, 0, 100 * note), ends) for note in range(notes, 0, -1))
    return _inserted(file.getvalue(), file.getvalue().index(b"moov") - 4, b"".join(tables))


def matroska(notes: int) -> bytes:
    """Return a Matroska with tags."""
    tags = (_element("67C8", _element("45A3", name) + _element("4487", b"v")) for name in _names(notes))
    return _matroska(_element("1254C367", _element("7373", b"".join(tags))))


def matroska_with_chapters(notes: int) -> bytes:
    """Return a Matroska with chapters."""
    chapters = (_element("B6", _element("73C4", numbers(n)) + _element("91", numbers(n))) for n in range(1, notes + 1))
    return _matroska(_element("1043A770", _element("45B9", b"".join(chapters))))


def matroska_with_cues(notes: int) -> bytes:
    """Return a Matroska with a table of places, from the last one to the first."""
    place = _element("B7", _element("F7", b"\1") + _element("F1", b"\1"))
    cues = (_element("BB", _element("B3", numbers(note)) + place) for note in range(notes, 0, -1))
    return _matroska(_element("1C53BB6B", b"".join(cues)))


def flac(notes: int, blocks: int = 1) -> bytes:
    """Return a second of silence with comments (RFC 9639, section 8.6), in some blocks."""
    content = _encoded("flac", "flac")
    parts = [b"\4" + len(part).to_bytes(3, "big") + part for part in _comments(notes, blocks)]
    return content[:4] + b"\0" + content[5:_FLAC_HEAD] + b"".join(parts) + content[_FLAC_HEAD:]


def flac_in_blocks(notes: int) -> bytes:
    """Return a FLAC with ten blocks of comments."""
    return flac(notes, 10)


def entangled_flac(beginnings: int) -> bytes:
    """Return what begins as FLAC in many places, from each of which a way leads through the next thousand."""
    row = b"fLaC\0\0\0\4" * 998 + b"fLaC\x80\0\0\4"
    return row * (beginnings // 999)


def ogg(notes: int, packets: int = 1) -> bytes:
    """Return a few packets of Opus behind comments (RFC 7845, section 5.2), in some packets."""
    head = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 0, 48_000, 0, 0)
    comments = [b"OpusTags" + part for part in _comments(notes, packets)]
    return _ogg([head, *comments, *[b"\xf8\xff\xfe"] * 5])


def ogg_in_packets(notes: int) -> bytes:
    """Return an Opus with ten packets of comments."""
    return ogg(notes, 10)


def ogg_of_flac(notes: int) -> bytes:
    """Return FLAC in Ogg (RFC 9639, section 10.1) with ten packets of comments."""
    content = _encoded("flac", "flac")
    first = b"\x7fFLAC\1\0\0\0" + content[:4] + b"\0" + content[5:_FLAC_HEAD]
    comments = [b"\4" + len(part).to_bytes(3, "big") + part for part in _comments(notes, 10)]
    frames = content[content.index(b"\xff\xf8") :].split(b"\xff\xf8")[1:]
    return _ogg([first, *comments, *(b"\xff\xf8" + frame for frame in frames)])


PASSED_OVER: Sequence[Callable[[int], bytes]] = (
    wav, wav_of_64_bits, wav_with_cues, wav_with_id3, mp3, mp3_with_packed_chapter, aac, aac_with_ape, aiff, caf,
    m4a, m4a_of_itunes, m4a_of_phones, m4a_in_pieces, matroska, matroska_with_chapters, matroska_with_cues,
)  # fmt: skip
"""What is heard, and nothing else read of it."""

REFUSED: Mapping[Callable[[int], bytes], int] = MappingProxyType(
    {flac: 30_000, flac_in_blocks: 30_000, ogg: 10_000, ogg_in_packets: 10_000, ogg_of_flac: 10_000}
)
"""What is refused with so many notes."""


def id3(notes: int) -> bytes:
    """Return a tag (ID3v2.4.0)."""
    return _id3(_id3_frames(notes))


def _names(count: int) -> list[bytes]:
    return [bytes(letters) for letters in islice(product(_LETTERS, repeat=4), count)]


def _riff(kind: bytes, parts: bytes, first: bytes = b"") -> bytes:
    sound = whole_wav(_SILENCE, _RATE)
    content = sound[8:12] + first + sound[12:36] + parts + sound[36:]
    return kind + struct.pack("<I", len(content)) + content


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _id3(frames: bytes) -> bytes:
    return b"ID3\4\0\0" + _sevens(len(frames)) + frames


def _id3_frames(notes: int) -> bytes:
    texts = (b"\3" + name + b"\0v" for name in _names(notes))
    return b"".join(b"TXXX" + _sevens(len(text)) + b"\0\0" + text for text in texts)


def _sevens(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def _m4a(part: bytes) -> bytes:
    """Return an m4a with something more at the end of its header, which is its own end."""
    sound = _encoded("ipod", "aac")
    at = sound.index(b"moov") - 4
    return sound[:at] + numbers(len(sound) - at + len(part)) + sound[at + 4 :] + part


def _inserted(content: bytes, at: int, part: bytes) -> bytes:
    return content[:at] + part + content[at:]


def _encoded(container: str, codec: str) -> bytes:
    file = io.BytesIO()
    _encode(file, container, codec, {})
    return file.getvalue()


def _encode(file: io.BytesIO, container: str, codec: str, options: dict[str, str]) -> None:
    """Write a second of silence."""
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=_RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame("s16", "mono", _RATE)
        frame.sample_rate = _RATE
        frame.planes[0].update(_SILENCE)
        made = AudioFifo()
        for part in AudioResampler(stream.format.name, "mono", _RATE).resample(frame):
            made.write(part)
        while (piece := made.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))


def _matroska(part: bytes) -> bytes:
    """Return a second of bare samples, and something before it."""
    codec = _element("86", b"A_PCM/INT/LIT") + _element("E1", _element("B5", struct.pack(">d", _RATE)))
    track = _element("D7", b"\1") + _element("73C5", b"\1") + _element("83", b"\2") + codec
    info = _element("1549A966", _element("2AD7B1", struct.pack(">I", 1_000_000)))
    sound = _element("1F43B675", _element("E7", b"\0") + _element("A3", b"\x81\0\0\x80" + _SILENCE))
    content = info + _element("1654AE6B", _element("AE", track)) + part + sound
    return _element("1A45DFA3", _element("4282", b"matroska")) + _element("18538067", content)


def _element(kind: str, content: bytes) -> bytes:
    """Return an element of Matroska (RFC 8794)."""
    return bytes.fromhex(kind) + (1 << 56 | len(content)).to_bytes(8, "big") + content


def _comments(notes: int, parts: int) -> list[bytes]:
    """Return comments of Vorbis."""
    entries, each = [name + b"=v" for name in _names(notes)], notes // parts
    return [
        struct.pack("<IsI", 1, b"x", each)
        + b"".join(struct.pack("<I", len(one)) + one for one in entries[each * part : each * (part + 1)])
        for part in range(parts)
    ]


def _ogg(packets: list[bytes]) -> bytes:
    """Return packets in pages of their own (RFC 3533, section 6)."""
    pages: list[bytes] = []
    for packet in packets:
        for at in range(0, len(packet), 255 * 255):
            flags = 2 if not pages else 1 if at else 0
            pages.append(_page(len(pages), flags, packet[at : at + 255 * 255], at + 255 * 255 >= len(packet)))
    return b"".join(pages)


def _page(number: int, flags: int, content: bytes, is_end: bool) -> bytes:
    table = bytes([255]) * (len(content) // 255) + (bytes([len(content) % 255]) if is_end else b"")
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, 960 * number if is_end else -1, 1, number)
    rest = bytes([len(table)]) + table + content
    return head + struct.pack("<I", _checksum(head + bytes(4) + rest)) + rest


def _checksum(page: bytes) -> int:
    """Return the checksum of a page: zlib's, with the bits of each byte and of the sum the other way round."""
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in page)
    return int(f"{zlib.crc32(turned, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2)
