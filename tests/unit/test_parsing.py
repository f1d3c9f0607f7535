"""Documents as text: what is refused at once, what short texts and pages become, and what the pieces tell."""

import io
from collections.abc import Callable

import pytest
from docx import Document
from openpyxl import Workbook

from models.errors import Invalid, UnsupportedFormat
from services.knowledge.analysis import ANALYSER, index_terms
from services.knowledge.parsing import DocumentParser
from tests.corpus import hostile
from tests.corpus.office import docx_of, packed, pdf_of, xlsx_of
from tests.corpus.policies import ENGLISH, PORTUGUESE, Policy, Section

PARSER = DocumentParser()
PAGE = """<html lang=pt><head><title>Política de férias</title><style>b{}</style></head><body><nav>Menu</nav>
<h2>Prazos</h2><p>São <b>30</b> dias.<p>Outro parágrafo.
<ul><li>um<li>dois</ul><table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>
<img src="data:image/png;base64,AAAA" alt="gráfico"><a href="javascript:x()">link</a>
<script>evil()</script></body></html>"""


@pytest.mark.parametrize("name", ["a.txt", "a.md", "A.TXT", "férias.Md"])
def test_text_is_the_decoded_file(name: str) -> None:
    text = "# Férias\r\n\r\n\tTrinta dias. \n年假\r"
    assert PARSER.parse(name, text.encode()).text == text


def test_a_long_text_is_the_decoded_file_too() -> None:
    text = "# Férias\r\n\r\n" + "Os colaboradores têm trinta dias de férias. \n" * 4000
    parsed = PARSER.parse("a.txt", text.encode("cp1252"))
    assert parsed.text == text
    assert "".join(parsed.text[piece.start : piece.end] for piece in parsed.pieces).count("trinta") == 4000


def test_the_language_is_told() -> None:
    assert PARSER.parse("a.txt", "Os colaboradores têm trinta dias de férias".encode()).language == "pt"


def test_markdown_has_headings_and_plain_text_has_none() -> None:
    content = b"# Leave\n\nThirty days."
    assert [piece.headings for piece in PARSER.parse("a.md", content).pieces] == [("Leave",)]
    assert [piece.headings for piece in PARSER.parse("a.txt", content).pieces] == [()]


@pytest.mark.parametrize("extension", ["md", "html", "docx"])
def test_the_terms_are_those_of_the_title_and_the_text(extension: str) -> None:
    paragraphs = f"# {PORTUGUESE.title}\n\n## Prazo\n\nAs diárias são pagas em cinco dias úteis."
    page = "<h1>{0[0]}</h1><h2>{0[1]}</h2><p>{0[2]}".format(paragraphs.replace("#", "").strip().split("\n\n"))
    content = {"md": paragraphs.encode(), "html": page.encode(), "docx": docx_of(PORTUGUESE)}[extension]
    parsed = PARSER.parse(f"Guia das viagens.{extension}", content)
    for piece in parsed.pieces:
        title = "\n".join(("Guia das viagens", *piece.headings))
        text = f"{piece.header}\n{parsed.text[piece.start : piece.end]}"
        assert piece.analyser == ANALYSER
        assert piece.terms == (" ".join(index_terms(title, "pt")), " ".join(index_terms(text, "pt")))
    assert parsed.pieces[-1].terms[0].startswith("gui das viag")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", b""),
        ("a.pdf", b""),
        ("a.txt", b" \r\n\t "),
        ("a.txt", "\ufeff\xa0\u200b".encode()),
        ("a.html", b"<p> <script>x</script>"),
        ("a.csv", b",,\n,,"),
        ("a.json", b"null"),
        ("a.docx", docx_of(Policy("", "", "", ()))),
    ],
)
def test_blank_is_empty(name: str, content: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        PARSER.parse(name, content)
    assert caught.value.code == "empty_document"


@pytest.mark.parametrize("name", ["a.exe", "md", "a", "a.md.exe", "", "a.zip"])
def test_other_extensions_are_refused(name: str) -> None:
    for refuse in (PARSER.parse, PARSER.inspect):
        with pytest.raises(UnsupportedFormat, match=r"Upload one of: .*docx.*xlsx"):
            refuse(name, b"text")


@pytest.mark.parametrize(("name", "better"), [("a.doc", "docx"), ("a.XLS", "xlsx"), ("a.ppt", "pptx")])
def test_old_formats_have_successors(name: str, better: str) -> None:
    with pytest.raises(UnsupportedFormat, match=rf"Save it as \.{better}"):
        PARSER.inspect(name, b"text")


@pytest.mark.parametrize(
    ("name", "build", "code"),
    [
        ("a.docx", hostile.docx_bomb, "document_too_complex"),
        ("a.docx", hostile.encrypted_docx, "encrypted_document"),
        ("a.docx", hostile.old_doc, "unreadable_document"),
        ("a.docx", lambda: xlsx_of(ENGLISH), "unreadable_document"),
        ("a.docx", lambda: docx_of(ENGLISH)[:9000], "unreadable_document"),
        ("a.docx", lambda: b"<html>a page", "unreadable_document"),
        ("a.xlsx", lambda: packed({f"xl/{number}": "" for number in range(21_000)}), "document_too_complex"),
        ("a.pdf", hostile.program, "unreadable_document"),
        ("a.pdf", hostile.truncated_pdf, "unreadable_document"),
        ("a.txt", hostile.program, "unreadable_document"),
        ("a.json", lambda: b" \n", "empty_document"),
    ],
)
def test_what_is_visibly_wrong_is_refused_without_reading_it(name: str, build: Callable[[], bytes], code: str) -> None:
    content = build()
    with pytest.raises(Invalid) as caught:
        PARSER.inspect(name, content)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.docx", docx_of(ENGLISH)),
        ("a.xlsx", xlsx_of(ENGLISH)),
        ("a.pdf", b"\n" * 900 + pdf_of(ENGLISH)),
        ("a.md", b"x"),
    ],
)
def test_what_looks_right_is_let_pass(name: str, content: bytes) -> None:
    PARSER.inspect(name, content)


def test_the_signs_of_markdown_in_a_text_stay_signs() -> None:
    lines = ("# 1 & <b> is *no* heading!", "1. a_b ~ [c](d) `e`", "C:\\temp | D:")
    policy = Policy("en", "", "Signs", tuple(Section(f"Part {line[0]}", line) for line in lines))
    text = PARSER.parse("a.docx", docx_of(policy)).text
    assert "\n\\# 1 & <b> is *no* heading!\n" in text
    assert "\n1\\. a_b ~ [c](d) `e`\n" in text
    assert text.endswith("C:\\temp | D:")


def test_pictures_are_their_descriptions() -> None:
    document = Document()
    for description in ("Picture 1", "Organogram of the service desk"):
        document.add_picture(io.BytesIO(hostile.png()))
        document.inline_shapes[-1]._inline.docPr.set("descr", description)
    document.add_paragraph("The text.")
    file = io.BytesIO()
    document.save(file)
    assert PARSER.parse("a.docx", file.getvalue()).text == "Organogram of the service desk\n\nThe text."


def test_html_becomes_markdown() -> None:
    text = PARSER.parse("a.htm", PAGE.encode()).text
    assert text.startswith("# Política de férias\n\n## Prazos\n\nSão **30** dias.\n\nOutro parágrafo.")
    assert "- um\n- dois" in text
    assert "| A | B |\n| --- | --- |\n| 1 | 2 |" in text
    assert "gráfico" in text
    assert not {word for word in ("Menu", "evil", "base64", "javascript", "b{}") if word in text}


def test_tags_end_where_html_lets_their_ends_out() -> None:
    page = "<ul><li>one<ul><li>a<li>b</ul><li>two</ul><table><tr><td>c<td>d<tr><td>e<td>f</table><p>g<h2>H</h2>"
    assert PARSER.parse("a.html", page.encode()).text == (
        "- one\n  - a\n  - b\n- two\n\n| c | d |\n| --- | --- |\n| e | f |\n\ng\n\n## H"
    )


def test_a_page_with_a_heading_keeps_it() -> None:
    assert PARSER.parse("a.html", b"<title>T</title><h1>Own</h1><p>x").text == "# Own\n\nx"


@pytest.mark.parametrize(
    ("declared", "charset", "text"),
    [
        ("gb2312", "gb18030", "年假"),
        ("iso-8859-1", "cp1252", "férias – “ok”"),
        ("shift_jis", "shift_jis", "休暇"),
        ("zlib", "utf-8", "férias"),
    ],
)
def test_a_page_is_read_in_the_charset_that_it_names(declared: str, charset: str, text: str) -> None:
    page = f'<meta charset="{declared}"><p>{text}</p>'.encode(charset)
    assert PARSER.parse("a.html", page).text == text


@pytest.mark.parametrize("page", ["<div>" * 200_000 + "x", "<b><i>" * 30_000 + "x"])
def test_a_hostile_page_is_refused_and_harms_nobody(page: str) -> None:
    with pytest.raises(Invalid) as caught:
        PARSER.parse("a.html", page.encode())
    assert caught.value.code == "document_too_complex"


def test_wide_cells_do_not_fill_the_memory() -> None:
    page = "<table>" + "<tr><td colspan=1000>x</td></tr>" * 5000 + "</table>"
    assert len(PARSER.parse("a.html", page.encode()).text) < 100_000


def test_what_a_browser_does_not_show_is_no_text() -> None:
    page = (
        '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE html><!-- a --><![if !IE]><p>One<![endif]><?php echo 2; ?>'
        '<!ENTITY x "y"><p>Two'
    )
    assert PARSER.parse("a.html", page.encode()).text == "One\n\nTwo"


@pytest.mark.parametrize(
    "menu",
    [
        '<ul class="docnav top"><li><a href=a><b>Prev</b></a><li>The Handbook<li><a href=b>Next</a></ul>',
        "<div id=banner><a href=a>Download the ebook</a></div><p><a href=b>Home</a></p>",
        '<div role="navigation"><h3>Navigation</h3><a href=a>Contents</a></div>',
    ],
)
def test_menus_are_left_out(menu: str) -> None:
    assert (
        PARSER.parse("a.html", f"{menu}<h1>Leave<a href=#leave>¶</a></h1><p>Thirty days.".encode()).text
        == "# Leave\n\nThirty days."
    )


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<h1>Links</h1><ul><li><a href=a>One</a><li><a href=b>Two</a></ul>", "# Links\n\n- [One](a)\n- [Two](b)"),
        ("<p><a href=a>Only a link</a>", "[Only a link](a)"),
        ("<p>See <a href=a>this</a> first.<h1>T</h1>", "See [this](a) first.\n\n# T"),
        (f"<div class=nav><p>{'Words. ' * 50}<a href=a>More</a></div>", f"{'Words. ' * 50}[More](a)"),
    ],
)
def test_links_that_are_content_stay(page: str, text: str) -> None:
    assert PARSER.parse("a.html", page.encode()).text == text


def test_a_cell_over_several_rows_is_in_each_of_them() -> None:
    page = "<table><tr><th>City<th>Rate<tr><td rowspan=2>Recife<td>1<tr><td>2<tr><td>Natal<td>a|b</table>"
    rows = PARSER.parse("a.html", page.encode()).text.splitlines()
    assert rows[2:] == ["| Recife | 1 |", "| Recife | 2 |", "| Natal | a\\|b |"]


def test_a_table_that_lays_out_a_page_is_no_table() -> None:
    page = "<table><tr><td><h1>T</h1><p>One.<p>Two.<table><tr><th>a<th>b<tr><td>1<td>2</table></table>"
    assert PARSER.parse("a.html", page.encode()).text == ("# T\n\nOne.\n\nTwo.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'{"a":"x\\ud800y","\\udc00k":["\\udfff", 1]}'),
        ("a.html", b"<p>a&#xD800;b &#55357; c"),
        ("a.csv", b"a,b\n1,\xed\xa0\x80\n"),
        ("a.txt", b"ab \xed\xa0\x80 cd"),
    ],
)
def test_halves_of_characters_reach_nobody(name: str, content: bytes) -> None:
    parsed = PARSER.parse(name, content)
    parsed.text.encode()
    assert parsed.pieces[-1].end <= len(parsed.text)


def test_cells_far_below_are_read_without_the_rows_between() -> None:
    book = Workbook()
    book.active["A1"], book.active["A2"], book.active["A20000"] = "top", "middle", "bottom"
    file = io.BytesIO()
    book.save(file)
    assert PARSER.parse("a.xlsx", file.getvalue()).text.endswith("| top |\n| --- |\n| middle |\n| bottom |")


def test_cells_too_far_apart_are_told_of_rather_than_left_out() -> None:
    book = Workbook()
    book.active["A1"] = "top"
    far = book.create_sheet("Far")
    far["A1"], far["A1048576"] = "first", "last"
    file = io.BytesIO()
    book.save(file)
    with pytest.raises(Invalid, match="Delete its empty rows") as caught:
        PARSER.parse("a.xlsx", file.getvalue())
    assert caught.value.code == "document_too_complex"


@pytest.mark.parametrize("extension", ["txt", "md", "csv", "json", "html"])
@pytest.mark.parametrize(("content", "said"), [(pdf_of(ENGLISH), "is a PDF"), (b"{\\rtf1\\ansi Hi}", "rich text")])
def test_another_format_is_not_read_as_text(extension: str, content: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        PARSER.inspect(f"a.{extension}", content)
    assert caught.value.code == "unreadable_document"
