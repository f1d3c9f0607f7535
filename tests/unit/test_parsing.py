"""Files as text: charsets, html as markdown, and files that are not text or that fight back."""

import pytest

from models.errors import Invalid, UnsupportedFormat
from services.knowledge.parsing import TextParser

PARSER = TextParser()
PAGE = """<html lang=pt><head><title>Política de férias</title><style>b{}</style></head><body><nav>Menu</nav>
<h2>Prazos</h2><p>São <b>30</b> dias.<p>Outro parágrafo.
<ul><li>um<li>dois</ul><table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>
<img src="data:image/png;base64,AAAA" alt="gráfico"><a href="javascript:x()">link</a>
<script>evil()</script></body></html>"""


@pytest.mark.parametrize("name", ["a.txt", "a.md", "A.TXT", "férias.Md"])
def test_text_is_the_decoded_file(name: str) -> None:
    text = "# Férias\r\n\r\n\tTrinta dias. \n年假\r"
    assert PARSER.parse(name, text.encode()).text == text


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-8-sig", "Férias são de trinta dias por ano"),
        ("utf-16", "Férias são de trinta dias por ano"),
        ("utf-32", "Férias são de trinta dias por ano"),
        ("cp1252", "Férias são de trinta dias – “por ano”"),
        ("latin-1", "Solicitações de férias e avaliações, à direção"),
        ("gbk", "员工年假为十五天，须提前申请。\n病假须提交医院证明。"),
    ],
)
def test_charsets(charset: str, text: str) -> None:
    assert PARSER.parse("a.txt", text.encode(charset)).text == text


def test_the_language_is_told() -> None:
    assert PARSER.parse("a.txt", "Os colaboradores têm trinta dias de férias".encode()).language == "pt"


@pytest.mark.parametrize(
    "content",
    [
        b"abc" * 99 + b"\0def",
        b"\x89PNG\r\n\x1a\n\0\0",
        bytes(range(1, 32)) * 9,
        b"\xff\xfe\x00",
        b"%PDF-1.7\x01\x02\x03",
    ],
)
def test_binary_is_unreadable(content: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        PARSER.parse("a.txt", content)
    assert caught.value.code == "unreadable_document"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", b""),
        ("a.txt", b" \r\n\t "),
        ("a.txt", "\ufeff\xa0\u200b".encode()),
        ("a.html", b"<p> <script>x</script>"),
    ],
)
def test_blank_is_empty(name: str, content: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        PARSER.parse(name, content)
    assert caught.value.code == "empty_document"


@pytest.mark.parametrize("name", ["a.exe", "md", "a", "a.md.exe", ""])
def test_other_extensions_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedFormat):
        PARSER.parse(name, b"text")


def test_html_becomes_markdown() -> None:
    text = PARSER.parse("a.htm", PAGE.encode()).text
    assert text.startswith("# Política de férias\n\n## Prazos\n\nSão **30** dias.\n\nOutro parágrafo.")
    assert "- um\n- dois" in text
    assert "| A | B |\n| --- | --- |\n| 1 | 2 |" in text
    assert "gráfico" in text
    assert not {word for word in ("Menu", "evil", "base64", "javascript", "b{}") if word in text}


def test_a_page_with_a_heading_keeps_it() -> None:
    assert PARSER.parse("a.html", b"<title>T</title><h1>Own</h1><p>x").text == "# Own\n\nx"


@pytest.mark.parametrize(
    ("declared", "charset", "text"),
    [
        ("gb2312", "gb18030", "年假"),
        ("iso-8859-1", "cp1252", "férias – “ok”"),
        ("shift_jis", "shift_jis", "休暇"),
        ("nonsense", "utf-8", "férias"),
        ("zlib", "utf-8", "férias"),
        ("utf-16", "utf-8", "férias"),
    ],
)
def test_a_page_names_its_charset(declared: str, charset: str, text: str) -> None:
    page = f'<meta charset="{declared}"><p>{text}</p>'.encode(charset)
    assert PARSER.parse("a.html", page).text == text


@pytest.mark.parametrize("page", ["<div>" * 200_000 + "x", "<b><i>" * 30_000 + "x"])
def test_a_hostile_page_is_refused_and_harms_nobody(page: str) -> None:
    with pytest.raises(Invalid) as caught:
        PARSER.parse("a.html", page.encode())
    assert caught.value.code == "unreadable_document"


def test_wide_cells_do_not_fill_the_memory() -> None:
    page = "<table>" + "<tr><td colspan=1000>x</td></tr>" * 5000 + "</table>"
    assert len(PARSER.parse("a.html", page.encode()).text) < 100_000
