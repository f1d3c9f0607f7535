"""Which language speech is in, as BCP 47 tags with a region, which is what voices are named by."""

import re
from types import MappingProxyType

from services.knowledge.language import FUNCTION_WORDS, detect, fold

_OTHERWISE = "en-US"
_REGIONS = MappingProxyType(
    {
        "en": "en-US",
        "pt": "pt-BR",
        "zh": "zh-CN",
        "es": "es-ES",
        "fr": "fr-FR",
        "de": "de-DE",
        "it": "it-IT",
        "nl": "nl-NL",
        "ca": "ca-ES",
        "ro": "ro-RO",
        "sv": "sv-SE",
        "da": "da-DK",
        "no": "nb-NO",
        "nb": "nb-NO",
        "fi": "fi-FI",
        "pl": "pl-PL",
        "cs": "cs-CZ",
        "sk": "sk-SK",
        "hu": "hu-HU",
        "hr": "hr-HR",
        "tr": "tr-TR",
        "id": "id-ID",
        "vi": "vi-VN",
        "ru": "ru-RU",
        "uk": "uk-UA",
        "bg": "bg-BG",
        "el": "el-GR",
        "ar": "ar-SA",
        "he": "he-IL",
        "fa": "fa-IR",
        "hi": "hi-IN",
        "th": "th-TH",
        "ja": "ja-JP",
        "ko": "ko-KR",
    }
)
"""Language -> the tag that it is spoken with where no region is named: that of the most speakers."""
_TRADITIONAL = "zh-TW"
_SIGN = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_SIGN_SAYS = 3  # as much as so many letters
_KANA = re.compile(r"[\u3041-\u30ff]")
_WORD = re.compile(r"[^\W\d_]+")


def spoken_language(language: str | None, heard: str | None, *texts: str) -> str:
    """Return the tag to speak an answer with: the assistant's language, else what was heard, else that of the texts.

    Args:
        language: what the assistant answers in; None if it follows the question.
        heard: what the person spoke; None if that is not known.
        texts: how the answer begins, then others that are in its language, such as the question: a heading of two
            words tells little.
    """
    tag = language or heard
    if tag:
        return with_region(tag)
    told = next(filter(None, map(_told, texts)), "")
    return _REGIONS.get(told or detect("\n".join(texts)), _OTHERWISE)


def with_region(tag: str) -> str:
    """Return a BCP 47 tag as language and region, such as `pt-BR` for `pt` or `PT_br`; scripts are left out."""
    language, *rest = re.split(r"[-_]", tag)
    language = language.lower()
    region = next((part.upper() for part in rest if re.fullmatch(r"[A-Za-z]{2}|\d{3}", part)), None)
    if region:
        return f"{language}-{region}"
    if language == "zh" and "hant" in (part.lower() for part in rest):
        return _TRADITIONAL
    return _REGIONS.get(language, language)


def likely_language(text: str) -> str:
    """Return the two-letter language that the signs or the function words of a text speak for, "en" if none do.

    It is less than `detect` knows and takes microseconds, which is what there is between two words of an answer.
    """
    votes = _votes(text)
    return max(votes, key=lambda language: votes[language])


def _told(text: str) -> str:
    """Return the language of a text that leaves no doubt, "" otherwise: `detect` loads its model for a second then."""
    votes = _votes(text)
    first, second = sorted(votes, key=lambda language: votes[language], reverse=True)[:2]
    return first if votes[first] >= max(1.0, 2 * votes[second]) else ""


def _votes(text: str) -> dict[str, float]:
    """Give each function word's vote to its languages, in equal parts; Chinese and Japanese are told by their signs."""
    words = _WORD.findall(text)
    if _SIGN_SAYS * len(_SIGN.findall(text)) > sum(map(len, words)):
        return {"ja": 1.0, "zh": 0.0} if _KANA.search(text) else {"zh": 1.0, "ja": 0.0}
    votes = dict.fromkeys(FUNCTION_WORDS, 0.0)
    for word in map(fold, words):
        languages = [language for language, known in FUNCTION_WORDS.items() if word in known]
        for language in languages:
            votes[language] += 1 / len(languages)
    return votes
