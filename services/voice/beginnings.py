"""How files begin: what begins like one is no bare samples, whatever else is wrong with it."""

import re

_FILE = re.compile(
    rb"RIFF.{4}(?:WAVE|AVI |WEBP)|FORM.{4}AIF|.{4}(?:ftyp|moov|mdat|wide)|fLaC|OggS|\x1a\x45\xdf\xa3|ID3[\x02-\x04]\0"
    rb"|caff|#!AMR|\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xe0-\xef]|GIF8|%PDF-|PK\x03\x04|ffconcat |#EXTM3U",
    re.DOTALL,
)
"""Sound, films, pictures, documents and playlists. MP3 without a tag is not among them: samples may begin like it."""


def is_file(content: bytes) -> bool:
    """Tell whether bytes begin as the files do that people send by mistake, or that were cut off on their way."""
    return _FILE.match(content) is not None
