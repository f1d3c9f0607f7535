"""Marks in a streamed answer, and passages that support one without marks."""

import itertools
from dataclasses import replace

import pytest

from models.chats import Chat, ChatStatus, Citation
from models.clock import now
from models.conversations import Channel
from models.documents import Passage, ScoredPassage
from repositories.codec import CHATS
from routes.schemas.chats import CitationSchema
from services.citations import CitationFilter, sentence_spans, supporting

_TEXTS = {
    "trocas.md": ("pt", "Produtos com defeito podem ser devolvidos em até 90 dias com a nota fiscal."),
    "frete.md": ("pt", "O frete para a região Norte custa R$ 40,00 e leva 10 dias úteis."),
    "tuihuo.md": ("zh", "退款将在收到退货后三十天内处理。"),
}
_PASSAGES = tuple(
    ScoredPassage(Passage(name, "a", f"doc-{name}", "r", name, 0, 50, 50 + len(text), text, (), language), 1.0, 0.9)
    for name, (language, text) in _TEXTS.items()
)


def _run(*deltas: str) -> tuple[str, list[str]]:
    marks = CitationFilter(_PASSAGES)
    shown = "".join([*map(marks.feed, deltas), marks.finish()])
    return shown, [citation.filename for citation in marks.citations()]


def test_marks_are_taken_out_with_the_space_before_them() -> None:
    assert _run("Sim [^2]. Ou não.[^1] Fim [^2][^1].") == ("Sim. Ou não. Fim.", ["frete.md", "trocas.md"])


def test_a_mark_may_be_split_anywhere() -> None:
    text = "Primeiro [^2]. Segundo[^1] e [^999] a[1] [^x] fim [^"
    expected = _run(text)
    assert expected == ("Primeiro. Segundo e a[1] [^x] fim [^", ["frete.md", "trocas.md"])
    for first, second in itertools.combinations(range(len(text) + 1), 2):
        assert _run(text[:first], text[first:second], text[second:]) == expected
    assert _run(*text) == expected


def test_no_more_than_a_mark_is_held_back() -> None:
    marks = CitationFilter(_PASSAGES)
    given = shown = ""
    for character in "if a[0] == b[^12 or [^123 c [^1234] [ [[^ [^1] done":
        given += character
        shown += marks.feed(character)
        assert len(given) - len(shown) <= len(" [^123]") * (1 + given.count("[^1]"))
    assert shown + marks.finish() == "if a[0] == b[^12 or [^123 c [^1234] [ [[^ done"


def test_an_invalid_number_is_taken_out_and_names_nothing() -> None:
    assert _run("Olá [^0][^7].") == ("Olá.", [])


def test_citations_are_whole_passages() -> None:
    marks = CitationFilter(_PASSAGES)
    marks.feed("Sim [^2]")
    (citation,) = marks.citations()
    text = _TEXTS["frete.md"][1]
    assert (citation.document_id, citation.passage) == ("doc-frete.md", text)
    assert (citation.start, citation.end) == (50, 50 + len(text))


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("Claro! Você pode devolver produtos com defeito em até 90 dias.", ["trocas.md"]),
        ("Para o Norte o frete custa 40,00 e demora 10 dias úteis. Produto com defeito: devolvido em 90 dias.",
         ["frete.md", "trocas.md"]),
        ("退货后三十天内处理退款。", ["tuihuo.md"]),
        ("Você pode devolver produtos com defeito em até 60 dias.", []),
        ("Obrigado pela mensagem! Posso ajudar em algo mais?", []),
        ("Não sei em quantos dias produtos com defeito podem ser devolvidos.", []),
        ("Não encontrei informações sobre produtos com defeito e nota fiscal.", []),
        ("I don't know how the defeito, nota fiscal and devolvidos of produtos work.", []),
        ("很抱歉，退款将在收到退货后三十天内处理吗，我不知道。", []),
        ("", []),
    ],
)  # fmt: skip
def test_without_marks_the_words_decide(answer: str, names: list[str]) -> None:
    assert [citation.filename for citation in supporting(answer, _PASSAGES)] == names
    assert _run(answer) == (answer, names)


def test_support_names_three_passages_at_most_and_none_without_passages() -> None:
    many = [
        ScoredPassage(
            Passage(str(n), "a", "d", "r", f"{n}.md", n, 0, 40, f"O {word} azul custa 40 reais", (), "pt"), 1, 1
        )
        for n, word in enumerate(["caderno", "lápis", "copo", "prato"])
    ]
    answer = "O caderno azul custa 40. O lápis azul custa 40. O copo azul custa 40. O prato azul custa 40."
    assert len(supporting(answer, many)) == 3
    assert supporting(answer, []) == ()


def test_citations_name_the_page() -> None:
    assert [citation.page for citation in supporting("退货后三十天内处理退款。", _PASSAGES)] == [None]
    paged = [replace(scored, passage=replace(scored.passage, page=3)) for scored in _PASSAGES]
    (citation,) = supporting("退货后三十天内处理退款。", paged)
    assert CitationSchema().dump(citation) == {
        "document_id": "doc-tuihuo.md",
        "filename": "tuihuo.md",
        "passage": _TEXTS["tuihuo.md"][1],
        "start": 50,
        "end": 50 + len(_TEXTS["tuihuo.md"][1]),
        "page": 3,
    }


def test_a_citation_that_was_stored_without_a_page_is_read() -> None:
    citation = Citation("d", "a.md", "text", 0, 4, 7)
    fields = CHATS.plain(
        Chat("c", "a", "k", Channel("1", "sms"), "key", ChatStatus.ANSWERED, now(), citations=(citation,))
    )
    assert CHATS.item(fields).citations == (citation,)
    del fields["citations"][0]["page"]
    assert CHATS.item(fields).citations == (replace(citation, page=None),)


def test_the_header_of_a_split_table_supports_too_but_is_not_quoted() -> None:
    row = Passage("p", "a", "d", "r", "a.md", 9, 0, 26, "| Norte | 40,00 | 10 dias |", (), "pt")
    answer = "O preço do frete para a região Norte é 40,00 e o prazo de entrega é 10 dias."
    assert supporting(answer, [ScoredPassage(row, 1, 1)]) == ()
    headed = replace(row, header="| Região | Preço do frete | Prazo de entrega |\n| --- | --- | --- |")
    (citation,) = supporting(answer, [ScoredPassage(headed, 1, 1)])
    assert citation.passage == row.text


def test_sentences_are_found_where_they_stand() -> None:
    text = "  Dr. Silva chegou. Fim!\n\n- 退款需要三十天。请联系😀 我们!\n"
    spans = list(sentence_spans(text, "pt"))
    assert [text[start:end] for start, end in spans][:2] == ["Dr. Silva chegou.", "Fim!"]
    assert "".join(text[start:end] for start, end in spans).replace(" ", "") == "".join(text.split())
