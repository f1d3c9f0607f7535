"""What is wrong with a file that can be seen without reading it all: its first bytes, its list of parts, its end."""

import io
import re
import zipfile

from models.errors import Invalid
from services.knowledge.charsets import decode, is_blank

PARTS = {"docx": "word/", "pptx": "ppt/", "xlsx": "xl/"}
"""Extension of an Office file -> the folder that its parts are in."""

_TEXT = frozenset({"md", "txt", "csv", "json"})
_FOREIGN = re.compile(rb"\s*(?:(%PDF-\d)|\{\\rtf\d)")  # files of ASCII signs that are no text to a reader
_LONGEST_CHECKED = 2**20  # bytes of a text; longer ones are looked at when they are read
_PDF = re.compile(rb"%PDF-\d")
_PDF_HEAD, _PDF_TAIL = 1024, 2**16
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PART = "EncryptedPackage".encode("utf-16-le")
_ENTRY = b"PK\x01\x02"
_MOST_ENTRIES = 20_000
_MOST_XML = 400 * 2**20  # bytes, unpacked
_HARMLESS_XML = 20 * 2**20
_MOST_RATIO = 150

_EMPTY = "The file has no text. Upload one that has."
_NOT_PDF = "The file is not a PDF, whatever its name says. Export it as PDF, or give it its own extension."
_CUT_OFF = "The PDF ends in the middle: its transfer broke off. Get the whole file, then upload that."
_NOT_OFFICE = "The file is not a {0}, whatever its name says. Save it as .{0}, or give it its own extension."
_BROKEN = "The .{0} file is damaged: it cannot be unpacked. Open it, save it anew, then upload it again."
_PDF_INSIDE = "The file is a PDF, whatever its name says. Give it a name that ends in .pdf, then upload it again."
_RTF_INSIDE = "The file is rich text (RTF), whatever its name says. Save it as .docx, then upload that."
_ENCRYPTED = "The file is protected by a password. Save it without one, then upload it again."
_OLD = "The file is in the format of Office before 2007. Save it as .{0}, then upload that."
_BOMB = "The file unpacks to more than is read. Split it into smaller ones, then upload those."


def inspect(extension: str, content: bytes) -> None:
    """Refuse a file of one of the parser's formats that cannot be read.

    Raises:
        Invalid: as `Parser.parse`.
    """
    if not content:
        raise Invalid(_EMPTY, code="empty_document")
    if extension == "pdf":
        _inspect_pdf(content)
    elif extension in PARTS:
        _inspect_office(extension, content)
    elif foreign := _FOREIGN.match(content):
        raise Invalid(_PDF_INSIDE if foreign[1] else _RTF_INSIDE, code="unreadable_document")
    elif extension in _TEXT and len(content) <= _LONGEST_CHECKED and is_blank(decode(content)):
        raise Invalid(_EMPTY, code="empty_document")


def _inspect_pdf(content: bytes) -> None:
    if not _PDF.search(content, 0, _PDF_HEAD):
        raise Invalid(_NOT_PDF, code="unreadable_document")
    if content.rfind(b"startxref", max(0, len(content) - _PDF_TAIL)) < 0:
        raise Invalid(_CUT_OFF, code="unreadable_document")


def _inspect_office(extension: str, content: bytes) -> None:
    if content.startswith(_OLE):
        if _ENCRYPTED_PART in content:
            raise Invalid(_ENCRYPTED, code="encrypted_document")
        raise Invalid(_OLD.format(extension), code="unreadable_document")
    if not content.startswith(b"PK"):
        raise Invalid(_NOT_OFFICE.format(extension), code="unreadable_document")
    if content.count(_ENTRY) > _MOST_ENTRIES:
        raise Invalid(_BOMB, code="document_too_complex")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise Invalid(_BROKEN.format(extension), code="unreadable_document") from error
    _inspect_parts(extension, parts)


def _inspect_parts(extension: str, parts: list[zipfile.ZipInfo]) -> None:
    folders = {part.filename.partition("/")[0] + "/" for part in parts}
    if PARTS[extension] not in folders:
        raise Invalid(_NOT_OFFICE.format(extension), code="unreadable_document")
    if any(part.flag_bits & 1 for part in parts):
        raise Invalid(_ENCRYPTED, code="encrypted_document")
    texts = [part for part in parts if part.filename.lower().endswith((".xml", ".rels"))]
    unpacked, packed = sum(part.file_size for part in texts), sum(part.compress_size for part in texts)
    if unpacked > _MOST_XML or (unpacked > _HARMLESS_XML and unpacked > _MOST_RATIO * packed):
        raise Invalid(_BOMB, code="document_too_complex")
