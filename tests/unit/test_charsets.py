"""Bytes as text: the charsets that people save files in, and what is no text."""

import pytest

from models.errors import Invalid
from services.knowledge.charsets import decode, is_blank, without_controls
from services.knowledge.declared_charset import declared_charset


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("utf-8", "Férias são de trinta dias por ano"),
        ("utf-8-sig", "Férias são de trinta dias por ano"),
        ("utf-16", "Férias são de trinta dias por ano"),
        ("utf-16-le", "Férias são de trinta dias por ano"),
        ("utf-16-be", "Férias são de trinta dias por ano"),
        ("utf-32", "Férias são de trinta dias por ano"),
        ("cp1252", "Férias são de trinta dias – “por ano”"),
        ("latin-1", "Solicitações de férias e avaliações, à direção"),
        ("cp1252", "SOLICITAÇÃO DE FÉRIAS E AVALIAÇÕES: INFORMAÇÕES À DIREÇÃO"),
        ("gbk", "员工年假为十五天，须提前申请。\n病假须提交医院证明。"),
        ("gbk", "朱镕基总理的报告，全文如下。\n会议在北京举行，讨论了许多问题。\n员工年假为十五天，须提前申请。"),
        ("gb18030", "员工𠮷年假为十五天，须提前申请。"),
        ("utf-16", "员工年假为十五天，须提前申请。"),
    ],
)
def test_charsets(charset: str, text: str) -> None:
    assert decode(text.encode(charset)) == text


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("gbk", "姓名,工资\n王,5000\n"),
        ("gbk", "编号;型号;价格\n1;甲;10\n2;乙;20\n"),
        ("gbk", "项目,一月,二月\n房租,100,200\n水,3,4\n电,5,6\n"),
        ("latin-1", "DESCRIÇÃO;AÇÃO;SITUAÇÃO\n1;INSCRIÇÃO;APROVAÇÃO\n"),
        ("latin-1", "Código;Descrição;Ação\n1;Maçã;É\n2;Pão;À\n"),
        ("cp1252", "Größe;Maß;Ü\n1;2 °;½\n"),
    ],
)
def test_tables_of_short_cells(charset: str, text: str) -> None:
    assert decode(text.encode(charset)) == text


@pytest.mark.parametrize(
    "content",
    [
        b"abc" * 99 + b"\0def",
        b"\x89PNG\r\n\x1a\n\0\0",
        bytes(range(1, 32)) * 9,
        b"\xff\xfe\x00",
        b"%PDF-1.7\x01\x02\x03",
        bytes(range(256)) * 4,
    ],
)
def test_binary_is_unreadable(content: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        decode(content)
    assert caught.value.code == "unreadable_document"


@pytest.mark.parametrize(
    ("declared", "charset"),
    [("gb2312", "gb18030"), ("iso-8859-1", "cp1252"), ("Shift_JIS", "shift_jis"), ("utf-8", "utf-8")],
)
def test_a_page_names_its_charset(declared: str, charset: str) -> None:
    assert declared_charset(f'<meta charset="{declared}">'.encode()) == charset


@pytest.mark.parametrize("declared", ["nonsense", "zlib", "utf-16", "utf-7", "rot13"])
def test_a_charset_that_is_not_to_be_trusted_is_none(declared: str) -> None:
    assert declared_charset(f'<meta charset="{declared}">'.encode()) is None


@pytest.mark.parametrize(("text", "blank"), [("", True), (" \r\n\t\xa0\u2003\ufeff\u200b", True), (" a ", False)])
def test_blank(text: str, blank: bool) -> None:
    assert is_blank(text) is blank


def test_what_no_store_takes_is_left_out() -> None:
    assert without_controls("a\x00b\x07\tc\n\ud800") == "ab\tc\n?"


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("cp932", "本日は晴天なり。社員は年に二十日の休暇を取ることができます。"),
        ("cp932", "カタカナのテスト。ヘルプデスクに連絡してください。"),
        ("euc_jp", "本日は晴天なり。社員は年に二十日の休暇を取ることができます。"),
        ("cp949", "직원은 매년 15일의 휴가를 사용할 수 있습니다."),
        ("big5", "員工每年可享有十五天的年假，須提前申請。病假須提交醫院證明。"),
        ("cp1251", "Сотрудники имеют право на отпуск продолжительностью тридцать дней."),
        ("koi8_r", "Сотрудники имеют право на отпуск."),
    ],
)
def test_older_charsets_are_told_by_their_frequent_signs(charset: str, text: str) -> None:
    assert decode(text.encode(charset)) == text


def test_one_broken_character_does_not_garble_the_others() -> None:
    content = ("Férias são de trinta dias por ano, à razão de dois e meio por mês. " * 3).encode()
    assert decode(content[:-3] + b"\xc3") == content[:-3].decode() + "\ufffd"
