"""The charset that an HTML file names. Apart from the others, as only who reads HTML loads what finds it."""

import codecs
import re

from bs4.dammit import EncodingDetector

_CHARSETS = re.compile(r"(?:utf|cp|iso8859|gb|hz|big5|shift_jis|euc_|koi8|mac-|tis-620)")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252"}  # as browsers read them


def declared_charset(content: bytes) -> str | None:
    """Return the charset that an HTML file names in its first kilobytes, if it is one to trust."""
    name = EncodingDetector.find_declared_encoding(content[:4096], is_html=True)
    try:
        charset = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        return None
    charset = _WIDER.get(charset, charset)
    return charset if _CHARSETS.match(charset) and not charset.startswith(("utf-16", "utf-32", "utf-7")) else None
