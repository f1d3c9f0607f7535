"""Names never leave their folder, whatever they contain."""

import random
from pathlib import Path

import pytest

from models.errors import Invalid
from services.knowledge.filenames import LONGEST, safe_filename

BITS = [
    "..", ".", "/", "\\", "\0", "\n", "\r", "\t", "\x7f", "\x85", "\u202e", "\u200b", "\u2028", "\ufeff", "C:", "CON",
    "nul", "com1", "LPT9", "aux.txt", ":", "*", "?", '"', "<", ">", "|", " ", "~", "$HOME", "%2e%2e%2f", "..%2f",
    "férias",
    "年假", "é", "e\u0301", "ação", ".md", ".pdf", ".tar.gz", "-rf", "😀", "\ud800", "a" * 300, "长" * 120, "．．／",
    "_",
    "\u3000", "\xa0", "file", "2024",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_no_name_leaves_the_folder(seed: int, tmp_path: Path) -> None:
    chance, named = random.Random(seed), 0
    for _ in range(300):
        nasty = "".join(chance.choices(BITS, k=chance.randint(0, 8)))
        try:
            name = safe_filename(nasty)
        except Invalid as error:
            assert list(error.errors) == ["file"]
            continue
        named += 1
        assert 0 < len(name.encode()) <= LONGEST
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        assert not set(name) & set('/\\\0<>:"|?*\n\r') and name[0] != "." and name[-1] not in ". "
        assert safe_filename(name) == name
        (tmp_path / name).write_bytes(b"x")
    assert named > 100


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("férias.md", "férias.md"),
        ("fe\u0301rias.md", "férias.md"),
        ("考勤与年假制度.md", "考勤与年假制度.md"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ana\\política.docx", "política.docx"),
        (".htaccess", "htaccess"),
        ("con.txt", "_con.txt"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("what? when: now.txt", "what_ when_ now.txt"),
        ("report.pdf. . ", "report.pdf"),
        ("长" * 100 + ".md", "长" * 65 + ".md"),
    ],
)
def test_names_stay_readable(name: str, safe: str) -> None:
    assert safe_filename(name) == safe


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/", "   ", "\0", "...", "???", "\\"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        safe_filename(name)
    assert "file" in caught.value.errors
