"""PDF, Word, PowerPoint and Excel files as markdown, by xberg.

xberg is a large native library that can also fetch, recognise and ask: it is handed bytes only, with everything else
turned off, and runs only in a process with limits.
"""

import asyncio
import io
import re
import zipfile
from collections.abc import Iterator
from typing import Protocol

import xberg

from models.errors import Invalid
from services.knowledge.charsets import is_blank, without_controls
from services.knowledge.paged_text import PagedText
from services.knowledge.pdf_tables import Box, with_tables_in_place

_IMAGE = re.compile(r"\\?!\[([^\]\n]*)\]\([^()\n]*\)")
_NAMELESS = re.compile(r"(?:[^\W\d]+ ?\d+|\S+\.[a-z]{3,4}|)", re.IGNORECASE)  # `Picture 1`, `image.png`
_ESCAPE = re.compile(r"\\([!\"#$%&'()*+,./:;<=>?@\[\\\]^_`{}~-])")
_LINE_START = re.compile(r"\s*(?:\d+)?\\")
_PDF_IMAGE = re.compile(rb"/Subtype\s*/Image")
_MEDIA = {"docx": b"word/media/", "pptx": b"ppt/media/"}
_WORD = re.compile(r"\w")
_SPACE = re.compile(r"\s+")
_BLANK_ROW = re.compile(r"(?<=\n)\|[ |]*\|(?:\n|\Z)")  # but not the titles, without which there is no table
_SKIPPED = "sheet content was skipped"  # in xberg's warning; what is left would answer as if it were all
_DECLARED = re.compile(rb"<!(?:DOCTYPE|ENTITY)")
_HEAD = 2048  # bytes
_MOST_CELLS = 5_000_000
_MOST_BYTES = 300 * 2**20

_DAMAGED = "The file is damaged, or is not what its extension says. Open it, save it anew, then upload it again."
_ENCRYPTED = "The file is protected by a password. Save it without one, then upload it again."
_SCANNED = "The file has pictures of text only. Run OCR on it (character recognition), then upload it again."
_TOO_COMPLEX = "The file unpacks to more than is read. Split it into smaller ones, then upload those."
_EMPTY = "No text was found in the file. If you can see some, save it as a new file or run OCR on it, then upload that."
_FAR_APART = "A sheet has cells too far apart. Delete its empty rows and columns, save it, then upload it again."
_ENTITIES = "The file defines entities of its own, which are not unfolded. Open it, save it anew, then upload it again."


class _Corners(Protocol):
    """What xberg's boxes have."""

    x0: float
    y0: float
    x1: float
    y1: float


def office_as_markdown(extension: str, content: bytes) -> PagedText:
    """Return the text of a pdf, docx, pptx or xlsx.

    Raises:
        Invalid: as `Parser.parse`.
    """
    document = _extract(extension, content)
    if any(_SKIPPED in warning.message for warning in document.processing_warnings):
        raise Invalid(_FAR_APART, code="document_too_complex")
    if extension == "docx":
        paged = PagedText(_tidied(document.content))
    elif extension == "xlsx":
        paged = PagedText("\n\n".join(_sheets(document)))
    elif extension == "pptx":
        paged = _joined([_with_notes(_tidied(page.content), page.speaker_notes) for page in document.pages or []])
    else:
        paged = _joined(list(map(_tidied, _pages(document))))
    if not _is_readable(paged.text):
        raise _wordless(extension, content, document, paged.text)
    return paged


def _extract(extension: str, content: bytes) -> xberg.ExtractedDocument:
    config = xberg.ExtractionConfig(
        output_format="markdown",
        use_cache=False,
        disable_ocr=True,
        enable_quality_processing=False,  # it replaces the markdown of some files by plain text
        postprocessor=xberg.PostProcessorConfig(enabled=False),
        include_document_structure=extension == "pdf",
        pages=xberg.PageConfig(extract_pages=True),
        max_archive_depth=0,
        security_limits=xberg.SecurityLimits(
            max_archive_size=_MOST_BYTES, max_content_size=_MOST_BYTES, max_table_cells=_MOST_CELLS
        ),
    )
    given = xberg.ExtractInput(kind="bytes", bytes=content, filename=f"document.{extension}")
    try:
        result = asyncio.run(xberg.extract(given, config))
    except (RuntimeError, ValueError, xberg.XbergError) as error:
        raise _translated(str(error)) from error
    if not result.results:
        raise _translated(" ".join(fault.message for fault in result.errors))
    return result.results[0]


def _translated(message: str) -> Invalid:
    """Return our error for xberg's, whose kind only its message tells."""
    message = message.lower()
    if "encrypted" in message or "password" in message:
        return Invalid(_ENCRYPTED, code="encrypted_document")
    if "security" in message or "limit" in message or "timeout" in message or "timed out" in message:
        return Invalid(_TOO_COMPLEX, code="document_too_complex")
    return Invalid(_DAMAGED, code="unreadable_document")


def _sheets(document: xberg.ExtractedDocument) -> Iterator[str]:
    """Yield each sheet that is not blank, under its name."""
    for page in document.pages or []:
        text = _tidied(_BLANK_ROW.sub("", page.content))
        if not page.is_blank and text:
            yield f"## {page.sheet_name}\n\n{text}" if page.sheet_name else text


def _pages(document: xberg.ExtractedDocument) -> Iterator[str]:
    headings = _headings(document)
    for page in document.pages or []:
        tables = ((table.markdown.strip(), _box(table.bounding_box)) for table in page.tables)
        placed = [(markdown, box) for markdown, box in tables if markdown and box]
        yield with_tables_in_place(page.content, placed, headings.get(page.page_number, []))


def _headings(document: xberg.ExtractedDocument) -> dict[int, list[Box | None]]:
    """Return where the headings of each page are, in their order."""
    boxes: dict[int, list[Box | None]] = {}
    for node in document.document.nodes if document.document else []:
        if node.page is not None and node.content.node_type == "heading":
            boxes.setdefault(node.page, []).append(_box(node.bbox))
    return boxes


def _box(found: _Corners | None) -> Box | None:
    return Box(found.x0, found.y0, found.x1, found.y1) if found else None


def _with_notes(text: str, notes: str | None) -> str:
    """Return a slide's text, the speaker's notes below it as a quotation."""
    quotation = re.sub(r"^", "> ", notes.strip(), flags=re.MULTILINE) if notes and notes.strip() else ""
    return "\n\n".join(filter(None, (text, quotation)))


def _joined(texts: list[str]) -> PagedText:
    starts: list[int] = []
    position = 0
    for text in texts:
        starts.append(position)
        position += len(text) + 2
    return PagedText("\n\n".join(texts), tuple(starts))


def _tidied(text: str) -> str:
    """Return xberg's markdown without pictures that say nothing, and without most of its backslashes."""
    text = _IMAGE.sub(lambda image: "" if _NAMELESS.fullmatch(image[1].strip()) else image[1], without_controls(text))
    return "\n".join(map(_unescaped, text.strip().split("\n")))


def _unescaped(line: str) -> str:
    """Take the backslashes out, but one that keeps a line from being a heading or an item, and those of pipes."""
    if "\\" not in line:
        return line
    start = _LINE_START.match(line)
    end = start.end() + 1 if start else 0
    return line[:end] + _ESCAPE.sub(r"\1", line[end:])


def _is_readable(text: str) -> bool:
    """Tell whether there are words; a font that does not say which letters it draws comes as question marks."""
    return len(_WORD.findall(text[:100_000])) * 10 > len(_SPACE.sub("", text[:100_000]))


def _wordless(extension: str, content: bytes, document: xberg.ExtractedDocument, text: str) -> Invalid:
    """Return what is wrong with a file that no words came out of."""
    if any("invalid pdf" in warning.message.lower() for warning in document.processing_warnings):
        return Invalid(_DAMAGED, code="unreadable_document")
    if extension != "pdf" and _defines_entities(content):
        return Invalid(_ENTITIES, code="document_too_complex")
    if extension == "pdf":
        scanned = bool(_PDF_IMAGE.search(content)) or not is_blank(text)
    else:
        scanned = extension in _MEDIA and _MEDIA[extension] in content
    return Invalid(_SCANNED, code="scanned_document") if scanned else Invalid(_EMPTY, code="empty_document")


def _defines_entities(content: bytes) -> bool:
    """Tell whether a part has a document type declaration, which Office never writes, at its beginning."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for part in archive.infolist():
            if part.filename.endswith(".xml"):
                with archive.open(part) as file:
                    if _DECLARED.search(file.read(_HEAD)):
                        return True
    return False
