"""HTML as markdown. Nesting, unclosed comments and numbered lists make the work grow with the square of the input.

So this belongs into a process with limits: a page of 10 MB of tags fills gigabytes.
"""

import re
from typing import Any

from bs4 import BeautifulSoup, Tag
from bs4.element import CData, PreformattedString
from markdownify import ATX, MarkdownConverter

from services.knowledge.html_tables import unfold_tables
from services.knowledge.page_menus import drop_menus

_CELLS = frozenset({"td", "th"})
_TERMS = frozenset({"dt", "dd"})
_PARAGRAPH = frozenset({"p"})
_ENDED_BY = {
    **dict.fromkeys(("td", "th"), _CELLS),
    **dict.fromkeys(("tr", "tbody", "thead", "tfoot"), _CELLS | {"tr"}),
    **dict.fromkeys(("dt", "dd"), _TERMS | _PARAGRAPH),
    "li": frozenset({"li", "p"}),
    **dict.fromkeys("p h1 h2 h3 h4 h5 h6 ul ol dl table div section article blockquote pre hr".split(), _PARAGRAPH),
}
_SCOPES = frozenset("table ul ol dl div section article blockquote body html".split())
_LOOKED_AT = 12  # open tags
_DROPPED = "script style nav noscript template iframe svg head title button select textarea datalist".split()
_LINES = ["summary", "legend", "address"]  # stand alone, though markdownify does not know them


class _Soup(BeautifulSoup):
    """A tree in which a tag ends where HTML allows to leave its end out: `<li>one<li>two`, `<tr><td>one<td>two`."""

    def handle_starttag(self, name: str, *args: Any, **options: Any) -> Tag | None:
        """End what the tag ends, then begin it."""
        ended = _ENDED_BY.get(name, frozenset())
        depth = len(self.tagStack)
        for place in range(depth - 1, max(0, depth - _LOOKED_AT), -1) if ended else ():
            if self.tagStack[place].name in ended:
                depth = place
            elif self.tagStack[place].name in _SCOPES:
                break
        if depth < len(self.tagStack):
            self.endData()
        while depth < len(self.tagStack):
            self.popTag()
        return super().handle_starttag(name, *args, **options)


class _Converter(MarkdownConverter):
    """A converter that keeps a cell's own bars apart from those between cells."""

    def convert_td(self, tag: Tag, text: str, parent_tags: set[str]) -> str:
        """Return a cell."""
        return str(
            super().convert_td(  # type: ignore[misc]
                tag, text.replace("|", "\\|"), parent_tags
            )
        )

    def convert_th(self, tag: Tag, text: str, parent_tags: set[str]) -> str:
        """Return a cell of titles."""
        return str(
            super().convert_th(  # type: ignore[misc]
                tag, text.replace("|", "\\|"), parent_tags
            )
        )


def html_as_markdown(html: str) -> str:
    """Return HTML as markdown: its text, headings, lists, tables and links, without menus and what is not shown."""
    soup = _Soup(html, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    for text in soup.find_all(string=lambda text: isinstance(text, PreformattedString)):
        if not isinstance(text, CData):
            text.extract()  # a comment, a declaration or a processing instruction
    for image in soup.find_all("img"):
        image.replace_with(str(image.get("alt") or ""))
    for tag in soup.find_all(True):
        _tame(tag)
    drop_menus(soup)
    unfold_tables(soup)
    converter = _Converter(
        heading_style=ATX, bullets="-", escape_asterisks=False, escape_underscores=False, table_infer_header=True
    )
    markdown = re.sub(r"\n{3,}", "\n\n", str(converter.convert_soup(soup)).replace("\xa0", " ")).strip()
    return f"# {title}\n\n{markdown}" if title and soup.h1 is None else markdown


def _tame(tag: Tag) -> None:
    """Take from a tag what markdown would be the worse for: huge spans, and links that are programs or data."""
    if tag.name in _LINES:
        tag.name = "p"
    span = str(tag.get("colspan") or "")
    if span.isdigit() and len(span) > 2:
        del tag["colspan"]
    if str(tag.get("href") or "").strip().lower().startswith(("javascript:", "data:", "vbscript:")):
        del tag["href"]
