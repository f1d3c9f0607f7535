"""The marks of sources that OpenAI's models write into their text; what they cite also comes as annotations.

Two kinds are known: `【4:0†source】`, which system 000's assistants wrote after each sentence, and, of newer models,
words like `filecite` and `turn0file0` between the private-use characters U+E200 and U+E201.
"""

import re

_SPACE = "[ \t\u00a0]?"
_MARK = re.compile(_SPACE + "(?:【[0-9][0-9:]{0,8}†[^】\n]{0,300}】|\ue200[^\ue201\n]{0,300}\ue201)")
_UNFINISHED = re.compile(_SPACE + r"(?:【(?:[0-9][0-9:]{0,8}(?:†[^】\n]{0,300})?)?|" + "\ue200[^\ue201\n]{0,300})?\\Z")


class MarkFilter:
    """Take the marks out of a text that comes in pieces; other text in such brackets is Chinese, and stays."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, delta: str) -> str:
        """Return what can be shown after this piece; what may become a mark is held back."""
        text = _MARK.sub("", self._held + delta)
        unfinished = _UNFINISHED.search(text)
        end = unfinished.start() if unfinished else len(text)
        self._held = text[end:]
        return text[:end]

    def finish(self) -> str:
        """Return the rest, once the text is complete."""
        rest, self._held = self._held, ""
        return rest
