"""Texts that may have HTML in them, as plain ones."""

import html
import re

_TAGS = (
    "a abbr address article aside audio b bdi bdo big blockquote body br button caption center cite code col dd del "
    "details dfn div dl dt em figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr html i iframe img "
    "input ins kbd label li link main mark meta nav ol optgroup option p picture pre q s samp section select small "
    "source span strike strong sub summary sup svg table tbody td textarea tfoot th thead time title tr tt u ul var "
    "video wbr "
    "speak prosody emphasis say-as phoneme break amazon:effect amazon:domain"  # SSML
)
_WITHIN_WORDS = "a abbr b big em emphasis font i mark phoneme prosody s say-as small span strong sub sup u wbr"
_UNSEEN = re.compile(r"<(script|style)\b[^<>]*>.{0,5000}?</\1\s*>|<!--.{0,5000}?-->", re.IGNORECASE | re.DOTALL)
_ATTRIBUTE = r"""\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>]+)"""
_TAG = re.compile(rf"</?({'|'.join(_TAGS.split())})(?:{_ATTRIBUTE})*\s*/?>", re.IGNORECASE)
_BLANKS = re.compile(r"[^\S\n]+")


def without_tags(text: str) -> str:
    """Return a text without tags of HTML; what is none, as in `a<b and c>d`, stays."""
    text = _UNSEEN.sub(" ", text)
    return _TAG.sub(lambda tag: "" if tag[1].lower() in _WITHIN_WORDS.split() else " ", text)


def without_html(text: str) -> str:
    """Return a text without tags and entities of HTML, and with single blanks."""
    return _BLANKS.sub(" ", html.unescape(without_tags(text))).strip()
