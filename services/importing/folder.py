"""Looking through a folder: which of its files are documents, and under which names."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.documents import DocumentType
from models.errors import Invalid
from models.prompts import PROMPT_FILENAMES
from services.knowledge.filenames import safe_filename

_HIDDEN = (".", "~$")  # Office puts `~$` before the name of a file that is open


@dataclass(frozen=True)
class FolderFile:
    """A file that is to become a document.

    Attributes:
        path: where it lies in the folder, fit to be printed.
        location: where it lies on the disk.
        name: of the document; `contracts/2026/a.pdf` becomes `contracts - 2026 - a.pdf`.
    """

    path: str
    location: Path
    type: DocumentType
    name: str


@dataclass(frozen=True)
class Remark:
    """What there is to say about a path of the folder."""

    path: str
    reason: str


@dataclass
class Survey:
    """What lies in a folder, in the order of the paths.

    Attributes:
        skipped: what is of no use here, such as formats that are not read.
        failed: what should become documents and cannot.
    """

    files: list[FolderFile] = field(default_factory=list)
    skipped: list[Remark] = field(default_factory=list)
    failed: list[Remark] = field(default_factory=list)


def survey(folder: Path, extensions: Collection[str]) -> Survey:
    """Look through a folder and those in it, without opening a file.

    Hidden files and folders are skipped; links are followed to files within the folder only.

    Raises:
        Invalid: there is no such folder.
    """
    root = Path(os.path.realpath(folder))
    if not root.is_dir():
        raise Invalid(f"There is no folder {folder}. Name one that exists.")
    found = Survey()
    for parts in _walk(root, found):
        location, path = root.joinpath(*parts), _shown(parts)
        is_prompt = path in PROMPT_FILENAMES
        obstacle = _obstacle(location, root, extensions)
        if obstacle is not None:
            found.skipped.append(Remark(path, obstacle))
            continue
        name = path if is_prompt else safe_filename(" - ".join(parts))
        found.files.append(FolderFile(path, location, DocumentType.PROMPT if is_prompt else DocumentType.RAG, name))
    _separate(found)
    return found


def _walk(root: Path, found: Survey) -> Iterator[tuple[str, ...]]:
    """Yield the parts of each file's path, noting what is hidden and folders that are not entered."""

    def unreadable(error: OSError) -> None:
        parts = Path(error.filename).relative_to(root).parts
        found.failed.append(Remark(_shown(parts) or ".", "The folder cannot be read. Check its permissions."))

    for directory, folders, files in os.walk(root, onerror=unreadable):
        above = Path(directory).relative_to(root).parts
        hidden = sorted(name for name in (*folders, *files) if name.startswith(_HIDDEN))
        found.skipped += [Remark(_shown((*above, name)), "It is hidden.") for name in hidden]
        folders[:] = sorted(name for name in folders if not name.startswith(_HIDDEN))
        for name in folders:
            if os.path.islink(os.path.join(directory, name)):
                found.skipped.append(Remark(_shown((*above, name)), "Links to folders are not followed."))
        for name in sorted(files):
            if not name.startswith(_HIDDEN):
                yield (*above, name)


def _obstacle(location: Path, root: Path, extensions: Collection[str]) -> str | None:
    """Return why a path is no document, None if nothing speaks against it."""
    if not Path(os.path.realpath(location)).is_relative_to(root):
        return "It is a link that leads out of the folder."
    if not os.path.isfile(location):
        return "It is no regular file."
    if location.suffix.lstrip(".").lower() not in extensions:
        return f"Files of this kind are not read, only {', '.join(sorted(extensions))}."
    return None


def _separate(found: Survey) -> None:
    """Take out files that would become the same document: which of them is meant is not ours to say."""
    sharing: defaultdict[tuple[DocumentType, str], list[FolderFile]] = defaultdict(list)
    for file in found.files:
        sharing[file.type, file.name].append(file)
    for files in sharing.values():
        for file in files if len(files) > 1 else ():
            others = ", ".join(other.path for other in files if other is not file)
            reason = f"It would have the same name as {others}: {file.name!r}. Rename one of them."
            found.failed.append(Remark(file.path, reason))
            found.files.remove(file)


def _shown(parts: Sequence[str]) -> str:
    """Return a path for reports: bytes that are no UTF-8 and what would steer a terminal become question marks."""
    return "".join(sign if sign.isprintable() else "?" for sign in "/".join(parts))
