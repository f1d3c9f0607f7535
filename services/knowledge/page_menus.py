"""Menus of a web page, which say the same on every page and answer nothing: found by their names or by their place.

A list of links that is neither named as a menu nor stands above the first heading is content and stays.
"""

import re

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

_NAMED = re.compile(
    r"(?:doc|site|main|top|bottom|page|sub|head|foot|header|footer)?[-_]?nav(?:bar|igation|header|footer|links|menu)?"
    r"|nav[-_](?:bar|header|footer|links|menu|panel|tabs)|bread-?crumbs?|pagination|pager|skip-?(?:link|nav)s?",
    re.IGNORECASE,
)
_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
_WORD = re.compile(r"\w")
_SHORT = 300  # characters; longer ones must be links for the most part


def drop_menus(soup: BeautifulSoup) -> None:
    """Take out what is named as navigation and has links, then the links above the first heading if all is links."""
    for tag in soup.find_all(_is_named):
        if tag.decomposed:
            continue
        if tag.get("role") == "navigation" or (not tag.find(_HEADINGS) and _has_mostly_links(tag)):
            tag.decompose()
    for anchor in soup.find_all("a", string=["¶", "#"]):
        anchor.decompose()  # at a heading, to copy its address
    heading = soup.find(_HEADINGS)
    above = [text for text in heading.find_all_previous(string=_WORD)] if heading else []
    if sum(map(len, above)) <= _SHORT and all(text.find_parent("a") for text in above):
        for text in above:
            _extract(text)


def _is_named(tag: Tag) -> bool:
    names = (*tag.get_attribute_list("class"), tag.get("id"))
    return tag.get("role") == "navigation" or any(_NAMED.fullmatch(name) for name in names if name)


def _has_mostly_links(tag: Tag) -> bool:
    linked = sum(len(link.get_text()) for link in tag.find_all("a"))
    text = len(tag.get_text())
    return bool(tag.find("a")) and (text <= _SHORT or linked * 10 >= text * 7)


def _extract(text: NavigableString) -> None:
    """Take a text out, and the tags that nothing is left in."""
    empty: NavigableString | Tag = text
    for tag in text.parents:
        if any(other is not text and other.strip() for other in tag.strings):
            break
        empty = tag
    empty.extract()
