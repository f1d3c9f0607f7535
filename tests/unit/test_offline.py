"""Extractive answers: which sentences, said how, cited where."""

import dataclasses

import pytest

from models.answers import ModelRequest, Sources, TextDelta, Usage
from models.chats import Citation
from models.deadline import Deadline
from models.documents import Passage, ScoredPassage
from models.errors import CallCancelled
from services.citations import supporting
from services.knowledge.analysis import index_terms, query_terms
from services.providers.offline import OfflineModel

_PT = """# Política de trocas

## Prazo de troca

São 30 dias corridos a contar do recebimento. Produtos com **defeito** podem ser devolvidos em até 90 dias,
desde que acompanhados da nota fiscal. Consulte o art. 18 do CDC.

## Documentos necessários

Para abrir um pedido, envie:

- Número do pedido
- [Nota fiscal](https://x.test/nf) em PDF
- Foto do produto

## Frete

| Região | Preço | Prazo de entrega |
| --- | --- | --- |
| Sudeste | R$ 15,00 | 3 dias úteis |
| Norte | R$ 40,00 | 10 dias úteis |

**Posso retirar na loja?**
Sim, a retirada é gratuita no endereço do centro.

Horário: segunda a sexta, 8h às 18h
Telefone: (16) 3333-4444
"""
_ZH = "# 退货政策\n\n退款将在收到退货后三十天内处理。运费由买家承担。请联系客服热线400-123-4567。\n"
_EN = """Employees may work remotely up to three days a week. Requests must be approved by the manager at least
two weeks in advance. Travel expenses are reimbursed within 15 days."""
_ES = "El plazo de devolución es de 14 días. Los gastos de envío no se devuelven."
_DOCUMENTS = {"trocas.md": ("pt", _PT), "tuihuo.md": ("zh", _ZH), "remote.md": ("en", _EN), "plazo.md": ("es", _ES)}
_OFFSET = 1000


def _scored(name: str, question: str) -> ScoredPassage:
    language, text = _DOCUMENTS[name]
    passage = Passage(name, "a", f"doc-{name}", "r", name, 0, _OFFSET, _OFFSET + len(text), text, (), language)
    words = [word for word in query_terms(question, [language]) if word.informative]
    terms = frozenset(index_terms(text, language))
    return ScoredPassage(passage, 1.0, sum(bool(word.terms & terms) for word in words) / (len(words) or 1))


def _request(question: str) -> ModelRequest:
    passages = sorted((_scored(name, question) for name in _DOCUMENTS), key=lambda one: -one.coverage)
    return ModelRequest("a", question, passages=tuple(passages))


def _ask(request: ModelRequest) -> tuple[str, tuple[Citation, ...]]:
    events = list(OfflineModel().stream(request, Deadline(5)))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    found = [event.citations for event in events if isinstance(event, Sources)]
    assert len(found) <= 1
    return text, found[0] if found else ()


@pytest.mark.parametrize(
    ("question", "introduction", "quoted"),
    [
        ("Quanto tempo tenho para devolver um produto com defeito?", "De acordo com trocas.md:",
         ["Produtos com defeito podem ser devolvidos em até 90 dias, desde que acompanhados da nota fiscal."]),
        ("Quanto custa o frete para o Norte?", "De acordo com trocas.md:", ["Norte | R$ 40,00 | 10 dias úteis"]),
        ("posso retirar na loja?", "De acordo com trocas.md:", ["Sim, a retirada é gratuita no endereço do centro."]),
        ("qual o telefone", "De acordo com trocas.md:", ["Telefone: (16) 3333-4444"]),
        ("Que documentos preciso enviar?", "De acordo com trocas.md:",
         ["Número do pedido", "Nota fiscal em PDF", "Foto do produto"]),
        ("When are travel expenses reimbursed?", "According to remote.md:",
         ["Travel expenses are reimbursed within 15 days."]),
        ("who approves requests to work remotely, the manager?", "According to remote.md:",
         ["Requests must be approved by the manager at least two weeks in advance."]),
        ("退款需要多少天?", "根据 tuihuo.md：", ["退款将在收到退货后三十天内处理。"]),
        ("¿Cuál es el plazo de devolución?", "Según plazo.md:", ["El plazo de devolución es de 14 días."]),
    ],
)  # fmt: skip
def test_the_best_sentences_answer_in_the_questions_language(
    question: str, introduction: str, quoted: list[str]
) -> None:
    text, citations = _ask(_request(question))
    assert text.splitlines() == [introduction, *quoted]
    assert len(citations) == len(quoted)


@pytest.mark.parametrize("question", ["Qual o prazo?", "frete Norte", "退款", "travel", "documentos", "plazo"])
def test_citations_are_exact(question: str) -> None:
    _, citations = _ask(_request(question))
    for citation in citations:
        text = " " * _OFFSET + _DOCUMENTS[citation.filename][1]
        assert citation.passage == text[citation.start : citation.end] == citation.passage.strip()
    assert citations


def test_a_wrapped_sentence_keeps_its_line_break_and_marks_in_the_citation() -> None:
    _, (citation,) = _ask(_request("Quanto tempo tenho para devolver um produto com defeito?"))
    assert citation.passage.startswith("Produtos com **defeito** podem")
    assert "90 dias,\ndesde que" in citation.passage


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Qual a capital da França?", "Não encontrei essa informação nos documentos deste assistente."),
        ("What is the price of bitcoin?", "I could not find this in the documents of this assistant."),
        ("¿Cuánto cuesta un coche usado?", "No encontré esa información en los documentos de este asistente."),
        ("你们有车吗", "在这个助手的文档中没有找到相关信息。"),
        ("Wie heißt die Hauptstadt von Frankreich?", "I could not find this in the documents of this assistant."),
    ],
)
def test_nothing_that_fits_is_said_plainly_and_cites_nothing(question: str, answer: str) -> None:
    request = _request(question)
    assert _ask(request) == (answer, ())
    assert _ask(dataclasses.replace(request, passages=())) == (answer, ())
    assert supporting(answer, request.passages) == ()


def test_the_assistants_language_decides() -> None:
    request = dataclasses.replace(_request("When are travel expenses reimbursed?"), language="pt-BR")
    assert _ask(request)[0].startswith("De acordo com remote.md:")


def test_a_passage_that_covers_too_little_is_left_out() -> None:
    request = _request("qual o telefone")
    weak = tuple(dataclasses.replace(scored, coverage=0.3) for scored in request.passages)
    assert _ask(dataclasses.replace(request, passages=weak))[1] == ()


def test_headings_above_a_passage_count_too() -> None:
    text = "São 30 dias corridos."
    passage = Passage("p", "a", "d", "r", "t.md", 0, 0, len(text), text, ("Trocas", "Prazo para desistir"), "pt")
    request = ModelRequest("a", "Qual o prazo para desistir?", passages=(ScoredPassage(passage, 1.0, 1.0),))
    assert _ask(request)[0].endswith(text)


def test_the_header_of_a_split_table_counts_too_and_the_page_is_cited() -> None:
    row = "| Norte | 40,00 | 10 dias |"
    passage = Passage("p", "a", "d", "r", "t.pdf", 3, 90, 90 + len(row), row, (), "pt", page=4)
    headed = dataclasses.replace(passage, header="| Região | Preço do frete | Prazo |\n| --- | --- | --- |")
    asked = [
        ModelRequest("a", "Qual o preço do frete na região Norte?", passages=(ScoredPassage(one, 1.0, 1.0),))
        for one in (passage, headed)
    ]
    assert _ask(asked[0])[1] == ()
    text, (citation,) = _ask(asked[1])
    assert text.endswith("Norte | 40,00 | 10 dias")
    assert citation == Citation("d", "t.pdf", row, 90, 90 + len(row), 4)


def test_it_streams_small_pieces_and_estimates_its_usage() -> None:
    *events, usage = OfflineModel().stream(_request("Quanto custa o frete para o Norte?"), Deadline(5))
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert len(pieces) > 5 and max(map(len, pieces)) < 20
    assert isinstance(usage, Usage) and usage.model == "extractive"
    assert usage.tokens and usage.tokens.input > 100 > usage.tokens.output > 10


def test_a_cancel_stops_it_between_pieces() -> None:
    deadline = Deadline(5)
    events = OfflineModel().stream(_request("qual o telefone"), deadline)
    next(events)
    deadline.cancel()
    with pytest.raises(CallCancelled):
        next(events)
