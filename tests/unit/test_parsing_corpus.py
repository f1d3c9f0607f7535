"""Every format in three languages, and real files of other producers, come out as text that is checked."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.documents import ParsedText, Piece
from services.knowledge.parsing import DocumentParser
from tests.corpus.office import dense_pdf_of, docx_of, pdf_of, plain_docx_of, pptx_of, xlsx_of
from tests.corpus.policies import CHINESE, ENGLISH, POLICIES, PORTUGUESE, Policy, Section
from tests.corpus.texts import csv_of, html_of, json_of, md_of, txt_of

PARSER = DocumentParser()
SAMPLES = Path(__file__).parents[2] / "assets/samples/policies"
DOCUMENTATION = Path("/usr/share/doc")
TABLED = (("docx", docx_of), ("pdf", pdf_of), ("pptx", pptx_of), ("xlsx", xlsx_of), ("md", md_of))

by_language = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.language)


def words(text: str) -> str:
    """Return a text without spaces: a PDF's lines break anywhere."""
    return "".join(text.split())


def piece_with(parsed: ParsedText, words: str) -> Piece:
    """Return the first piece that has these words."""
    return next(piece for piece in parsed.pieces if words in parsed.text[piece.start : piece.end])


def is_whole(parsed: ParsedText, policy: Policy) -> bool:
    """Tell whether all sections are there in their order, in the language that they are written in."""
    places = [words(parsed.text).find(words(section.paragraph)) for section in policy.sections]
    return -1 not in places and places == sorted(places) and parsed.language == policy.language


def limits(policy: Policy) -> Section:
    """Return the section with the table."""
    return next(section for section in policy.sections if section.rows)


@by_language
@pytest.mark.parametrize(("extension", "build"), TABLED, ids=[extension for extension, _ in TABLED])
def test_headings_and_tables_keep_their_form(extension: str, build: Callable[[Policy], bytes], policy: Policy) -> None:
    parsed = PARSER.parse(f"file.{extension}", build(policy))
    assert is_whole(parsed, policy)
    section = limits(policy)
    assert f"## {section.heading}" in parsed.text.splitlines()
    for first, second in section.rows:
        assert f"| {first} | {second} |" in parsed.text
    assert piece_with(parsed, f"| {section.rows[-1][0]} |").headings[-1] == section.heading


@by_language
@pytest.mark.parametrize(("extension", "build"), [("pdf", pdf_of), ("pptx", pptx_of)])
def test_pages_and_slides_keep_their_number(extension: str, build: Callable[[Policy], bytes], policy: Policy) -> None:
    parsed = PARSER.parse(f"file.{extension}", build(policy))
    for number, section in enumerate(policy.sections, 1):
        assert piece_with(parsed, section.paragraph[:12]).page == number


@pytest.mark.parametrize("policy", [PORTUGUESE, ENGLISH], ids=lambda policy: policy.language)
def test_a_table_belongs_to_the_heading_above_it(policy: Policy) -> None:
    parsed = PARSER.parse("file.pdf", dense_pdf_of(policy))
    first, second = limits(policy).rows[-1]
    assert piece_with(parsed, f"| {first} | {second} |").headings[-1] == limits(policy).heading


@by_language
def test_what_has_no_pages_has_no_numbers(policy: Policy) -> None:
    assert {piece.page for piece in PARSER.parse("file.docx", docx_of(policy)).pieces} == {None}


@by_language
def test_speaker_notes_are_read(policy: Policy) -> None:
    assert PARSER.parse("file.pptx", pptx_of(policy)).text.count(f"> {policy.title}") == len(policy.sections)


@by_language
def test_a_word_file_of_another_author(policy: Policy) -> None:
    assert is_whole(PARSER.parse("file.docx", plain_docx_of(policy)), policy)


@pytest.mark.parametrize(
    ("policy", "charset"),
    [(PORTUGUESE, "cp1252"), (PORTUGUESE, "utf-8"), (ENGLISH, "utf-16"), (CHINESE, "gbk"), (CHINESE, "utf-16")],
)
def test_plain_text(policy: Policy, charset: str) -> None:
    parsed = PARSER.parse("file.txt", txt_of(policy, charset))
    assert is_whole(parsed, policy)
    assert parsed.text == txt_of(policy, "utf-8").decode()


@pytest.mark.parametrize(("policy", "charset"), [(PORTUGUESE, "iso-8859-1"), (ENGLISH, "utf-8"), (CHINESE, "gb2312")])
def test_web_pages(policy: Policy, charset: str) -> None:
    parsed = PARSER.parse("file.html", html_of(policy, charset))
    section = limits(policy)
    assert is_whole(parsed, policy)
    assert parsed.text.startswith(f"# {policy.title}\n\n## {policy.sections[0].heading}\n")
    assert f"| {section.rows[1][0]} | {section.rows[1][1]} |" in parsed.text
    assert "Menu" not in parsed.text and "track" not in parsed.text


@pytest.mark.parametrize(
    ("policy", "charset", "delimiter"),
    [(PORTUGUESE, "cp1252", ";"), (ENGLISH, "utf-8-sig", ","), (CHINESE, "gb18030", "\t"), (ENGLISH, "utf-16", "|")],
)
def test_tables_of_other_programs(policy: Policy, charset: str, delimiter: str) -> None:
    parsed = PARSER.parse("file.csv", csv_of(policy, charset, delimiter))
    section = limits(policy)
    assert is_whole(parsed, policy)
    assert parsed.text.startswith("| section | text | author |\n| --- | --- | --- |\n")
    told = "<br>".join(f'{first}: "{second}"' for first, second in section.rows)
    assert f"| {section.heading} | {section.paragraph} | {told} |" in parsed.text


@by_language
def test_nested_records(policy: Policy) -> None:
    parsed = PARSER.parse("file.json", json_of(policy))
    section = limits(policy)
    assert is_whole(parsed, policy)
    assert f"- author: {policy.author}" in parsed.text
    row = piece_with(parsed, section.rows[-1][0])
    assert row.headings[:2] == ("sections", section.heading)
    assert f"| {section.rows[-1][0]} | {section.rows[-1][1]} |" in parsed.text


@pytest.mark.parametrize("path", sorted(SAMPLES.iterdir()), ids=lambda path: path.name)
def test_the_samples_answer_their_questions(path: Path) -> None:
    parsed = PARSER.parse(path.name, path.read_bytes())
    questions = json.loads((SAMPLES.parent / "questions.json").read_text())
    expected = [question["expects"] for question in questions if question.get("filename") == path.name]
    assert [words for words in expected if words not in parsed.text] == []
    assert parsed.pieces


REAL = [
    ("debian-faq", "debian/FAQ/debian-faq.en.pdf.gz", "en", "Debian GNU/Linux is a particular", ""),
    ("debian-faq-pt", "debian/FAQ/debian-faq.pt.pdf.gz", "pt", "os ficheiros executáveis, bibliotecas", ""),
    ("libtasn1-doc", "libtasn1-doc/libtasn1.pdf", "en", "ASN.1 syntax", ""),
    ("zlib1g-dev", "zlib1g-dev/crc-doc.1.0.pdf.gz", "en", "software implementation", "3.4 In-place modification"),
    ("debian-handbook", "debian-handbook/html/pt-BR/apt.html", "pt", "sources.list", "Capítulo 6"),
    ("debian-handbook", "debian-handbook/html/en-US/apt.html", "en", "sources.list", "Chapter 6"),
    ("debian-handbook", "debian-handbook/html/zh-CN/apt.html", "zh", "软件包", "第 6 章"),
]


@pytest.mark.parametrize(
    ("package", "path", "language", "sentence", "heading"), REAL, ids=[name for _, name, *_ in REAL]
)
def test_real_files(package: str, path: str, language: str, sentence: str, heading: str) -> None:
    file = DOCUMENTATION / path
    if not file.exists():
        if os.environ.get("CI"):
            pytest.fail(f"install it: apt-get install {package}")
        pytest.skip(f"not installed: {package}")
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    parsed = PARSER.parse(file.name.removesuffix(".gz"), content)
    assert parsed.language == language
    assert sentence in parsed.text
    assert any(heading in title for piece in parsed.pieces for title in piece.headings)
    if ".pdf" in path:
        assert [piece.page for piece in parsed.pieces] == sorted(piece.page or 0 for piece in parsed.pieces)
        assert (parsed.pieces[-1].page or 0) > 10
