"""What is read from a file: its text, and where its pages are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PagedText:
    """Markdown, and where each page of it starts; no pages for a format that has none."""

    text: str
    pages: tuple[int, ...] = ()
