"""Who may see what: every resource belongs to an assistant, every assistant to an owner."""

from models.assistants import Assistant
from models.errors import NotFound
from models.ids import is_id
from models.users import Principal
from services.ports import AssistantRepository


class Ownership:
    """Answer "may this caller see it" in one place, so that foreign and absent things look the same."""

    def __init__(self, assistants: AssistantRepository) -> None:
        self._assistants = assistants

    def assistant(self, caller: Principal, assistant_id: str) -> Assistant:
        """Return an assistant that the caller may manage.

        Raises:
            NotFound: it does not exist, or is somebody else's.
        """
        found = self._assistants.get(assistant_id) if is_id(assistant_id) else None
        if found is None or not (caller.is_admin or found.owner_id == caller.user_id):
            raise NotFound(f"There is no assistant {assistant_id!r}.")
        return found

    def sees(self, caller: Principal, assistant_id: str) -> bool:
        """Tell whether the caller may see what belongs to this assistant."""
        if caller.is_admin:
            return True
        found = self._assistants.get(assistant_id)
        return found is not None and found.owner_id == caller.user_id

    def visible_ids(self, caller: Principal, assistant_id: str | None = None) -> tuple[str, ...] | None:
        """Return the assistants whose things a list may show; None means all.

        A foreign or unknown `assistant_id` gives an empty tuple, so the list is empty.
        """
        if assistant_id is not None:
            return (assistant_id,) if self.sees(caller, assistant_id) else ()
        return None if caller.is_admin else self._assistants.ids_of_owner(caller.user_id)
