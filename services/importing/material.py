"""What an import of an assistant is made of: read whole and checked, before anything is changed."""

import json
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.documents import DocumentType
from models.errors import Invalid
from services.importing.exported_assistants import ExportedAssistant, read_export
from services.importing.exported_threads import ThreadFile, storable
from services.importing.folder import FolderFile, Remark, Survey, survey
from services.knowledge.filenames import safe_filename

_LONGEST_NAME = 200
_LONGEST_ADDRESS = 256

Progress = Callable[[int, int, str], None]
"""Told how much is done, of how much, and what was last."""


@dataclass(frozen=True)
class ImportOrder:
    """What is to be imported, and as what.

    Attributes:
        source: a folder, or an exported assistant in JSON.
        assistant_id: take it into this assistant; "" for a new one.
        owner_email: whose the new assistant is; "" where there is one admin only.
        name: of the new assistant; "" for the export's or the folder's own.
        provider: of the new assistant; None for the server's own choice.
        files: where the files lie that an export names.
        threads: JSON lines of messages.
        addresses: JSON, address -> thread id, as system 000's Redis had it.
        keep_model: take the export's model and temperature over.
    """

    source: Path
    assistant_id: str = ""
    owner_email: str = ""
    name: str = ""
    provider: str | None = None
    files: Path | None = None
    threads: Path | None = None
    addresses: Path | None = None
    keep_model: bool = False


@dataclass(frozen=True)
class Material:
    """What was read, before anything is changed.

    Attributes:
        settings: fields of the new assistant.
        prompt: the prompt document's text; "" where the folder may have one.
        model: what wrote the answers in the threads, as far as it is known.
        addresses: thread id -> address.
        notes: what is not taken over, or has to be known.
    """

    name: str
    found: Survey
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    model: str | None = None
    threads: ThreadFile | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_material(order: ImportOrder, extensions: Collection[str], progress: Progress) -> Material:
    """Read what is to be imported.

    Args:
        extensions: of the formats that are read.
        progress: told how many bytes of the threads are read.

    Raises:
        Invalid: there is nothing to import in it, or it is not what it should be.
        OSError: a file cannot be read.
    """
    if len(order.name) > _LONGEST_NAME:
        raise Invalid(f"The name has more than {_LONGEST_NAME} characters. Give a shorter one.")
    if order.source.is_dir():
        found = survey(order.source, extensions)
        if not found.files:
            raise Invalid(f"No file in {order.source} can be read. Put documents into it.")
        return Material(order.name or order.source.resolve().name[:_LONGEST_NAME] or "Assistant", found)
    export = read_export(order.source)
    there = _beside(order, survey(order.files, extensions)) if order.files else None
    threads = ThreadFile(order.threads) if order.threads else None
    material = Material(
        order.name or export.name,
        _files_of(export, there),
        {"model": export.model, "temperature": export.temperature} if order.keep_model else {},
        export.prompt,
        export.model,
        threads,
        _addresses(order.addresses) if order.addresses else {},
        tuple(_notes(order, export)),
    )
    if threads is not None:
        threads.scan(progress)
    return material


def _notes(order: ImportOrder, export: ExportedAssistant) -> Iterator[str]:
    """Yield what is not taken over, and what has to be known of the rest."""
    for lost in export.lost:
        yield f"not taken over: {lost}"
    if export.model and order.keep_model:
        yield f"the model {export.model!r} may be shut down by now: if answers fail, set another one"
    elif export.model and not order.assistant_id:
        yield f"not taken over: the model {export.model!r}; --keep-model does, but models of that time are shut down"
    if export.temperature is not None and not order.keep_model and not order.assistant_id:
        yield f"not taken over: the temperature {export.temperature}; --keep-model does"
    if not export.prompt:
        yield "it has no instructions, so there is no prompt"


def _beside(order: ImportOrder, there: Survey) -> Survey:
    """Return what lies in the folder of files, without the export itself, which may lie there too."""
    parts = {path.resolve() for path in (order.source, order.threads, order.addresses) if path is not None}
    return replace(there, files=[file for file in there.files if file.location.resolve() not in parts])


def _files_of(export: ExportedAssistant, there: Survey | None) -> Survey:
    """Return the files that an export names, by their bare names, wherever they lie in the folder.

    Where it names none, all of the folder are meant.
    """
    if there is None:
        found = Survey(failed=[Remark(_printable(name), "Name its folder with --files.") for name in export.files])
        if export.file_ids and not export.files:
            reason = "The export tells ids of files, no names. Put the files into a folder and name it with --files."
            found.failed.append(Remark(_printable(", ".join(export.file_ids[:3])), reason))
        return found
    documents = [replace(file, type=DocumentType.RAG) for file in there.files]
    if not export.files:
        return replace(there, files=documents)
    found, taken = Survey(), set[str]()
    for name in export.files:
        matching = [file for file in documents if _bare(file.location.name) == _bare(name)]
        known = safe_filename(matching[0].location.name) if matching else ""
        if len(matching) == 1 and known not in taken:
            taken.add(known)
            found.files.append(replace(matching[0], name=known))
        else:
            found.failed.append(Remark(_printable(name), _obstacle(name, matching, there)))
    return found


def _obstacle(name: str, matching: Collection[FolderFile], there: Survey) -> str:
    if matching:
        return "Another file has the same name, or would have as a document. Rename one of them."
    reasons = [one.reason for one in (*there.skipped, *there.failed) if _bare(one.path) == _bare(name)]
    return reasons[0] if reasons else "It is not in the folder. Put it there, then import with --assistant."


def _bare(path: str) -> str:
    """Return the name at the end of a path; macOS writes accents otherwise than most."""
    return unicodedata.normalize("NFC", path.rpartition("/")[2])


def _printable(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def _addresses(path: Path) -> dict[str, str]:
    """Return thread id -> address.

    Raises:
        Invalid: the file is no object of texts, or two addresses have the same thread.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not all(isinstance(thread, str) for thread in given.values()):
        raise Invalid(f'{path} is no JSON object of addresses: {{"203.0.113.7": "thread_...", ...}}.')
    found: dict[str, str] = {}
    for address, thread in given.items():
        if not address.strip() or len(address) > _LONGEST_ADDRESS or address != storable(address):
            raise Invalid(f"{path}: an address has 1 to {_LONGEST_ADDRESS} characters.")
        if thread in found:
            raise Invalid(f"{path}: {found[thread]!r} and {address!r} have the same thread. Keep one of them.")
        found[thread] = address
    return found
