"""Which language an answer is spoken in."""

import pytest

from services.voice.languages import likely_language, spoken_language, with_region


def test_the_assistants_language_comes_first_then_what_was_heard_then_the_text() -> None:
    text = "O seu saldo de férias é de 30 dias."
    assert spoken_language("fr", "es", text) == "fr-FR"
    assert spoken_language("pt-PT", None, text) == "pt-PT"
    assert spoken_language(None, "es-MX", text) == "es-MX"
    assert spoken_language(None, "en", text) == "en-US"
    assert spoken_language(None, None, text) == "pt-BR"


@pytest.mark.parametrize(
    ("tag", "spoken"),
    [
        ("pt", "pt-BR"),
        ("PT_br", "pt-BR"),
        ("zh", "zh-CN"),
        ("zh-Hans", "zh-CN"),
        ("zh-Hant", "zh-TW"),
        ("zh-Hant-HK", "zh-HK"),
        ("es-419", "es-419"),
        ("no", "nb-NO"),
        ("eu", "eu"),
    ],
)
def test_every_language_gets_a_region(tag: str, spoken: str) -> None:
    assert with_region(tag) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("You have thirty days of leave.", "en-US"),
        ("您每年有三十天年假。", "zh-CN"),
        ("请使用 Python 3.11 版本", "zh-CN"),
        ("有給休暇は年に三十日です。", "ja-JP"),
        ("Usted tiene treinta días de vacaciones.", "es-ES"),
        ("Vous avez trente jours de congé.", "fr-FR"),
        ("Sie haben dreißig Tage Urlaub im Jahr.", "de-DE"),
        ("An English text about 你好, which is a greeting", "en-US"),
        ("42", "en-US"),
    ],
)
def test_the_text_tells_its_language(text: str, spoken: str) -> None:
    assert spoken_language(None, None, text) == spoken


def test_a_heading_that_tells_nothing_is_spoken_as_the_question() -> None:
    assert spoken_language(None, None, "Tabela 2026", "Quantos dias de férias eu tenho?") == "pt-BR"
    assert spoken_language(None, None, "Tabela 2026", "你好！") == "zh-CN"


def test_the_likely_language_is_told_without_a_doubt() -> None:
    assert [likely_language(text) for text in ("", "Das ist es", "O que é isso", "你好")] == ["en", "de", "pt", "zh"]
