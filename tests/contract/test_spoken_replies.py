"""Stored answers as sound, on both stores: who may hear which, and in what language they are spoken."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from models.assistants import Assistant
from models.chats import Chat, ChatStatus
from models.clock import now
from models.deadline import Deadline
from models.errors import Conflict, NotFound, OrquestraError, RateLimited, Unauthenticated
from models.ids import new_id
from models.users import Principal, Role
from models.voice import Heard, SpeechFormat
from services.ports import SpeechSynthesizer
from services.providers.scripted_voice import ScriptedSynthesizer
from services.voice.links import LinkSigner
from services.voice.on_use import OnUse
from services.voice.replies import Listener, OggEncoder, SpokenReplies
from services.voice.slots import FairSlots
from services.voice.speaking import Speaker, Spoken
from tests.contract.engine import Meddled, Trouble
from tests.contract.stores import Stores, make_assistant, make_chat

ADMIN = Principal(new_id(), Role.ADMIN)
STRANGER = Principal(new_id(), Role.USER)
SIGNER = LinkSigner("the server's own secret")
HEARD = Heard("scripted", "pt-PT", 1.0, "0" * 64, 1, 2)


class Desk:
    """An assistant, a chat of it, and who speaks its answer."""

    def __init__(self, stores: Stores, chats: object = None, language: str | None = None, **fields: Any) -> None:
        self.assistant = make_assistant(language=language)
        self.chat = make_chat(self.assistant.id, **{"response": "Olá. Tudo bem?", **fields})
        stores.assistants.add(self.assistant)
        stores.chats.add(self.chat)
        self.synthesizer = ScriptedSynthesizer()
        self.counted = 0
        synthesizer: OnUse[SpeechSynthesizer] = OnUse(lambda: self.synthesizer)
        ogg: OnUse[OggEncoder] = OnUse(lambda: lambda pieces, rate: b"".join(pieces) + f" at {rate}".encode())
        repository: Any = chats or stores.chats
        speaker = Speaker(synthesizer, FairSlots(2))
        self.replies = SpokenReplies(repository, stores.assistants, SIGNER, speaker, synthesizer, ogg, self.count)

    def count(self, assistant: Assistant) -> None:
        """Take a second one as one too many."""
        self.counted += 1
        if self.counted > 1:
            raise RateLimited(f"{assistant.name} is asked too often.", retry_after=1)

    def refusal(self, listener: Listener) -> tuple[type[OrquestraError], str]:
        """Return why somebody may not hear the answer."""
        with pytest.raises(OrquestraError) as refused:
            self.replies.find(listener, self.chat.id)
        return type(refused.value), refused.value.code

    def spoken_in(self) -> set[str]:
        """Return the languages that the answer is spoken in."""
        list(self.replies.speak(self.chat, SpeechFormat.PCM, Deadline(5)))
        return {manner.language for _, manner in self.synthesizer.texts}


def owner(assistant: Assistant, chat: Chat) -> Listener:
    return Principal(assistant.owner_id, Role.USER)


def admin(assistant: Assistant, chat: Chat) -> Listener:
    return ADMIN


def channel(assistant: Assistant, chat: Chat) -> Listener:
    return assistant


def link(assistant: Assistant, chat: Chat) -> Listener:
    return SIGNER.sign(chat.id, now())


everybody = pytest.mark.parametrize("listener", [owner, admin, channel, link])


@everybody
def test_whoever_may_read_an_answer_may_hear_it(
    stores: Stores, listener: Callable[[Assistant, Chat], Listener]
) -> None:
    desk = Desk(stores)
    assert desk.replies.find(listener(desk.assistant, desk.chat), desk.chat.id) == desk.chat


@pytest.mark.parametrize("other", [STRANGER, make_assistant()], ids=["user", "assistant"])
def test_others_cannot_tell_it_from_one_that_is_not_there(stores: Stores, other: Listener) -> None:
    desk = Desk(stores)
    assert desk.refusal(other) == (NotFound, "not_found")
    for absent in (new_id(), "no id", ""):
        with pytest.raises(NotFound):
            desk.replies.find(ADMIN, absent)


def test_a_link_ends(stores: Stores) -> None:
    desk = Desk(stores)
    assert desk.refusal(SIGNER.sign(desk.chat.id, now() - timedelta(days=2))) == (Unauthenticated, "link_invalid")
    gone = new_id()
    with pytest.raises(NotFound):
        desk.replies.find(SIGNER.sign(gone, now()), gone)


@everybody
@pytest.mark.parametrize(
    ("status", "response"),
    [
        *((status, "Olá") for status in ChatStatus if status is not ChatStatus.ANSWERED),
        (ChatStatus.ANSWERED, "`x = 1` 🎉"),
    ],
    ids=str,
)
def test_what_nobody_was_given_is_heard_by_managers_at_most(
    stores: Stores, status: ChatStatus, response: str, listener: Callable[[Assistant, Chat], Listener]
) -> None:
    desk = Desk(stores, status=status, response=response)
    hears = listener(desk.assistant, desk.chat)
    if status is ChatStatus.SUPPRESSED and isinstance(hears, Principal):
        assert desk.replies.find(hears, desk.chat.id) == desk.chat
    else:
        assert desk.refusal(hears) == (Conflict, "no_answer")


@pytest.mark.parametrize(
    ("language", "heard", "spoken"),
    [("es-ES", HEARD, "es-ES"), (None, HEARD, "pt-PT"), (None, None, "pt-BR")],
    ids=["assistant", "heard", "found out"],
)
def test_the_language_is_the_assistants_or_the_one_that_was_heard(
    stores: Stores, language: str | None, heard: Heard | None, spoken: str
) -> None:
    response = "Todos os funcionários têm vinte e cinco dias de férias por ano."
    desk = Desk(stores, language=language, heard=heard, response=response)
    assert desk.spoken_in() == {spoken}


def test_whoever_fetches_a_link_counts_against_the_assistants_rate(stores: Stores) -> None:
    desk = Desk(stores)
    assert list(desk.replies.speak(desk.chat, SpeechFormat.PCM, Deadline(5)))
    with pytest.raises(RateLimited):
        list(desk.replies.speak(desk.chat, SpeechFormat.PCM, Deadline(5)))


def test_a_beginning_that_tells_no_language_is_spoken_in_that_of_the_question(stores: Stores) -> None:
    desk = Desk(stores, message="Quais são os prazos para o reembolso das despesas?", response="Tabela 2026")
    assert desk.spoken_in() == {"pt-BR"}, "as it is while it is written"


def test_a_whole_file_has_all_sentences_at_the_synthesizers_rate(stores: Stores) -> None:
    desk = Desk(stores, response="Dois e dois são quatro. Três e três são seis.")
    whole = desk.replies.speak_into_ogg(desk.chat, Deadline(5)).decode()
    assert whole.startswith("Dois e dois") and whole.endswith(" at 24000") and "seis" in whole


def test_the_answer_of_an_assistant_that_was_deleted_meanwhile_is_gone(stores: Stores) -> None:
    desk = Desk(stores)
    stores.assistants.delete(desk.assistant.id)
    with pytest.raises(NotFound):
        desk.spoken_in()


def test_a_note_is_not_worth_failing_for(stores: Stores) -> None:
    away = Meddled(stores.chats, before={"note_speech": Trouble()})
    desk = Desk(stores, away)
    assert [desk.replies.note(desk.chat.id, Spoken(1, 2)) for _ in range(3)] == [False, True, False]
    assert not desk.replies.note(desk.chat.id, replace(Spoken(), first_sentence_ms=1))
