"""Importing an assistant: from a folder, as system 000's script made one, or as exported from the Assistants API."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from models.assistants import Assistant
from models.documents import DocumentType
from models.errors import Invalid
from models.prompts import PROMPT_FILENAME
from models.users import OPERATOR
from services.assistants import AssistantService
from services.documents import DocumentService
from services.importing.documents import FolderImport, ImportSummary
from services.importing.folder import FolderFile
from services.importing.material import ImportOrder, Material, Progress, read_material
from services.importing.threads import ThreadImport, ThreadsSummary
from services.ports import ChatRepository, ConversationRepository, UserRepository

_INSTRUCTIONS = "instructions"


@dataclass(frozen=True)
class ImportReport:
    """What became of an import; `threads` None without any."""

    files: ImportSummary
    threads: ThreadsSummary | None = None

    @property
    def complete(self) -> bool:
        """Tell whether nothing failed."""
        return not self.files.failed and (self.threads is None or not self.threads.failures)


class AssistantImport:
    """Import assistants for whoever runs commands on the machine itself."""

    def __init__(
        self,
        users: UserRepository,
        assistants: AssistantService,
        documents: DocumentService,
        conversations: ConversationRepository,
        chats: ChatRepository,
    ) -> None:
        self._users = users
        self._assistants = assistants
        self._documents = documents
        self._conversations = conversations
        self._chats = chats

    def read(self, order: ImportOrder, progress: Progress) -> Material:
        """Read what is to be imported, and change nothing.

        Args:
            progress: told how many bytes of the threads are read.

        Raises:
            Invalid: there is nothing to import in it, or it is not what it should be.
            OSError: a file cannot be read.
        """
        return read_material(order, self._documents.import_limits.extensions, progress)

    def begin(self, order: ImportOrder, material: Material) -> Assistant:
        """Return the assistant that it is imported into: a new one, or that of the order.

        Raises:
            Invalid: there is no such owner, or the provider is not configured.
            NotFound: there is no such assistant.
        """
        if order.assistant_id:
            return self._assistants.get(OPERATOR, order.assistant_id)
        settings = {**material.settings, **({"provider": order.provider} if order.provider else {})}
        return self._assistants.add(OPERATOR, material.name, self._owner(order.owner_email), settings)

    def take(self, assistant: Assistant, material: Material, files: Progress, messages: Progress) -> ImportReport:
        """Take documents and threads into an assistant; what is there already stays as it is.

        Raises:
            Unavailable: a store is down; import again into the same assistant.
        """
        summary = self._take_files(assistant, material, files)
        if material.threads is None:
            return ImportReport(summary)
        threads = ThreadImport(self._conversations, self._chats, assistant, material.model, material.addresses)
        return ImportReport(summary, threads.run(material.threads, messages))

    def revealed_key(self, assistant: Assistant) -> str | None:
        """Return the assistant's API key, None if the server's secret has changed since it was made."""
        return self._assistants.revealed_key(assistant)

    def _take_files(self, assistant: Assistant, material: Material, progress: Progress) -> ImportSummary:
        uploads = FolderImport(self._documents, OPERATOR, assistant.id, self._documents.import_limits)
        if not material.prompt:
            return uploads.take(material.found, progress)
        with tempfile.TemporaryDirectory() as folder:
            location = Path(folder) / PROMPT_FILENAME
            location.write_text(material.prompt, encoding="utf-8", newline="")
            prompt = FolderFile(_INSTRUCTIONS, location, DocumentType.PROMPT, PROMPT_FILENAME)
            found = replace(material.found, files=[prompt, *material.found.files])
            return uploads.take(found, progress)

    def _owner(self, email: str) -> str:
        if email:
            owner = self._users.find_by_email(email.strip().lower())
            if owner is None:
                raise Invalid(f"There is no account of {email}. Register it first, or name another --owner.")
            return owner.id
        admins = self._users.admins()
        if not admins:
            raise Invalid("There is no account yet. Start the server and register the first one, then import.")
        if len(admins) > 1:
            raise Invalid("There are several admins. Say with --owner whose the assistant is to be.")
        return admins[0].id
