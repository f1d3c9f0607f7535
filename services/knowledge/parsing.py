"""Read the text out of md, txt and html files.

HTML is converted in a child process (`python -m services.knowledge.parsing`, HTML on its standard input, markdown on
its output) with limits of time and memory: nesting, unclosed comments and numbered lists make the libraries' work grow
with the square of the input, and a page of 10 MB of tags fills gigabytes.
"""

import codecs
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector
from markdownify import ATX, MarkdownConverter

from models.documents import ParsedText
from models.errors import Invalid, UnsupportedFormat
from services.knowledge.language import detect

SECONDS = 60
"""Processor time for one HTML file."""
MEMORY = 2 * 2**30
"""Bytes of address space for one HTML file; 10 MB of ordinary HTML need a sixth of it."""

_ROOT = Path(__file__).resolve().parents[2]
_HTML = frozenset({"html", "htm"})
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_CHARSETS = re.compile(r"(?:utf|cp|iso8859|gb|hz|big5|shift_jis|euc_|koi8|mac-|tis-620)")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252"}  # as browsers read them
_UNNESTED = {"p": "p", "li": "li", "dt": "dt", "dd": "dt"}
_MOST_UNNESTED = 2000  # moving a tag takes time in proportion to its siblings
_DROPPED = ["script", "style", "nav", "noscript", "template", "iframe", "svg", "head", "title", "button", "select"]
_UNREADABLE = "The file is not readable text. Save it as UTF-8 text, or upload it in its own format."


class TextParser:
    """Reads md and txt as they are, and html as markdown."""

    extensions = frozenset({"md", "txt"}) | _HTML

    def parse(self, filename: str, content: bytes) -> ParsedText:
        """Return the text of a file.

        Raises:
            UnsupportedFormat: the extension is not one of `extensions`.
            Invalid: code `unreadable_document` or `empty_document`.
        """
        extension = filename.rpartition(".")[2].lower() if "." in filename else ""
        if extension not in self.extensions:
            known = ", ".join(sorted(self.extensions))
            raise UnsupportedFormat(f"Files of this kind are not read. Upload one of: {known}.")
        text = _of_html(_decode(content, _declared(content))) if extension in _HTML else _decode(content)
        if not text.strip("\ufeff\u200b\u2060" + _SPACES):
            raise Invalid("The file has no text. Upload one that has.", code="empty_document")
        return ParsedText(text, detect(text))


_SPACES = "".join(map(chr, (*range(9, 14), *range(28, 33), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029)))


def _decode(content: bytes, declared: str | None = None) -> str:
    """Return the text of bytes, without a byte order mark.

    Raises:
        Invalid: they are not text.
    """
    for bom, charset in _BOMS:
        if content.startswith(bom):
            try:
                return _checked(content[len(bom) :].decode(charset))
            except UnicodeDecodeError as error:
                raise Invalid(_UNREADABLE, code="unreadable_document") from error
    guesses = (declared, "utf-8", "gb18030" if _looks_chinese(content) else None, "cp1252")
    for guess in filter(None, guesses):
        try:
            return _checked(content.decode(guess))
        except UnicodeDecodeError:
            continue
    return _checked(content.decode("latin-1"))


def _checked(text: str) -> str:
    """Return the text unless it is binary data: a NUL, or more than one other control character in a hundred."""
    if "\0" in text or len(_CONTROLS.findall(text)) * 100 > len(text):
        raise Invalid(_UNREADABLE, code="unreadable_document")
    return text


def _looks_chinese(content: bytes) -> bool:
    """Guess GBK: its bytes above 127 come in pairs and in long runs, those of Latin-1 mostly alone."""
    runs = _HIGH.findall(content)
    return bool(runs) and not any(len(run) % 2 for run in runs) and sum(map(len, runs)) >= 4 * len(runs)


def _declared(content: bytes) -> str | None:
    """Return the charset that an HTML file names in its first kilobytes, if it is one to trust."""
    name = EncodingDetector.find_declared_encoding(content[:4096], is_html=True)
    try:
        charset = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        return None
    charset = _WIDER.get(charset, charset)
    return charset if _CHARSETS.match(charset) and not charset.startswith(("utf-16", "utf-32", "utf-7")) else None


_children = threading.BoundedSemaphore(2)  # each may take a core for a minute and 2 GB


def _of_html(html: str) -> str:
    """Convert HTML in a child process.

    Raises:
        Invalid: it took too much time or memory, or is nested too deep.
    """
    command = [sys.executable, "-m", "services.knowledge.parsing"]
    try:
        with _children:
            done = subprocess.run(
                command, cwd=_ROOT, env={}, input=html.encode(), capture_output=True, timeout=3 * SECONDS
            )
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode != 0:
        raise Invalid(
            "The HTML is too large or nested too deep to be read. Split it, or save it as plain text.",
            code="unreadable_document",
        )
    return done.stdout.decode()


def markdown_of(html: str) -> str:
    """Return HTML as markdown: its text, headings, lists, tables and links."""
    soup = BeautifulSoup(html, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    has_heading = soup.h1 is not None
    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    for image in soup.find_all("img"):
        image.replace_with(str(image.get("alt") or ""))
    for tag in soup.find_all(True):
        _tame(tag)
    _close(soup)
    converter = MarkdownConverter(
        heading_style=ATX, bullets="-", escape_asterisks=False, escape_underscores=False, table_infer_header=True
    )
    text = re.sub(r"\n{3,}", "\n\n", str(converter.convert_soup(soup)).replace("\xa0", " ")).strip()
    return f"# {title}\n\n{text}" if title and not has_heading else text


def _close(soup: BeautifulSoup) -> None:
    """Put beside each other what the parser nested because HTML allows to leave it open: `<li>one<li>two`."""
    nested = [tag for tag in soup.find_all(list(_UNNESTED)) if tag.parent is not None and _is_nested(tag, tag.parent)]
    for tag in nested[:_MOST_UNNESTED]:
        if tag.parent is not None:
            tag.parent.insert_after(tag)


def _is_nested(tag: Tag, parent: Tag) -> bool:
    return _UNNESTED.get(tag.name) == _UNNESTED.get(parent.name)


def _tame(tag: Tag) -> None:
    """Take from a tag what markdown would be the worse for: huge spans, and links that are programs or data."""
    span = str(tag.get("colspan") or "")
    if span.isdigit() and len(span) > 2:
        del tag["colspan"]
    if str(tag.get("href") or "").strip().lower().startswith(("javascript:", "data:", "vbscript:")):
        del tag["href"]


def _convert_standard_input() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.setrecursionlimit(10_000)
    sys.stdout.buffer.write(markdown_of(sys.stdin.buffer.read().decode()).encode())


if __name__ == "__main__":
    _convert_standard_input()
