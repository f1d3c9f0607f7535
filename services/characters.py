"""Texts from elsewhere as texts that every store and every client can take."""


def whole(text: str) -> str:
    """Return the text with its halves of UTF-16 pairs joined; a half alone becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class WholeCharacters:
    """Put together the characters that a server cuts into halves of a UTF-16 pair, as JavaScript ones do."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Return the text without halves: a first half waits for its second, a half alone becomes U+FFFD."""
        text, self._held = self._held + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        return whole(text)
