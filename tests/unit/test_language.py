"""What `detect` and `fold` make of documents and questions."""

import json
from pathlib import Path

import pytest

from services.knowledge.language import detect, fold

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Quantos dias de ferias tenho?", "pt"),
        ("QUAL O PRAZO PARA DEVOLUCAO?", "pt"),
        ("como faço para pedir reembolso", "pt"),
        ("oi", "pt"),
        ("how do i reset my password", "en"),
        ("what is a VPN?", "en"),
        ("hello", "en"),
        ("年假有多少天", "zh"),
        ("VPN连不上怎么办", "zh"),
        ("有給休暇は何日ですか", "ja"),
        ("연차는 며칠인가요?", "ko"),
        ("hola, cuantos dias de vacaciones tengo", "es"),
        ("Combien de jours de congés ai-je ?", "fr"),
        ("Wie viele Urlaubstage habe ich?", "de"),
        ("quanti giorni di ferie ho", "it"),
        ("hoeveel vakantiedagen heb ik", "nl"),
        ("Сколько дней отпуска?", "ru"),
    ],
)
def test_a_question_is_told_by_its_words_or_script(question: str, language: str) -> None:
    assert detect(question) == language


@pytest.mark.parametrize("text", ["", "   ", "ok", "12345 !?", "🎉🎉", "https://example.com/a", "xyz"])
def test_what_is_too_short_has_no_language(text: str) -> None:
    assert detect(text) == ""


def test_the_sample_documents_and_questions() -> None:
    for path in (SAMPLES / "policies").glob("*.[mt][dx]*"):
        first = path.name[0]
        expected = "zh" if ord(first) > 127 else "pt" if path.name.startswith(("ferias", "beneficios")) else "en"
        assert detect(path.read_text(encoding="utf-8")) == expected, path.name
    questions = json.loads((SAMPLES / "questions.json").read_text(encoding="utf-8"))
    right = [detect(question["question"]) == question["language"] for question in questions]
    assert sum(right) >= 0.95 * len(right)


def test_folding_takes_case_accents_and_compatibility_forms() -> None:
    assert fold("FÉRIAS Ação ＶＰＮ１２ Straße œuvre") == "ferias acao vpn12 strasse oeuvre"


def test_folding_leaves_other_scripts_whole() -> None:
    assert fold("한국 がぎ й 年假") == "한국 がぎ й 年假"
