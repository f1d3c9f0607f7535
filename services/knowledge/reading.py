"""What the parser's child process runs: `python -m services.knowledge.reading <extension> <limits> <sizes>`.

It reads a file's name and its content from standard input, writes one `Answer` to standard output and ends. Whatever
the file makes the libraries do, the limits that it sets for itself first bound the time and the memory, and while they
are at it, no file can be written.
"""

import fcntl
import importlib
import os
import resource
import select
import sys

import msgspec

from models.documents import ParsedText
from models.errors import Invalid
from services.knowledge.charsets import decode, without_controls
from services.knowledge.child_process import Answer
from services.knowledge.csv_text import csv_as_markdown
from services.knowledge.declared_charset import declared_charset
from services.knowledge.html_text import html_as_markdown
from services.knowledge.indexable_text import indexable
from services.knowledge.json_text import json_as_markdown
from services.knowledge.paged_text import PagedText

_OFFICE = "services.knowledge.office_text"
"""Loaded for its own formats only: it would take a third of the time of a small file of another one."""

_OPEN_FILES = 64
_DEPTH = 10_000  # of calls, for deeply nested HTML and JSON
_MOST_CHARACTERS = 100_000_000
_TOO_COMPLEX = "The file is too large or nested too deep to be read. Split it, or save it in a simpler format."


def read(extension: str, content: bytes) -> PagedText:
    """Return the text of a file of one of the parser's formats.

    Raises:
        Invalid: as `Parser.parse`.
    """
    match extension:
        case "md" | "txt":
            return PagedText(decode(content))
        case "html" | "htm":
            return PagedText(without_controls(html_as_markdown(decode(content, declared_charset(content)))))
        case "csv":
            return PagedText(without_controls(csv_as_markdown(decode(content))))
        case "json":
            return PagedText(without_controls(json_as_markdown(decode(content))))
        case _:
            paged: PagedText = importlib.import_module(_OFFICE).office_as_markdown(extension, content)
            return paged


def _indexable(extension: str, filename: str, content: bytes) -> ParsedText:
    """Read a file without the right to write one, then analyse it, for which py3langid unpacks its model into one."""
    _, unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, unlimited))
    paged = read(extension, content)
    if len(paged.text) > _MOST_CHARACTERS:
        raise Invalid(_TOO_COMPLEX, code="document_too_complex")
    resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
    return indexable(filename, paged.text, markdown=extension != "txt", pages=paged.pages)


def _limit(seconds: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    sys.setrecursionlimit(_DEPTH)


def _end_with_the_parent() -> None:
    """Have the kernel end this process (SIGIO) when the parent, which holds the other end of stdin open, is gone."""
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:
        sys.exit("the parent is gone")


def _main() -> None:
    extension, (seconds, memory, name_size, size) = sys.argv[1], map(int, sys.argv[2:])
    _limit(seconds, memory)
    filename = sys.stdin.buffer.read(name_size).decode("utf-8", "surrogateescape")
    content = sys.stdin.buffer.read(size)
    _end_with_the_parent()
    try:
        answer = Answer(_indexable(extension, filename, content))
    except Invalid as fault:
        answer = Answer(None, fault.code, fault.detail)
    except (RecursionError, MemoryError):
        answer = Answer(None, "document_too_complex", _TOO_COMPLEX)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    sys.stdout.flush()
    os._exit(0)  # threads of xberg's may still run, and crash an interpreter that takes itself down


if __name__ == "__main__":
    _main()
