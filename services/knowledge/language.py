"""Which language a text is written in: a document (to choose its stemmer) or a short question.

Scripts decide for Chinese, Japanese and Korean. Longer texts are left to py3langid (a naive Bayes classifier over byte
n-grams, Lui & Baldwin 2012); for short ones its opinion is weighed against a vote of function words, since seven
words without accents are too little for n-grams alone. The model takes 0.8 s to load, hence at the first use, and not
at all for a text in which function words leave no doubt.
"""

import importlib
import re
import threading
import unicodedata
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LANGUAGES = "en pt es fr de it nl ca ro sv da no fi pl cs sk hu hr tr id vi ru uk bg el ar he fa hi th zh ja ko".split()
"""Two-letter codes that `detect` can answer."""

FUNCTION_WORDS = MappingProxyType(
    {
        language: frozenset(words.split())
        for language, words in {
            "en": """a about after all also am an and any are as at be because been before but by can could did do does
            doing for from get gets give had has have he hello her hi his how i if in into is it its just know let long
            many may me more most much must my need needs no not of on one or our out please shall she should so some
            soon tell than thank thanks that the their them then there these they this those to up us use want was we
            were what when where which who whom whose why will with within without would you your""",
            "pt": """a ao aos as ate bom com como da das de dela dele deles depois do dos e ela ele eles em entre era
            essa esse esta estao estar este eu foi ha isso isto ja la lhe mais mas me mesmo meu meus minha minhas muito
            na nao nas nem no nos nossa nosso num numa o obrigada obrigado oi ola onde os ou para pela pelas pelo pelos
            pode podem podemos por porque posso preciso precisa qual quais quando quanta quantas quanto quantos que quem
            quero sao se sem ser seu seus sim sobre sua suas tambem te tem temos tenho ter tudo um uma umas uns vai voce
            voces vou""",
            "es": """a al algo como con cual cuales cuando cuanta cuantas cuanto cuantos de debo del desde donde dos el
            ella ellos en entre es esa ese eso esta estan estar este esto gracias ha hasta hay hola la las le les lo los
            mas me mi mis mucho muy nada necesito ni no nos o para pero por porque puede puedo que quien quiero se ser
            si sin sobre son su sus tambien tengo tiene todo un una unas unos usted y ya yo""",
            "fr": """a ai au aux avec avez bonjour ce ces cette combien comment dans de des dois donc du elle elles en
            est et etre faire faut il ils j je l la le les leur leurs lui ma mais merci mes moi mon ne nos notre nous on
            ont ou par pas peut peux plus pour pouvez puis qu quand que quel quelle quelles quels qui quoi sa sans se
            ses si son sont sur ta te tes toi ton tu un une vos votre vous y""",
            "de": """aber alle als am an auch auf aus bei bin bis bitte bist da danke das dass dein dem den der des die
            dies diese dieser du durch ein eine einem einen einer er es fur gibt guten habe haben hallo hat ich ihr ihre
            im in ist ja kann kein keine konnen lange man mehr mein meine mich mir mit muss nach nicht noch nur ob oder
            ohne sein sich sie sind so uber um und uns unser viel viele vom von vor wann warum was welche welcher wenn
            wer werden wie wieviel wir wird wo zu zum zur""",
            "it": """a ai al alla alle anche buongiorno che chi ciao come con cosa da dal dalla degli dei del della
            delle di dopo dove e ed essere fare gli grazie ha hai hanno ho i il in io la le lo loro lui ma mi mia mio
            molto nel nella noi non o ogni per perche piu posso puo qual quale quali quando quanta quante quanti quanto
            quella quello questa questo se sei senza si sia sono su sua sul sulla suo ti tra tu tutti tutto un una uno
            voi vorrei""",
            "nl": """aan al als bij dan dat de deze die dit door dus een en er geen haar hallo heb hebben heeft hem het
            hier hij hoe hoeveel ik in is je kan kunnen maar me meer met mij mijn moet na naar niet nog nu of om ons
            onder ook op over te toch tot u uit uw van veel voor waar waarom wanneer wat we wel welke werd wie wij wil
            worden wordt zal ze zich zij zijn zo zonder""",
        }.items()
    }
)
"""Language -> its most frequent words, accents folded: little is asked with them."""

_SHORT = 25  # words
_SAMPLE = 6000  # characters
_PLAIN = 0.25  # share of function words; on 838 pages and pieces of the Debian handbook the model agreed with all such
_VOTE = 3.0  # how much more likely one exclusive function word makes a language
_NOISE = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+|`[^`\n]*`|<[^<>]{1,200}>")
_WORD = re.compile(r"[^\W\d_]+")
_MARKS = re.compile(r"(?<![\u0400-\u04ff])[\u0300-\u036f]+")
_LIGATURES = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "ё": "е"})
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa]")
_HANGUL = re.compile(r"[\uac00-\ud7a3]")


def fold(text: str) -> str:
    """Return the text in one case, without accents and compatibility forms; Cyrillic, Kana and Hangul stay whole."""
    text = text.casefold()
    if text.isascii():
        return text
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFC", bare).casefold().translate(_LIGATURES)


_loading = threading.Lock()


def detect(text: str) -> str:
    """Return the two-letter language of a document or question, "" when it is too short or uncertain."""
    sample = _NOISE.sub(" ", _sample(text))
    words = _WORD.findall(sample)
    by_script = _by_script("".join(words))
    if by_script or not words:
        return by_script
    if len(words) > _SHORT:
        if plain := _of_plain(words):
            return plain
        language, confidence = _identifier().classify(" ".join(words).lower())
        return str(language) if confidence > 0.5 else ""
    return _of_short(words)


def _sample(text: str) -> str:
    """Cut a long text down to pieces of its beginning, middle and end."""
    if len(text) <= _SAMPLE:
        return text
    third, middle = _SAMPLE // 3, len(text) // 2
    return "\n".join((text[:third], text[middle : middle + third], text[-third:]))


def _by_script(letters: str) -> str:
    """Tell Chinese, Japanese and Korean by their scripts; such a sign counts as three Latin letters."""
    han, kana, hangul = (len(script.findall(letters)) for script in (_HAN, _KANA, _HANGUL))
    signs = han + kana + hangul
    if signs == 0 or 3 * signs < len(letters) - signs:
        return ""
    if hangul * 2 > signs:
        return "ko"
    return "ja" if kana * 10 > signs else "zh"


def _of_plain(words: list[str]) -> str:
    """Return a longer text's language where every fourth word says it, without loading the model; "" otherwise."""
    folded = [fold(word) for word in words]
    votes = _votes(folded)
    first, second = sorted(votes, key=lambda language: votes[language], reverse=True)[:2]
    latin = sum(map(str.isascii, folded)) >= 0.95 * len(folded)
    return first if latin and votes[first] >= max(_PLAIN * len(folded), 2 * votes[second]) else ""


def _of_short(words: list[str]) -> str:
    """Weigh the classifier's probabilities with the function words' votes."""
    votes = _votes([fold(word) for word in words])
    first, second = sorted(votes, key=lambda language: votes[language], reverse=True)[:2]
    if votes[first] >= max(1, 2 * votes[second]):
        return first
    ranking = dict(_identifier().rank(" ".join(words).lower()))
    scores = {language: ranking[language] * _VOTE ** votes.get(language, 0.0) for language in ranking}
    best = max(scores, key=lambda language: scores[language])
    share = scores[best] / (sum(scores.values()) or 1.0)
    if votes.get(best, 0.0) > 0:
        return best if share > 0.5 else ""
    return best if share > 0.8 and sum(map(len, words)) >= 6 else ""


def _votes(words: list[str]) -> dict[str, float]:
    """Give each function word's vote to its languages, in equal parts."""
    votes = dict.fromkeys(FUNCTION_WORDS, 0.0)
    for word in words:
        languages = [language for language, known in FUNCTION_WORDS.items() if word in known]
        for language in languages:
            votes[language] += 1 / len(languages)
    return votes


def _identifier() -> "LanguageIdentifier":
    with _loading:  # `cache` alone lets every thread of the first moment load it: 20 of them took 14 s and 1.2 GB
        return _loaded()


@cache
def _loaded() -> "LanguageIdentifier":
    langid = importlib.import_module("py3langid.langid")  # with numpy, which reads the model
    identifier: LanguageIdentifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identifier.set_languages(set(LANGUAGES) & set(identifier.labels))
    return identifier
