"""How OpenAI, and servers that speak its protocol, say that something is not there."""

import re

import httpx2

_STATUSES = (404, 410)
_OF_A_ROUTE = "invalid url"
_WORDS = re.compile(r"not found|no such|does not exist|invalid (?:value for )?'(?:file_id|vector_store_id)'")
"""What is said of a thing that is not there, or of an id that can be none of theirs, where the status is 400."""
_GONE = ("not found", "no such", "does not exist", "deleted")


def is_about_absence(response: httpx2.Response) -> bool:
    """Tell whether a refusal is about a thing; one of a server that knows no such routes is of another shape."""
    words = response.text.lower()
    if response.status_code == 400:
        return _WORDS.search(words) is not None
    return response.status_code in _STATUSES and '"error"' in words and _OF_A_ROUTE not in words


def says_gone(response: httpx2.Response, name: str) -> bool:
    """Tell whether a refusal names a thing and says that it is not there.

    That is asked where nobody looks again: another server, or a proxy, would say less.
    """
    words = response.text.lower()
    if response.status_code not in (400, *_STATUSES) or _OF_A_ROUTE in words:
        return False
    return name.lower() in words and any(gone in words for gone in _GONE)
