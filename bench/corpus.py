"""Real text for `bench.retrieval`: what Debian's documentation packages put on this machine, cut into passages.

Nothing is downloaded: a package that is missing is named with the command that installs it. The files are read once by
all processors and kept in one SQLite file, since reading 10,000 of them takes a few minutes.
"""

import hashlib
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.documents import Piece
from models.errors import Invalid
from services.knowledge.indexable_text import indexable
from services.knowledge.reading import read

LANGUAGES = ("pt", "en", "zh")
"""The languages that questions are asked in; the corpus has others too, as noise."""

_DOC = Path("/usr/share/doc")
_SHORTEST = 60  # characters of a passage; shorter ones are mostly lines of navigation
_MANUAL_SECONDS = 5
_DEPTH = 10_000  # of calls, for deeply nested HTML
_STRUCK_TWICE = re.compile(".\x08")  # bold and underlined signs, as printers wanted them
_FORMAT = 1
_SCHEMA = f"""
CREATE TABLE documents (id INTEGER PRIMARY KEY, name TEXT, language TEXT, passages INTEGER, packed BLOB);
PRAGMA user_version = {_FORMAT};
"""


@dataclass(frozen=True)
class Source:
    """Files that a Debian package brings."""

    package: str
    folder: Path
    pattern: str


SOURCES = (
    Source("debian-handbook", _DOC / "debian-handbook" / "html", "*/*.html"),
    Source("debian-reference-common", _DOC / "debian-reference-common" / "docs", "*.en.html"),
    Source("debian-reference-pt", _DOC / "debian-reference-common" / "docs", "*.pt.html"),
    Source("debian-reference-zh-cn", _DOC / "debian-reference-common" / "docs", "*.zh-cn.html"),
    Source("debian-edu-doc-pt-br", _DOC / "debian-edu-doc-pt-br", "*bookworm*.html"),
    Source("debian-edu-doc-zh-cn", _DOC / "debian-edu-doc-zh-cn", "*bookworm*.html"),
    Source("debian-faq-pt", _DOC / "debian" / "FAQ" / "pt", "*.html"),
    Source("maint-guide-zh-cn", _DOC / "maint-guide-zh-cn" / "html", "*.html"),
    Source("kicad-doc-zh", _DOC / "kicad" / "help" / "zh", "*.html"),
    Source("installation-guide-amd64", _DOC / "installation-guide-amd64", "*/*.html"),
    Source("gimp-help-pt-br", Path("/usr/share/gimp/2.0/help/pt_BR"), "*.html"),
    Source("gimp-help-en", Path("/usr/share/gimp/2.0/help/en"), "*.html"),
    Source("gimp-help-de", Path("/usr/share/gimp/2.0/help/de"), "*.html"),
    Source("gimp-help-es", Path("/usr/share/gimp/2.0/help/es"), "*.html"),
    Source("gimp-help-fr", Path("/usr/share/gimp/2.0/help/fr"), "*.html"),
    Source("python3.11-doc", _DOC / "python3.11" / "html", "**/*.html"),
    Source("postgresql-doc-15", _DOC / "postgresql-doc-15" / "html", "*.html"),
    Source("gimp-help-it", Path("/usr/share/gimp/2.0/help/it"), "*.html"),
    Source("gimp-help-ja", Path("/usr/share/gimp/2.0/help/ja"), "*.html"),
    Source("sqlite3-doc", _DOC / "sqlite3", "**/*.html"),
    Source("git-doc", _DOC / "git-doc", "**/*.html"),
    Source("linux-doc-6.1", _DOC / "linux-doc-6.1" / "html", "**/*.html"),
    Source("manpages-zh", Path("/usr/share/man/zh_CN"), "*/*.gz"),
    Source("manpages-pt-br", Path("/usr/share/man/pt_BR"), "*/*.gz"),
)


@dataclass(frozen=True)
class CorpusDocument:
    """A file's passages.

    Attributes:
        passages: (piece, text of the piece) in their order.
    """

    name: str
    language: str
    passages: tuple[tuple[Piece, str], ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[tuple[Piece, str], ...])


class Corpus:
    """The documents of a corpus file; they are read one at a time, for all of them are larger than memory should be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def passages(self, language: str | None = None) -> int:
        """Return how many passages there are in a language, or in all."""
        with closing(sqlite3.connect(self._path)) as connection:
            where = "WHERE language = ?" if language else ""
            query = f"SELECT coalesce(sum(passages), 0) FROM documents {where}"
            return int(connection.execute(query, [language] if language else []).fetchone()[0])

    def select(self, most: int) -> Iterator[CorpusDocument]:
        """Yield documents with so many passages together: a third in each language, topped up with what there is."""
        shares = dict.fromkeys(LANGUAGES, 0)
        for _ in range(len(LANGUAGES)):
            open_ones = [language for language in LANGUAGES if shares[language] < self.passages(language)]
            rest = most - sum(shares.values())
            for number, language in enumerate(open_ones):
                fair = (rest + number) // len(open_ones)
                shares[language] = min(self.passages(language), shares[language] + fair)
        for language, share in shares.items():
            yield from self._taken("language = ?", language, share)
        marks = ",".join("?" * len(LANGUAGES))
        yield from self._taken(f"language NOT IN ({marks})", *LANGUAGES, most - sum(shares.values()))

    def _taken(self, where: str, *arguments: str | int) -> Iterator[CorpusDocument]:
        """Yield documents until they have so many passages (the last argument); the last one is cut short."""
        *values, rest = arguments
        with closing(sqlite3.connect(self._path)) as connection:
            for name, language, packed in connection.execute(
                f"SELECT name, language, packed FROM documents WHERE {where} ORDER BY id", values
            ):
                passages = _decoder.decode(packed)[: int(rest)]
                if passages:
                    yield CorpusDocument(name, language, passages)
                rest = int(rest) - len(passages)
                if rest <= 0:
                    return


def missing_packages() -> list[str]:
    """Return the packages that have no file here."""
    return sorted({source.package for source in SOURCES if next(source.folder.glob(source.pattern), None) is None})


def corpus(path: Path) -> Corpus:
    """Return the corpus of this machine, reading all files first if `path` does not hold it yet."""
    if not _is_whole(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".partial")
        beside.unlink(missing_ok=True)
        with closing(sqlite3.connect(beside)) as connection:
            connection.executescript(_SCHEMA)
            _fill(connection)
            connection.commit()
        beside.replace(path)
    return Corpus(path)


def _is_whole(path: Path) -> bool:
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0] == _FORMAT)


def _fill(connection: sqlite3.Connection) -> None:
    """Read every file; a passage whose text was seen before is left out."""
    seen: set[bytes] = set()
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        for document in pool.map(_read, _files(), chunksize=8):
            fresh = []
            for piece, text in document.passages if document else ():
                digest = hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()
                if digest not in seen:
                    seen.add(digest)
                    fresh.append((piece, text))
            if document and fresh:
                row = (document.name, document.language, len(fresh), _encoder.encode(tuple(fresh)))
                connection.execute("INSERT INTO documents (name, language, passages, packed) VALUES (?, ?, ?, ?)", row)


def _files() -> Sequence[Path]:
    """Return all files in an order that mixes the sources and never changes."""
    paths = {path for source in SOURCES for path in source.folder.glob(source.pattern) if path.is_file()}
    return sorted(paths, key=lambda path: hashlib.blake2b(str(path).encode()).digest())


def _read(path: Path) -> CorpusDocument | None:
    """Return a file's passages as the product makes them; None for one that it would refuse."""
    name = "-".join(path.parts[-2:]).removesuffix(".gz")
    sys.setrecursionlimit(_DEPTH)
    try:
        if path.suffix == ".gz":
            parsed = indexable(name, _manual_page(path), markdown=False)
        else:
            parsed = indexable(name, read("html", path.read_bytes()).text, markdown=True)
    except (Invalid, RecursionError):
        return None
    passages = ((piece, parsed.text[piece.start : piece.end]) for piece in parsed.pieces)
    return CorpusDocument(name, parsed.language, tuple(one for one in passages if len(one[1]) >= _SHORTEST))


def _manual_page(path: Path) -> str:
    """Return a manual page as text, one line a paragraph; "" for the few on which troff never ends."""
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "MANWIDTH": "5000"}
    command = ["man", "-l", "-Tutf8", str(path)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=_MANUAL_SECONDS)
    except subprocess.TimeoutExpired:
        return ""
    return _STRUCK_TWICE.sub("", done.stdout.decode(errors="replace"))
