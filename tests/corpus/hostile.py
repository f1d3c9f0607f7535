"""Files that are broken, locked, empty of text, or made to fill the memory or the time of who reads them."""

import io
import random
import struct
import zipfile
import zlib

from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from tests.corpus.office import packed, pdf_of, plain_docx_of, xlsx_of
from tests.corpus.policies import ENGLISH

_WORD = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>'
_WORD_END = "</w:t></w:r></w:p></w:body></w:document>"
_SHEET = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PIXELS = 60


def docx_bomb() -> bytes:
    """Return a Word file of 0.1 MB that unpacks to 100 MB."""
    return packed({**_parts_of_docx(), "word/document.xml": _WORD + "a" * 100_000_000 + _WORD_END})


def lying_docx_bomb() -> bytes:
    """Return the same with a table of contents that tells of 1,000 bytes."""
    bomb = packed({**_parts_of_docx(), "word/document.xml": _WORD + "a" * 100_000_000 + _WORD_END})
    size = struct.pack("<I", 100_000_000 + len(_WORD + _WORD_END))
    return bomb.replace(size, struct.pack("<I", 1000))


def billion_laughs_docx() -> bytes:
    """Return a Word file whose entities say ten times what the one before says, nine times."""
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    text = f'<!DOCTYPE w:document [<!ENTITY l0 "laugh">{entities}]>{_WORD}&l9;{_WORD_END}'
    return packed({**_parts_of_docx(), "word/document.xml": text})


def deep_docx() -> bytes:
    """Return a Word file with 200,000 tables in one another."""
    opened, closed = "<w:tbl><w:tr><w:tc>", "</w:tc></w:tr></w:tbl>"
    text = _WORD.replace("<w:p><w:r><w:t>", opened * 200_000) + closed * 200_000 + "</w:body></w:document>"
    return packed({**_parts_of_docx(), "word/document.xml": text})


def xlsx_bomb() -> bytes:
    """Return a workbook whose sheet has twenty million cells."""
    row = "<row>" + "<c><v>1</v></c>" * 1000 + "</row>"
    return packed({**_parts_of_xlsx(), "xl/worksheets/sheet1.xml": _sheet(row * 20_000)})


def far_cell_xlsx() -> bytes:
    """Return a workbook with a cell in each of the four corners of the largest sheet there is."""
    ends = ((1, "A"), (1, "XFD"), (1_048_576, "A"), (1_048_576, "XFD"))
    cells = "".join(f'<row r="{row}"><c r="{column}{row}"><v>7</v></c></row>' for row, column in ends)
    return packed({**_parts_of_xlsx(), "xl/worksheets/sheet1.xml": _sheet(cells)})


def truncated_pdf() -> bytes:
    """Return half a PDF."""
    whole = pdf_of(ENGLISH)
    return whole[: len(whole) // 2]


def garbled_pdf() -> bytes:
    """Return a PDF whose middle is noise."""
    whole = pdf_of(ENGLISH)
    return whole[:20] + random.Random(1).randbytes(len(whole)) + b"\nstartxref\n10\n%%EOF\n"


def encrypted_pdf(password: str) -> bytes:
    """Return a PDF that opens with a password; with the empty one, only changing it is forbidden."""
    file = io.BytesIO()
    canvas = Canvas(file, encrypt=StandardEncryption(password, "owner", canModify=0))
    canvas.drawString(72, 700, "Nothing to see here for strangers.")
    canvas.save()
    return file.getvalue()


def scanned_pdf() -> bytes:
    """Return a PDF of pages that are pictures."""
    file = io.BytesIO()
    canvas = Canvas(file)
    for _ in range(3):
        canvas.drawImage(ImageReader(io.BytesIO(png())), 0, 0, 500, 700)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def scanned_docx() -> bytes:
    """Return a Word file with a picture and no words."""
    return packed({**_parts_of_docx(), "word/document.xml": _WORD + _WORD_END, "word/media/image1.png": png()})


def looped_pdf() -> bytes:
    """Return a PDF whose tree of pages has itself among its branches."""
    return _pdf(["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[2 0 R 2 0 R]/Count 1000000>>"])


def deep_pdf() -> bytes:
    """Return a PDF with an object of a million arrays in one another."""
    return _pdf(
        [
            f"<</Type/Catalog/Pages 2 0 R/X {'[' * 1_000_000}{']' * 1_000_000}>>",
            "<</Type/Pages/Kids[3 0 R]/Count 1>>",
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>",
        ]
    )


def pdf_bomb() -> bytes:
    """Return a PDF with a page that unpacks to 1.5 GB of text, packed twice."""
    packer = zlib.compressobj(9)
    line = b"BT /F1 9 Tf 9 9 Td (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj ET\n" * 100_000
    stream = b"".join(packer.compress(line) for _ in range(200)) + packer.flush()
    stream = zlib.compress(stream, 9)
    head = f"<</Length {len(stream)}/Filter[/FlateDecode/FlateDecode]>>stream\n"
    return _pdf(
        [
            "<</Type/Catalog/Pages 2 0 R>>",
            "<</Type/Pages/Kids[3 0 R]/Count 1>>",
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
            head.encode() + stream + b"\nendstream",
            "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        ]
    )


def encrypted_docx() -> bytes:
    """Return what Word writes when a password is set: an OLE file with the package in it, encrypted."""
    return _OLE + bytes(504) + "EncryptedPackage".encode("utf-16-le") + random.Random(2).randbytes(4000)


def old_doc() -> bytes:
    """Return what Word wrote before 2007."""
    return _OLE + bytes(504) + "WordDocument".encode("utf-16-le") + bytes(4000)


def program() -> bytes:
    """Return a program for Windows, or its beginning."""
    return b"MZ\x90\x00" + random.Random(3).randbytes(9000)


def _parts_of_docx() -> dict[str, str | bytes]:
    return _unpacked(plain_docx_of(ENGLISH))


def _parts_of_xlsx() -> dict[str, str | bytes]:
    return _unpacked(xlsx_of(ENGLISH))


def _unpacked(file: bytes) -> dict[str, str | bytes]:
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _sheet(rows: str) -> str:
    return f"{_SHEET}<sheetData>{rows}</sheetData></worksheet>"


def png() -> bytes:
    """Return a small grey picture of noise."""
    lines = b"".join(b"\0" + random.Random(n).randbytes(_PIXELS) for n in range(_PIXELS))
    head = struct.pack(">IIBBBBB", _PIXELS, _PIXELS, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _pdf(objects: list[str | bytes]) -> bytes:
    """Return a PDF of these objects, the first of which is the catalogue."""
    file = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n" % number + (body.encode() if isinstance(body, str) else body) + b"\nendobj\n"
    start = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % place for place in places)
    file += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(file)
