"""Conversations that a provider keeps for us."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Thread:
    """The conversation at a provider that continues one of ours.

    Attributes:
        id: the provider's own id; "" while there is none.
        turns: the keys of the turns that it holds, oldest first.
        settled: False once an attempt has taken it, until that attempt says what it holds now. If it never does, it
            may hold more than `turns`, and nobody knows what.
        context: names the documents' texts that may have been found in it.
    """

    id: str = ""
    turns: tuple[str, ...] = ()
    settled: bool = False
    context: str = ""

    def holds(self, history: Sequence[str]) -> int | None:
        """Return how many turns of a history it holds, from the oldest on; the others only have to be added to it.

        None when it cannot be continued: its newest turn is not in the history, or the turns up to that one differ.
        The history may begin later than the thread, or earlier.

        Args:
            history: keys, oldest first.
        """
        if not self.settled or not self.turns or self.turns[-1] not in history:
            return None
        count = history.index(self.turns[-1]) + 1
        both = min(count, len(self.turns))
        return count if tuple(history[count - both : count]) == self.turns[-both:] else None


class LeftoverKind(StrEnum):
    """What a provider keeps."""

    CONVERSATION = "conversation"
    RESPONSE = "response"


@dataclass(frozen=True)
class Leftover:
    """Something that a provider keeps, that nothing of ours refers to any more, and that is to be deleted there.

    Attributes:
        id: the provider's own.
    """

    kind: LeftoverKind
    id: str
