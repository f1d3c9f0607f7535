"""Files of sound that name other files, or that state far more than they have."""

import struct
import zlib
from collections.abc import Iterable

_RATE = 16_000


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box of ISO/IEC 14496-12, which m4a and mov files are made of."""
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full_box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box with a version and flags, all 0."""
    return box(kind, bytes(4), *parts)


def numbers(*values: int) -> bytes:
    """Return 32-bit numbers, big endian."""
    return struct.pack(f">{len(values)}I", *values)


def concat_script(path: str) -> bytes:
    """Return a script that tells FFmpeg to read another file."""
    return f"ffconcat version 1.0\nfile '{path}'\n".encode()


def hls_playlist(address: str) -> bytes:
    """Return a playlist whose only piece is somewhere else."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n".encode()


def session_description(port: int) -> bytes:
    """Return an SDP that tells to receive sound at a port."""
    return f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=audio {port} RTP/AVP 0\r\n".encode()


def dash_manifest(address: str) -> bytes:
    """Return an MPEG-DASH manifest whose only representation is somewhere else."""
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet '
        f'mimeType="audio/mp4"><Representation id="1"><BaseURL>{address}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>"
    ).encode()


def mov_of_other_file(path: str, samples: int) -> bytes:
    """Return a mov whose samples (16 bit, little endian, mono) are said to be in another file, as an alias of a Mac."""
    name = path.encode()
    alias = (
        bytes(10) + bytes((1, *b"V".ljust(27, b"\0"))) + bytes(12) + bytes((min(len(name), 63),))
        + name[:63].ljust(63, b"\0") + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
        + struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">HH", 0xFFFF, 0)
    )  # fmt: skip
    reference = full_box(b"dref", numbers(1), full_box(b"alis", alias))
    sound = bytes(6) + b"\0\1" + bytes(8) + struct.pack(">HHHHI", 1, 16, 0, 0, _RATE << 16)
    table = (numbers(1, samples, 1), numbers(1, 1, samples, 1), numbers(2, samples), numbers(1, 0))
    return _mov([_track(box(b"sowt", sound), table, box(b"dinf", reference))])


def index_bomb(tracks: int, samples: int) -> bytes:
    """Return an m4a of few bytes whose tracks say that they have so many samples of no length."""
    sound = bytes(6) + b"\0\1" + bytes(8) + struct.pack(">HHHHI", 2, 16, 0, 0, 44_100 << 16)
    table = (numbers(1, samples, 1024), numbers(1, 1, samples, 1), numbers(1, samples), numbers(1, 48))
    return _mov(_track(box(b"mp4a", sound), table) for _ in range(tracks))


def packed_header_bomb(size: int) -> bytes:
    """Return a mov whose header is packed with zlib and unpacks to so many bytes."""
    packed = zlib.compress(numbers(size) + b"moov" + bytes(size - 8), level=1)
    movie = box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", numbers(size), packed))
    return box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + box(b"moov", movie)


def wav_stating(rate: int, channels: int, seconds: float) -> bytes:
    """Return a WAV of silence, 8 bit, that states any rate and any number of channels."""
    samples = b"\x80" * int(rate * channels * seconds)
    layout = struct.pack("<HHIIHH", 1, channels, rate, rate * channels & 0xFFFFFFFF, channels & 0xFFFF, 8)
    content = b"WAVEfmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _track(entry: bytes, table: tuple[bytes, bytes, bytes, bytes], *media: bytes) -> bytes:
    kinds = (b"stts", b"stsc", b"stsz", b"stco")
    tables = [full_box(kind, content) for kind, content in zip(kinds, table, strict=True)]
    stored = box(b"stbl", full_box(b"stsd", numbers(1), entry), *tables)
    header = full_box(b"mdhd", numbers(0, 0, _RATE, _RATE), bytes(4))
    handler = full_box(b"hdlr", bytes(4), b"soun", bytes(13))
    return box(b"trak", full_box(b"tkhd", bytes(80)), box(b"mdia", header, handler, box(b"minf", *media, stored)))


def _mov(tracks: Iterable[bytes]) -> bytes:
    movie = box(b"moov", full_box(b"mvhd", bytes(96)), *tracks)
    return box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + movie + box(b"mdat", bytes(1000))
