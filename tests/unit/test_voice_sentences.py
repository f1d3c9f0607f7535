"""Where a text that is still being written is cut into sentences."""

import random

import pytest

from services.voice.sentences import SentenceStream

PT = """Olá, Sra. Souza! \
O Sr. Silva mora na Av. Paulista, nº 100. \
O reembolso é de até R$ 3.500,00 por viagem. \
A versão 3.11.7 do sistema foi instalada às 10h30. \
Veja https://intranet.exemplo.com.br/ferias.html?ano=2026. \
O Dr. João disse: “O prazo é de 30 dias.” \
Depois disso, a Profa. Lima confirmou a data. \
O art. 7 da lei vale para todos... \
Quantos dias você quer tirar? \
Sim. Você pode vender dez deles. \
A Souza & Cia. Ltda. paga no dia 5. \
Fim sem ponto"""
EN = """Hi! \
Dr. Smith arrived at 5 p.m. on Jan. 3 and left. \
Version 3.11.7 costs $1,200.50 per year. \
**Read this carefully.** \
She said "It works." \
Then Mr. Jones, e.g. from Acme Inc. in Boston, agreed. \
See [the policy. page 2](https://a.example/b.c?d=1) for more. \
Run `make. It all` first, please. \
Is that all? \
J. S. Bach lived in the 18th century. \
Wait... Something is missing here. \
No. This goes on with the next one. \
The end has no full stop"""
ZH = """您好！欢迎使用我们的系统。\
年假为十五天，可以分三次休完。\
他说：“你好，我明天来。”\
然后他离开了公司。\
报销上限是3500.50元。\
版本3.11.7已经发布了！\
请看https://a.example/b。\
第一步需要填写申请表；第二步等待经理的批准。\
您还有其他问题吗？\
请在三十天之内提交申请（含附件）。\
谢谢您的耐心等待。\
最后一句没有句号"""
ES = """Estimada Sra. García, buenos días. \
El Sr. López abre a las 8 a. m. y cierra a las 9 p. m. \
¿Cuántos días quiere usted? \
¡Muy bien, gracias por todo! \
La Avda. Mayor es muy larga. \
El pago es de 1.200,50 € al mes. \
Ud. puede verlo en la pág. 7 del manual. \
Termina aquí"""
FR = """M. Dupont et Mme. Martin arrivent à 8 h. \
Il dit : « Bonjour à tous. » \
Puis il part pour l’av. Foch à Paris. \
Combien de jours voulez-vous ? \
Le prix est de 1 200,50 € par an. \
Voir p. 7 du guide. \
C’est fini"""
DE = """Sehr geehrter Hr. Müller, guten Tag. \
Das gilt z. B. am 3. Mai und auch später. \
Ca. 30 Personen kamen zu uns. \
Dr. Schmidt kommt d. h. heute noch. \
Wie viele Tage möchten Sie? \
Es kostet 1.200,50 Euro im Jahr. \
Hier ist Schluss"""
LIST = """Passos:
1. Abra o site.
2. Clique em “Enviar”. Aguarde.
10) Feche

- maçã
- pera
Pronto"""
GOLD = {"pt": PT, "en": EN, "zh": ZH, "es": ES, "fr": FR, "de": DE}
BORDERS = {
    "pt": "Souza! |100. |viagem. |10h30. |2026. |dias.” |data. |todos... |tirar? |deles. |dia 5. |ponto",
    "en": 'Hi! |left. |year. |carefully.** |works." |agreed. |more. |please. |all? |century. |here. |one. |stop',
    "zh": "您好！|系统。|休完。|来。”|公司。|元。|了！|b。|批准。|吗？|附件）。|等待。|句号",
    "es": "días. |p. m. |usted? |todo! |larga. |mes. |manual. |aquí",
    "fr": "8 h. |tous. » |Paris. |vous ? |an. |guide. |fini",
    "de": "Tag. |später. |uns. |noch. |Sie? |Jahr. |Schluss",
}
"""How each sentence of a text ends; very short ones go with the next, but for the first."""

SIZES = (1, 2, 3, 4, 9, 50, 10_000)


def cut(text: str, language: str | None = None, size: int = 3) -> list[str]:
    stream = SentenceStream(language)
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    return [*(sentence for piece in pieces for sentence in stream.feed(piece)), *stream.finish()]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", GOLD)
def test_sentences_end_where_a_reader_ends_them(language: str, size: int) -> None:
    sentences = cut(GOLD[language], language, size)
    assert len(sentences) == len(BORDERS[language].split("|"))
    for sentence, border in zip(sentences, BORDERS[language].split("|"), strict=True):
        assert sentence.endswith(border)


@pytest.mark.parametrize("language", ["pt", "en", "zh", "fr", "de"])
def test_the_language_need_not_be_told(language: str) -> None:
    assert cut(GOLD[language]) == cut(GOLD[language], language)
    assert cut(GOLD[language], f"{language}-XX") == cut(GOLD[language], language)


@pytest.mark.parametrize("size", SIZES)
def test_a_line_ends_a_sentence_and_a_number_does_not(size: int) -> None:
    assert [sentence.strip() for sentence in cut(LIST, "pt", size)] == [
        "Passos:",
        "1. Abra o site.",
        "2. Clique em “Enviar”.",
        "Aguarde.",
        "10) Feche",
        "- maçã",
        "- pera",
        "Pronto",
    ]
    assert cut("Passos: 1. Abra a porta. 2. Feche a porta.", "pt", size) == [
        "Passos: 1. Abra a porta. ",
        "2. Feche a porta.",
    ]


def test_a_sentence_goes_out_once_the_next_has_begun() -> None:
    stream = SentenceStream("en")
    assert stream.feed("This is one.") == []
    assert stream.feed(" ") == []
    assert stream.feed("A") == ["This is one. "]
    assert stream.feed("nd a line\n") == ["And a line\n"]
    assert (stream.feed("\n The tail"), stream.finish(), stream.finish()) == ([], ["\n The tail"], [])
    assert SentenceStream().finish() == []


def test_blank_texts_have_no_sentences() -> None:
    assert cut("  \n\n \n") == []
    assert cut("") == []


def test_nothing_is_cut_within_a_link_or_a_span_of_code() -> None:
    for kept in (
        "[see. This page](http://a.b/c.d)",
        "[a. B](http://a.b/x_(y. Z))",
        "`a. B`",
        "``a ` b. C``",
        "https://a.b/c?d=e.F",
    ):
        text = f"Here is a text with {kept} in the middle of it."
        assert all(cut(text, "en", size) == [text] for size in SIZES)
    assert cut("What [is. This bracket] here.", "en") == ["What [is. ", "This bracket] here."]


@pytest.mark.parametrize("opening", ["[", "`", "[a](", "【", "https://a.b/"])
def test_what_is_never_closed_holds_nothing_back(opening: str) -> None:
    words = "This goes on and on. " * 150
    sentences = SentenceStream("en").feed(f"Well {opening}{words}")
    assert len(sentences) > 30
    assert max(map(len, sentences[2:])) < 60
    line, *rest = cut(f"An {opening}end of line\nNext one here. And more text.", "en")
    assert (line, rest) == (f"An {opening}end of line\n", ["Next one here. ", "And more text."])


def test_the_first_clause_of_a_long_first_sentence_goes_alone() -> None:
    text = (
        "The policy grants twenty-five days of leave, which can be split, and the rest is paid out; always, in spring."
    )
    assert cut(f"{text} {text}", "en") == [text[:45], f"{text[45:]} ", text]
    assert cut("Well, no: 3,500 of these. And then more of it.", "en") == [
        "Well, no: 3,500 of these. ",
        "And then more of it.",
    ]
    chinese = "根据公司的年假制度规定，员工每年有十五天年假，可以分次休完。"
    assert cut(chinese, "zh") == ["根据公司的年假制度规定，员工每年有十五天年假，", "可以分次休完。"]


@pytest.mark.parametrize(
    ("text", "joint"),
    [
        ("one, two three four; " * 60, ("; ", ", ")),
        ("word and word " * 60, (" ",)),
        ("我们需要提交申请，" * 60, ("，",)),
        ("我们需要提交申请" * 60, ("",)),
        ("x" * 900, ("",)),
    ],
)
def test_long_sentences_are_cut_at_a_good_place(text: str, joint: tuple[str, ...]) -> None:
    sentences = cut(text, "en")
    assert "".join(sentences) == text
    assert all(len(sentence) <= 250 for sentence in sentences)
    assert all(sentence.endswith(joint) for sentence in sentences[:-1])
    assert len(sentences) <= len(text) / 120


def test_a_full_stop_that_comes_too_late_ends_nothing() -> None:
    text = f"{'word ' * 60}end. Next one"
    for size in SIZES:
        assert [len(sentence) for sentence in cut(text, "en", size)] == [250, 55, 8]


def test_a_cut_parts_no_sign() -> None:
    for sign in ("e\u0301", "👩🏽\u200d👩🏽\u200d👧", "न\u094d"):
        for shift in range(len(sign)):
            sentences = cut("x" * shift + sign * 200, "en")
            assert all(sentence.endswith(sign) for sentence in sentences)
            assert max(map(len, sentences)) <= 250


def test_links_of_any_length_are_left_whole_while_text_is_not() -> None:
    link = f"[a page](https://a.b/{'c/' * 400})"
    sentences = cut(f"{'word ' * 45}{link} and {'word ' * 60}", "en")
    assert any(link in sentence for sentence in sentences)
    assert all(len(sentence.replace(link, "")) <= 250 for sentence in sentences)
    address = f"https://a.b/{'c/' * 200}"
    assert any(address in sentence for sentence in cut(f"{'word ' * 45}{address} and more words"))
    listed = f"{'w' * 90} [one, two words](http://a.b) and Dr. {'w ' * 100}"
    assert any("[one, two words](http://a.b)" in sentence for sentence in cut(listed, "en"))


PIECES = """. ! ? … 。 ！ ” " ' ) ] 】 » [ ( ` `` ``` ~~~ ** * _ , ; : ， ； \n \n\n 1. 12. 3,5 R$ [^1] 【4†s】 https://a.b/c.
            Dr. Sr. z. B. a. m. Mai El the o 我们 好 A b é e\u0301 😀 word Word - # > |""".split(" ")


def test_no_letter_is_lost_and_the_pieces_do_not_matter() -> None:
    chance = random.Random(20261121)
    for number in range(400):
        text = "".join(
            chance.choice(PIECES) + chance.choice(("", " ", " ", "  ", "\n"[: number % 7]))
            for _ in range(chance.choice((5, 40, 150)))
        )
        language = chance.choice(("pt", "en", "zh", "de", None))
        whole = cut(text, language, len(text) + 1)
        assert "".join(whole) + text[len("".join(whole)) :] == text
        assert not text[len("".join(whole)) :].strip()
        assert all(sentence.strip() for sentence in whole)
        for size in (1, 2, chance.randint(3, 60)):
            assert cut(text, language, size) == whole, (text, size)
