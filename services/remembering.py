"""What a conversation's memory holds, as a model is told it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.answers import ToolRound
from models.chats import Chat, ChatStatus
from models.given import Turn
from models.tools import ToolCall, ToolResult
from services.devices import of_newest_session
from services.drafts import Task
from services.ports import ChatRepository
from services.prompting import fit_history


@dataclass(frozen=True)
class Remembered:
    """What came before a message's answer.

    Attributes:
        turns: earlier exchanges, oldest first, within the budget.
        rounds: calls that were made since the question: the client's, and before each of these those of our own tools.
    """

    turns: tuple[Turn, ...]
    rounds: tuple[ToolRound, ...]


def remembered(chats: ChatRepository, task: Task, history_tokens: int) -> Remembered:
    """Return the turns that fit, behind them those that the request itself told, whole as they are."""
    assistant, chat, merged, given = task.assistant, task.chat, task.merged, task.given
    told = _given_turns(chat)
    if assistant.history_turns == 0:
        return Remembered(told, _rounds(given.rounds, ()))
    limit = assistant.history_turns + len(merged)
    asked_now = {one.id for one in merged}
    earlier = chats.history(chat.conversation_id, chat.id, limit, task.memory_from)
    earlier = of_newest_session(earlier, chat)
    asking: Sequence[Chat] = ()
    if given.question:
        earlier, asking = _without_the_question(earlier)
    turns = [turn for one in earlier if one.id not in asked_now for turn in turns_of(one)]
    fitting = fit_history(turns[-assistant.history_turns :], history_tokens)
    return Remembered((*fitting, *told), _rounds(given.rounds, asking))


def turns_of(chat: Chat) -> tuple[Turn, ...]:
    """Return what the memory holds of a chat: what its request told of earlier turns, then message and answer."""
    return (*_given_turns(chat), _turn(chat))


def key_of(chat: Chat, *, answered: bool) -> str:
    """Name what the memory holds of a chat: each attempt may have said something else."""
    return f"{chat.id}.{chat.attempts}" if answered else f"{chat.id}.unanswered"


def _given_turns(chat: Chat) -> tuple[Turn, ...]:
    """Return what a chat's request told of earlier turns."""
    turns = chat.given.turns if chat.given is not None else ()
    return tuple(replace(turn, key=f"{chat.id}.given.{number}") for number, turn in enumerate(turns))


def _turn(chat: Chat) -> Turn:
    """Return what the memory holds of a chat: an answer that nobody was given is not part of it."""
    answered = chat.status is ChatStatus.ANSWERED
    return Turn(chat.message, chat.response if answered else None, key_of(chat, answered=answered))


def _without_the_question(earlier: Sequence[Chat]) -> tuple[Sequence[Chat], Sequence[Chat]]:
    """Return the chats before the one whose question a client brings its functions' outputs for, and the rest."""
    last = len(earlier)
    while last and earlier[last - 1].asked:
        last -= 1
        if earlier[last].message is not None:
            break
    return earlier[:last], earlier[last:]


def _rounds(given: Sequence[tuple[ToolResult, ...]], asking: Sequence[Chat]) -> tuple[ToolRound, ...]:
    """Return the rounds that a client brings, each behind what our own tools gave in the chat that asked for it."""
    if len(asking) != len(given):
        return tuple(ToolRound(results) for results in given)
    rounds: list[ToolRound] = []
    for results, chat in zip(given, asking, strict=True):
        own = tuple(
            ToolResult(ToolCall(f"call_{chat.id}_{number}", use.name, use.arguments), use.output)
            for number, use in enumerate(chat.tools)
        )
        rounds += [ToolRound(own)] if own else []
        rounds.append(ToolRound(results, chat.response or ""))
    return tuple(rounds)
