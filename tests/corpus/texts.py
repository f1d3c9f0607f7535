"""The plain formats of a policy: md, txt, html, csv and json, in the charsets and dialects that people save them in."""

import csv
import io
import json
from html import escape

from tests.corpus.policies import Policy


def md_of(policy: Policy) -> bytes:
    """Return markdown: the title of level 1, the sections of level 2, tables with pipes."""
    lines = [f"# {policy.title}", ""]
    for section in policy.sections:
        lines += [f"## {section.heading}", "", section.paragraph, ""]
        for number, row in enumerate(section.rows):
            lines += [f"| {row[0]} | {row[1]} |"] + ["|---|---|"] * (number == 0)
        lines.append("")
    return "\r\n".join(lines).encode("utf-8-sig")


def txt_of(policy: Policy, charset: str) -> bytes:
    """Return plain text in a charset."""
    return "\n\n".join((policy.title, *(section.paragraph for section in policy.sections))).encode(charset)


def html_of(policy: Policy, charset: str) -> bytes:
    """Return a page that names its charset, with a menu and a script that nobody wants to read."""
    body = ["<nav>Menu</nav><script>track()</script>", f"<h1>{escape(policy.title)}</h1>"]
    for section in policy.sections:
        body.append(f"<h2>{escape(section.heading)}</h2><p>{escape(section.paragraph)}")
        rows = ("".join(f"<td>{escape(cell)}" for cell in row) for row in section.rows)
        body.append("".join(("<table>", *(f"<tr>{row}" for row in rows), "</table>")) if section.rows else "")
    return f"<!doctype html><meta charset={charset}><title>x</title>{''.join(body)}".encode(charset)


def csv_of(policy: Policy, charset: str, delimiter: str) -> bytes:
    """Return the policy as a table of section, text and limits, one cell of which has lines and quotes."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(["section", "text", "author"])
    for section in policy.sections:
        limits = "\n".join(f'{first}: "{second}"' for first, second in section.rows)
        writer.writerow(
            [section.heading, section.paragraph, limits] if limits else [section.heading, section.paragraph]
        )
    return file.getvalue().encode(charset)


def json_of(policy: Policy) -> bytes:
    """Return an object with the sections as nested lists of objects."""
    sections = [
        {
            "title": section.heading,
            "text": section.paragraph,
            "limits": [{"for": row[0], "limit": row[1]} for row in section.rows],
        }
        for section in policy.sections
    ]
    return json.dumps(
        {"title": policy.title, "author": policy.author, "sections": sections}, ensure_ascii=False
    ).encode()
