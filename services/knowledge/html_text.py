"""HTML as markdown. Nesting, unclosed comments and numbered lists make the work grow with the square of the input.

So this belongs into a process with limits: a page of 10 MB of tags fills gigabytes.
"""

import re
from typing import Any

from bs4 import BeautifulSoup, Tag
from markdownify import ATX, MarkdownConverter

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
_DROPPED = ["script", "style", "nav", "noscript", "template", "iframe", "svg", "head", "title", "button", "select"]


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


def html_as_markdown(html: str) -> str:
    """Return HTML as markdown: its text, headings, lists, tables and links."""
    soup = _Soup(html, "html.parser")
    title = " ".join(soup.title.get_text().split()) if soup.title else ""
    has_heading = soup.h1 is not None
    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    for image in soup.find_all("img"):
        image.replace_with(str(image.get("alt") or ""))
    for tag in soup.find_all(True):
        _tame(tag)
    converter = MarkdownConverter(
        heading_style=ATX, bullets="-", escape_asterisks=False, escape_underscores=False, table_infer_header=True
    )
    text = re.sub(r"\n{3,}", "\n\n", str(converter.convert_soup(soup)).replace("\xa0", " ")).strip()
    return f"# {title}\n\n{text}" if title and not has_heading else text


def _tame(tag: Tag) -> None:
    """Take from a tag what markdown would be the worse for: huge spans, and links that are programs or data."""
    span = str(tag.get("colspan") or "")
    if span.isdigit() and len(span) > 2:
        del tag["colspan"]
    if str(tag.get("href") or "").strip().lower().startswith(("javascript:", "data:", "vbscript:")):
        del tag["href"]
