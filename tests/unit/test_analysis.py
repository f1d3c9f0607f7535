"""Terms: a question's word and a passage's word meet, whatever their case, accents and endings."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from services.knowledge.analysis import index_terms, query_terms


@pytest.mark.parametrize(
    ("language", "stored", "typed"),
    [
        ("pt", "férias", "FERIAS"),
        ("pt", "reembolso", "reembolsos"),
        ("pt", "solicitações", "solicitacao"),
        ("pt", "cartão", "cartoes"),
        ("pt", "viagem", "viagens"),
        ("pt", "dias úteis", "dia util"),
        ("pt", "mensal", "mensais"),
        ("en", "vacation", "Vacations"),
        ("en", "refunded", "refunds"),
        ("en", "policies", "policy"),
        ("es", "devolución", "devoluciones"),
        ("zh", "带薪年假", "年假"),
        ("", "Ünïcode", "unicode"),
        ("en", "write an e-mail", "email"),
        ("en", "email", "e-mail"),
        ("pt", "a norma RH-2024/7 vale", "rh-2024/7"),
        ("pt", "a norma RH-2024/7 vale", "rh 2024 7"),
        ("en", "ask hr@meridian.example now", "meridian"),
        ("en", "ask hr@meridian.example now", "HR@meridian.example"),
        ("en", "see https://id.example/reset", "id.example"),
        ("pt", "R$ 1.500,00", "1500"),
        ("en", "1,500 euros", "1500"),
        ("pt", "caixa d'água", "agua"),
        ("en", "on 2026-07-01", "2026/07/01"),
    ],
)
def test_a_typed_word_finds_a_stored_one(language: str, stored: str, typed: str) -> None:
    held = set(index_terms(stored, language))
    assert all(not word.terms.isdisjoint(held) for word in query_terms(typed, {language, "en"}))


def test_a_decimal_is_not_the_number_without_its_point() -> None:
    assert "15" not in index_terms("1.5 hours", "en")


def test_signs_are_paired_and_a_lonely_one_kept() -> None:
    assert index_terms("重置密码，天", "zh") == ["重置", "置密", "密码", "天"]


def test_question_words_are_not_informative() -> None:
    words = query_terms("Quantos dias de férias tenho?", {"pt"})
    informative = set().union(*(word.terms for word in words if word.informative))
    assert informative == set(index_terms("dias férias", "pt"))
    assert [word.terms for word in query_terms("年假有多少天", {"zh"}) if word.informative] == [frozenset({"年假"})]


def test_each_word_is_stemmed_in_every_language_of_the_index() -> None:
    (word,) = query_terms("informations", {"en", "pt"})
    assert word.terms == {"inform", index_terms("informations", "pt")[0]}


@pytest.mark.parametrize("text", ["", "  ", "🎉", '" * ( ) NEAR', "---", "\0", "'''"])
def test_terms_hold_nothing_that_a_query_language_reads(text: str) -> None:
    terms = [*index_terms(text, "en"), *(term for word in query_terms(text, {"en"}) for term in word.terms)]
    assert all(term.replace(".", "").isalnum() for term in terms)


def test_threads_have_stemmers_of_their_own() -> None:
    text = "Os colaboradores solicitam reembolsos de viagens internacionais " * 50
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: index_terms(text, "pt"), range(40)))
    assert all(result == index_terms(text, "pt") for result in results)
