"""Word, PowerPoint and Excel files and PDFs of a policy."""

import io
import zipfile
from typing import Protocol
from xml.sax.saxutils import escape

from docx import Document
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Inches
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Table

from tests.corpus.policies import Policy

_CHINESE_FONT = "STSong-Light"
_SIZES = {"Heading1": 20, "Heading2": 15, "BodyText": 10}


class _Saved(Protocol):
    """What the libraries' documents are."""

    def save(self, file: io.BytesIO, /) -> None:
        """Write the document."""


def docx_of(policy: Policy) -> bytes:
    """Return a Word file: the title a heading of level 1, the sections of level 2, tables and a header."""
    document = Document()
    document.core_properties.author = policy.author
    document.sections[0].header.paragraphs[0].text = policy.author
    document.add_heading(policy.title, 1)
    for section in policy.sections:
        document.add_heading(section.heading, 2)
        document.add_paragraph(section.paragraph)
        if section.rows:
            table = document.add_table(rows=len(section.rows), cols=2)
            for number, row in enumerate(section.rows):
                for column, cell in enumerate(row):
                    table.cell(number, column).text = cell
    return _saved(document)


def plain_docx_of(policy: Policy) -> bytes:
    """Return a Word file with the parts that the standard asks for and no more, as converters write them."""
    paragraphs = "".join(f"<w:p><w:r><w:t>{escape(section.paragraph)}</w:t></w:r></w:p>" for section in policy.sections)
    return packed(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
            'wordprocessingml.document.main+xml"/></Types>',
            "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/'
            'officeDocument" Target="word/document.xml"/></Relationships>',
            "word/document.xml": '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
            f"<w:body>{paragraphs}</w:body></w:document>",
        }
    )


def packed(parts: dict[str, str | bytes]) -> bytes:
    """Return a ZIP archive of these parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def pptx_of(policy: Policy) -> bytes:
    """Return a presentation, a slide for each section; the speaker's notes of each hold the policy's title."""
    presentation = Presentation()
    for section in policy.sections:
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = section.heading
        slide.placeholders[1].text = section.paragraph
        slide.notes_slide.notes_text_frame.text = policy.title
        if section.rows:
            shape = slide.shapes.add_table(len(section.rows), 2, Inches(1), Inches(5), Inches(6), Inches(1))
            for number, row in enumerate(section.rows):
                for column, cell in enumerate(row):
                    shape.table.cell(number, column).text = cell
    return _saved(presentation)


def xlsx_of(policy: Policy) -> bytes:
    """Return a workbook: a sheet of the sections, a sheet for each table, and an empty one."""
    book = Workbook()
    sheet = book.active
    sheet.title = policy.title
    for section in policy.sections:
        sheet.append([section.heading, section.paragraph])
    for section in policy.sections:
        if section.rows:
            table = book.create_sheet(section.heading)
            for row in section.rows:
                table.append(row)
    book.create_sheet("nil")
    return _saved(book)


def pdf_of(policy: Policy) -> bytes:
    """Return a PDF, a page for each section; a Chinese one in a font that the reader has."""
    styles = _styles(policy.language)
    story: list[object] = [Paragraph(escape(policy.title), styles["Heading1"])]
    for section in policy.sections:
        story += [Paragraph(escape(text), styles[style]) for text, style in _texts(section.heading, section.paragraph)]
        if section.rows:
            grid = [("GRID", (0, 0), (-1, -1), 1, "black"), ("FONT", (0, 0), (-1, -1), styles["BodyText"].fontName)]
            story.append(Table(section.rows, style=grid))
        story.append(PageBreak())
    file = io.BytesIO()
    SimpleDocTemplate(file, title=policy.title, author=policy.author).build(story)
    return file.getvalue()


def dense_pdf_of(policy: Policy) -> bytes:
    """Return a PDF with all sections on one page, tables right below their headings."""
    styles = _styles(policy.language)
    font = styles["BodyText"].fontName
    story: list[object] = [Paragraph(escape(policy.title), styles["Heading1"])]
    for section in policy.sections:
        story.append(Paragraph(escape(section.heading), styles["Heading2"]))
        if section.rows:
            grid = [("GRID", (0, 0), (-1, -1), 1, "black"), ("FONT", (0, 0), (-1, -1), font)]
            story.append(Table(section.rows, style=grid))
        else:
            story.append(Paragraph(escape(section.paragraph), styles["BodyText"]))
    file = io.BytesIO()
    SimpleDocTemplate(file).build(story)
    return file.getvalue()


def _texts(heading: str, paragraph: str) -> list[tuple[str, str]]:
    return [(heading, "Heading2"), (paragraph, "BodyText")]


def _styles(language: str) -> dict[str, ParagraphStyle]:
    sheet = getSampleStyleSheet()
    if language != "zh":
        return {name: sheet[name] for name in _SIZES}
    pdfmetrics.registerFont(UnicodeCIDFont(_CHINESE_FONT))
    return {
        name: ParagraphStyle(name, fontName=_CHINESE_FONT, fontSize=size, leading=size * 1.5, wordWrap="CJK")
        for name, size in _SIZES.items()
    }


def _saved(document: _Saved) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()
