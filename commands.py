"""The commands that import, `import-folder`, `import-assistant` and `import-tools`, and `migrate-store`."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from models.errors import OrquestraError
from models.users import OPERATOR
from repositories.migration.migration import Compared
from repositories.secret_file import secret_path
from services.importing.assistants import ImportReport
from services.importing.documents import FolderImport, ImportSummary
from services.importing.folder import Remark
from services.importing.material import ImportOrder, Progress
from services.importing.threads import ThreadsSummary
from services.registry import Services
from settings import Settings
from wiring import build_services
from wiring.migration import open_migration

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("import-folder")
@click.argument("folder", type=_FOLDER)
@click.option("--assistant", "assistant_id", required=True, help="The assistant's id.")
@click.pass_obj
def import_folder(load_settings: Callable[[], Settings], folder: Path, assistant_id: str) -> None:
    """Upload every document of FOLDER to an assistant; run it again to take in what has changed.

    Files in folders within it are named after these. A prompt.txt becomes the assistant's prompt,
    and chat.txt, tool.txt, router.txt and chatty.txt those of its roles.
    """
    with _services(load_settings) as services, _bar("file") as progress:
        documents = services.documents
        uploads = FolderImport(documents, OPERATOR, assistant_id, documents.import_limits)
        summary = uploads.run(folder, progress)
    _tell_files(summary)
    if summary.failed:
        raise click.exceptions.Exit(1)


@click.command("import-assistant")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--owner", "owner_email", default="", help="Whose it is to be, by email; needed with several admins.")
@click.option("--name", default="", help="The assistant's name; else the folder's, or the export's.")
@click.option("--provider", help="The provider that answers; else LANGUAGE_MODEL decides.")
@click.option("--assistant", "assistant_id", default="", help="Import into this assistant, by id, not a new one.")
@click.option("--files", type=_FOLDER, help="Where the files lie that the export names.")
@click.option("--threads", type=_FILE, help="Its threads: JSON lines of messages.")
@click.option("--addresses", type=_FILE, help="JSON, address -> thread id: who goes on with which thread.")
@click.option("--keep-model", is_flag=True, help="Take the export's model and temperature over.")
@click.pass_obj
def import_assistant(load_settings: Callable[[], Settings], /, **options: Any) -> None:
    """Create an assistant from SOURCE: a folder of documents, or an assistant exported from OpenAI's API as JSON.

    In a folder, prompt.txt becomes the prompt and every other file a document. Of an export, the instructions become
    the prompt, and the files it names, or all of --files, documents. Run it again with --assistant to take in what has
    changed.
    """
    order = ImportOrder(**options)
    _refuse_what_has_no_effect(order)
    with _services(load_settings) as services:
        with _bar("B", "reading threads") as progress:
            material = services.imports.read(order, progress)
        assistant = services.imports.begin(order, material)
        try:
            with _bar("file") as files, _bar("message") as messages:
                report = services.imports.take(assistant, material, files, messages)
            _tell_report(material.notes, report)
        finally:  # whatever stopped it can be gone on with, by the id
            click.echo(f"assistant: {assistant.id} ({assistant.name})")
            key = services.imports.revealed_key(assistant)
            click.echo(f"API key: {key or 'not readable, since JWT_SECRET_KEY has changed; rotate it'}")
    if not report.complete:
        raise click.exceptions.Exit(1)


@click.command("import-tools")
@click.argument("file", type=_FILE)
@click.option("--assistant", "assistant_id", required=True, help="The assistant's id.")
@click.pass_obj
def import_tools(load_settings: Callable[[], Settings], file: Path, assistant_id: str) -> None:
    """Take the MCP servers that FILE lists (config/mcp.json and the like) into an assistant's tools.

    Programs (stdio) are taken if MCP_SERVERS_FILE allows the same ones. Run it again to take in what has changed.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise click.BadParameter("The file is no text in UTF-8.", param_hint="FILE") from None
    with _services(load_settings) as services:
        report = services.tool_imports.take(OPERATOR, assistant_id, text)
    for title, names in (("added", report.added), ("replaced", report.replaced), ("unchanged", report.unchanged)):
        for name in names:
            click.echo(f"{title}: {name}")
    for remark in report.skipped:
        click.echo(f"skipped: {remark}")
    counts = (len(report.added), len(report.replaced), len(report.unchanged), len(report.skipped))
    click.echo("{} added, {} replaced, {} unchanged, {} skipped".format(*counts))


@click.command("migrate-store")
@click.pass_obj
def migrate_store(load_settings: Callable[[], Settings]) -> None:
    """Copy the embedded store in DATA_DIR into MongoDB, and what its Valkey holds into REDIS_URL if that is set.

    Run it once, with no server on either side and the settings that the servers will have; docs/operations.md says
    what goes where. If it is stopped, run it again. The embedded store stays as it is.
    """
    settings = load_settings()
    try:
        with open_migration(settings) as migration, _bar("item", "copying") as copying, _bar("item", "reading") as back:
            compared = migration.run(copying, back)
    except OrquestraError as fault:
        raise click.ClickException(f"Nothing is migrated yet. {fault.detail}") from fault
    _tell_compared(compared)
    if not all(one.is_same for one in compared):
        raise click.ClickException(
            "What was copied differs from the embedded store, so no server starts on it. Run this again; if it "
            "differs again, report it."
        )
    _tell_what_is_elsewhere(settings)


def _refuse_what_has_no_effect(order: ImportOrder) -> None:
    """End the command with its usage where options contradict each other."""
    of_exports = (order.files, order.threads, order.addresses, order.keep_model or None)
    if order.source.is_dir() and any(option is not None for option in of_exports):
        raise click.UsageError("--files, --threads, --addresses and --keep-model go with an exported assistant only.")
    if order.addresses and not order.threads:
        raise click.UsageError("--addresses say who goes on with which thread: give --threads too.")
    of_new_ones = (order.owner_email, order.name, order.provider, order.keep_model)
    if order.assistant_id and any(of_new_ones):
        raise click.UsageError("--owner, --name, --provider and --keep-model are for a new assistant.")


@contextmanager
def _services(load_settings: Callable[[], Settings]) -> Iterator[Services]:
    """Give the services of the stores that the settings name; this process does jobs as well."""
    settings = load_settings()
    logging.getLogger("dramatiq").setLevel(logging.WARNING)  # else its workers' starts and ends stand around the bar
    services = build_services(replace(settings, job_threads=max(1, settings.job_threads)))
    with closing(services):
        yield services


@contextmanager
def _bar(unit: str, title: str = "") -> Iterator[Progress]:
    """Give what moves a progress bar, which is shown once there is something to do."""
    bars: list[tqdm[Any]] = []

    def show(done: int, of: int, what: str) -> None:
        if not bars:
            bars.append(tqdm(total=of, unit=unit, unit_scale=unit == "B", desc=title or None, dynamic_ncols=True))
        bar = bars[0]
        bar.set_postfix_str(what, refresh=False)
        bar.update(done - bar.n)
        bar.refresh()
        if done == of:
            bar.close()  # or the next one would stand below it

    try:
        yield show
    finally:
        for bar in bars:
            bar.close()


def _tell_report(notes: Sequence[str], report: ImportReport) -> None:
    for note in notes:
        click.echo(f"note: {note}")
    _tell_files(report.files)
    if report.threads is not None:
        _tell_threads(report.threads)


def _tell_files(summary: ImportSummary) -> None:
    _tell_remarks(summary.skipped, summary.failed)
    counts = (len(summary.added), len(summary.unchanged), len(summary.skipped), len(summary.failed))
    click.echo("{} added, {} unchanged, {} skipped, {} failed".format(*counts))


def _tell_threads(summary: ThreadsSummary) -> None:
    _tell_remarks(summary.skipped, summary.failed)
    if summary.failures > len(summary.failed):
        click.echo(f"failed: {summary.failures - len(summary.failed)} more lines")
    counts = (summary.added, summary.unchanged, summary.conversations, summary.failures)
    click.echo("messages: {} added, {} unchanged, in {} conversations; {} failed".format(*counts))


def _tell_remarks(skipped: Sequence[Remark], failed: Sequence[Remark]) -> None:
    for title, remarks in (("skipped", skipped), ("failed", failed)):
        for remark in remarks:
            click.echo(f"{title}: {remark.path}: {remark.reason}")


def _tell_compared(compared: Sequence[Compared]) -> None:
    """Print what there is on both sides; digests are cut to what eyes can compare."""
    click.echo(f"{'':22}{'embedded':>10}  {'':14}{'copied':>10}")
    for one in compared:
        (there, digest), (here, found) = one.source, one.target
        verdict = "same" if one.is_same else "DIFFERENT"
        click.echo(f"{one.name:22}{there:>10}  {digest[:12]:14}{here:>10}  {found[:12]:14}{verdict}")


def _tell_what_is_elsewhere(settings: Settings) -> None:
    """Print what servers need beside the stores."""
    path, given = secret_path(settings.data_dir), settings.jwt_secret_key
    if not path.exists():
        click.echo("JWT_SECRET_KEY: set the one that was set before on every server")
    elif given and given != path.read_text(encoding="utf-8", errors="replace").strip():
        click.echo(
            f"JWT_SECRET_KEY: it is not the secret in {path}. If that one was in use, give it to every server: with "
            "another one logins end, displayed API keys become null and headers of tools are lost"
        )
    else:
        click.echo(f"JWT_SECRET_KEY: set it on every server to what {path} holds")
    click.echo(f"DOCUMENTS_URL: the documents' files stay in {settings.documents_url}; every server needs them there")
