"""What is said of a text that was written to be seen."""

import pytest

from services.voice.html_text import without_html
from services.voice.read_out import SpokenText
from services.voice.sentences import SentenceStream


def said(text: str, size: int = 4) -> list[str]:
    """Return what is said of an answer that comes in pieces."""
    stream, spoken = SentenceStream("pt"), SpokenText()
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    sentences = [*(sentence for piece in pieces for sentence in stream.feed(piece)), *stream.finish()]
    return [words for sentence in sentences if (words := spoken.read(sentence))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# Férias **2026**", "Férias 2026"),
        ("> - [x] *Feito* ~~não~~ __sim__", "Feito não sim"),
        ("**Atenção. Não", "Atenção. Não"),
        ("abra.** Já", "abra. Já"),
        ("2 * 3 = 6 e 2*3*4 = 24", "2 * 3 = 6 e 2*3*4 = 24"),
        ("o campo user_id_2 e _este_", "o campo user_id_2 e este"),
        ("Veja [a política](http://a.b/c_(d)) aqui.", "Veja a política aqui."),
        ("[![Gráfico](i.png)](http://a.b) ao lado", "Gráfico ao lado"),
        ("Leia [este texto][1].", "Leia este texto."),
        ("Acesse https://a.b/c?d=1. Ou (www.x.com), ou <http://y.z>!", "Acesse. Ou, ou!"),
        ("Portal: https://a.b/c.", "Portal."),
        ("Veja https://a.b/política-de-férias?x=1 e www.a.b/ç.", "Veja e."),
        ("见https://a.b/c。谢谢", "见。谢谢"),
        ("Escreva a rh@exemplo.com ou [ao RH](mailto:rh@exemplo.com).", "Escreva a rh@exemplo.com ou ao RH."),
        ("São 30 dias[^1], veja【4†source】 e [2].", "São 30 dias, veja e."),
        ("São 30 dias[1][2], e mais [3][4][5].", "São 30 dias, e mais."),
        ("São 30 dias[^1][^2] e [1][2](http://a.b) e [a][1].", "São 30 dias e2 e a."),
        (
            "Abra `config.py`, mude `retries` para `3` e rode `pip install x`.",
            "Abra config.py, mude retries para 3 e rode.",
        ),
        ("Custa **R$ 3.500,00**, US$ 5 ou $10 às 10h30.", "Custa R$ 3.500,00, US$ 5 ou $10 às 10h30."),
        (r"Custa R\$ 5 e 2 \* 3; C# e 50%.", "Custa R$ 5 e 2 * 3; C# e 50%."),
        (r"Sendo $x^2 + \frac{a}{b}$ e \(n \leq 3\) com $$y_1 \times 2$$.", "Sendo x^2 + a/b e n ≤ 3 com y_1 × 2."),
        ("Pronto! 🎉👩🏽‍💻 Temos 1️⃣ item ✅ © 25 °C", "Pronto! Temos 1 item © 25 °C"),
        ("Menu → Conta ⇒ Sair", "Menu, Conta, Sair"),
        ("A&nbsp;B &amp; <b>1.2 sec</b><br/>fim <!-- nota --> <seu nome>", "A B & 1.2 sec fim seu nome"),
        ("这是**重点**内容😀，请看[文档](http://a.b)【1†来源】。", "这是重点内容，请看文档。"),
        ("1. Abra a porta", "1. Abra a porta"),
        ("```sim``` e depois", "sim e depois"),
        ("Uso | Preço", "Uso, Preço"),
        ("if x < 3 and y > 2", "if x < 3 and y > 2"),
    ],
)
def test_signs_are_left_out_and_words_are_not(text: str, words: str) -> None:
    assert SpokenText().read(text) == words


@pytest.mark.parametrize(
    "text",
    ["", " \n", "---", "* * *", "===", "🎉🎉", "https://a.b/c", "|---|:--:|", "[^1]", "()", ":)", "[1]: http://a.b x"],
)
def test_what_has_no_word_is_not_said(text: str) -> None:
    assert SpokenText().read(text) == ""


@pytest.mark.parametrize("size", [1, 3, 7, 500])
def test_code_in_fences_is_left_out_over_many_sentences(size: int) -> None:
    text = """Veja o código.

```python
print("Olá. Tudo bem?")  # Isto. Não.

# Nem isto.
```
Depois disso, rode.
~~~
a. B
```
c. D
~~~~
- Um item:
  ```sh
  make. Run
  ```
Fim. ```inline. code``` aqui
```
Nunca. Fecha. Nada"""
    assert said(text, size) == ["Veja o código.", "Depois disso, rode.", "Um item:", "Fim. aqui"]


@pytest.mark.parametrize("size", [1, 5, 500])
def test_tables_are_read_row_by_row(size: int) -> None:
    text = "Dias:\n\n| Nome | Dias |\n|:-----|----:|\n| Ana. E Bob Silva | **12** |\n|Zoé|a \\| b|\nFim | fim"
    assert said(text, size) == ["Dias:", "Nome, Dias", "Ana. E Bob Silva, 12", "Zoé, a, b", "Fim, fim"]


def test_an_answer_is_read_in_order() -> None:
    text = """## Férias

Você tem **30 dias** por ano[^1]. Veja [a política. Nova](http://a.b/c. d)!

* Peça no portal: https://a.b/c
* Avise o gestor.

Boa viagem 🌴"""
    assert said(text) == [
        "Férias",
        "Você tem 30 dias por ano.",
        "Veja a política. Nova!",
        "Peça no portal:",
        "Avise o gestor.",
        "Boa viagem",
    ]


def test_tags_and_entities_of_html_are_taken_out() -> None:
    assert without_html("<i>How long</i>&nbsp;<b>1.2 sec</b> <br/>takes <a href='x>y'>it</a>?") == (
        "How long 1.2 sec takes it?"
    )
    assert without_html("a<b and c>d &lt;b&gt; x<y") == "a<b and c>d <b> x<y"
    assert without_html("<p>One</p><p>two<script>let a = '<b>';</script></p><STYLE>p {}</STYLE>") == "One two"
    assert without_html("Wi<b>Fi</b> &amp; R$&nbsp;3.500,00\n<!-- no -->ok") == "WiFi & R$ 3.500,00\n ok"
    assert without_html("plain text, 2 < 3") == "plain text, 2 < 3"


def test_tags_of_ssml_are_not_said() -> None:
    words = 'Hello <break time="1s"/> Mr. <emphasis level="strong">Smith</emphasis>'
    text = f'<speak>{words} & <prosody rate="slow">co</prosody></speak>'
    assert without_html(text) == "Hello Mr. Smith & co"
    assert said(text) == ["Hello Mr. Smith & co"]
