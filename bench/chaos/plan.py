"""Who says what, and when: the same for the same seed."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from bench.chaos.records import Message

MESSAGES_PER_SECOND = 12.0
_LENGTH = 14
_TO_HUMANS = 2
_HANDOVERS = frozenset({4, 9})


class Habit(StrEnum):
    """How a conversation's person behaves."""

    WAITS = "waits for each answer"
    OVERLAPS = "writes on without waiting"
    BURSTS = "writes in bursts"
    CALLBACKS = "is called back"
    HANDOFF = "is handed over to a human"


_SHARES = ((Habit.WAITS, 35), (Habit.OVERLAPS, 25), (Habit.BURSTS, 18), (Habit.CALLBACKS, 18), (Habit.HANDOFF, 4))


@dataclass(frozen=True)
class Planned:
    """A message to be sent, at the earliest so many seconds after the beginning.

    Attributes:
        first_of_clump: messages come in clumps; this one begins one.
        to_the_human: a human takes over while this one is answered, and gets these messages.
    """

    at: float
    message: Message
    first_of_clump: bool
    to_the_human: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Script:
    """A conversation to be.

    Attributes:
        conversation: its channel id.
    """

    conversation: str
    habit: Habit
    planned: tuple[Planned, ...]
    seed: str

    @property
    def waits(self) -> bool:
        """Tell whether a clump is sent only when the one before has its answers."""
        hasty = self.habit is Habit.CALLBACKS and int(self.conversation[1:]) % 2 == 1
        return self.habit is not Habit.OVERLAPS and not hasty


def scripts(seed: str, seconds: float) -> list[Script]:
    """Return conversations with `MESSAGES_PER_SECOND` messages in all, spread over so many seconds."""
    count = max(len(_SHARES), round(seconds * MESSAGES_PER_SECOND / _LENGTH))
    habits = [habit for habit, share in _SHARES for _ in range(max(1, round(count * share / 100)))]
    return [_script(seed, f"c{number:03}", habit, seconds) for number, habit in enumerate(habits)]


def _script(seed: str, conversation: str, habit: Habit, seconds: float) -> Script:
    chance = Random(f"{seed}/{conversation}")
    numbers = iter(range(100))

    def message() -> Message:
        return Message(f"{conversation}-{next(numbers):02}", conversation, habit is Habit.CALLBACKS)

    planned: list[Planned] = []
    while len(planned) < _LENGTH:
        begun = len(planned)
        size = 1 if habit is Habit.HANDOFF else min(_LENGTH - begun, chance.choice((1, 2, 3, 4)))
        at = seconds * (begun + size * chance.random()) / _LENGTH
        for place in range(size):
            one = message()
            human = habit is Habit.HANDOFF and len(planned) in _HANDOVERS
            asides = tuple(message() for _ in range(_TO_HUMANS)) if human else ()
            planned.append(Planned(at, one, place == 0, asides))
            at += chance.uniform(0.05, 0.7)
    return Script(conversation, habit, tuple(planned), seed)
