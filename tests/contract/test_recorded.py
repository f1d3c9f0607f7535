"""Messages that were recorded, on both stores: each is heard, stored and answered once, whatever comes in between."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from models.answers import Done, Inbound, ModelRequest
from models.chats import Chat, ChatStatus, Timings
from models.clock import now
from models.deadline import Deadline
from models.errors import CallCancelled, Conflict, Invalid, OrquestraError, ProviderFailed
from models.voice import Recording, Transcript, Upload
from services.ports import AudioDecoder, Transcriber
from services.providers.scripted import Item, ScriptedModel
from services.providers.scripted_voice import ScriptedTranscriber
from services.voice.hearing import Hearing
from services.voice.on_use import OnUse
from services.voice.recorded import RecordedMessages
from tests.contract.engine import Engine, echo, use_clock_of_bursts, wait_until
from tests.contract.stores import Stores, make_assistant, make_chat

SECOND = b"\1\0" * 16_000
OTHER = b"\2\0" * 16_000
BROKEN = ProviderFailed("It is down. Try again later.")


class Clock:
    """The clock of bursts: it hardly goes on while a test holds it, and is right again afterwards."""

    def __init__(self) -> None:
        self._held_at: datetime | None = None
        self._looks = 0

    def __call__(self) -> datetime:
        """Return the time."""
        self._looks += 1
        return now() if self._held_at is None else self._held_at + timedelta(milliseconds=self._looks)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it."""
        self._held_at, self._looks = now(), 0
        try:
            yield
        finally:
            self._held_at = None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock by which bursts begin and end."""
    made = Clock()
    use_clock_of_bursts(monkeypatch, made)
    return made


class BareSamples:
    """Implement `AudioDecoder` for what needs no decoding: bare samples at the right rate."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self._before = before

    def decode(self, upload: Upload, deadline: Deadline) -> Recording:
        """Return the samples."""
        self._before()
        return Recording(upload.content, upload)


class Ear:
    """A server that hears messages and answers them."""

    def __init__(
        self,
        engine: Engine,
        transcripts: Iterable[str | BaseException] = (),
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.engine = engine
        planned = [one if isinstance(one, BaseException) else Transcript(one, "pt-BR") for one in transcripts]
        self.transcriber = ScriptedTranscriber(planned)
        decoder: OnUse[AudioDecoder] = OnUse(lambda: BareSamples(before))
        transcriber: OnUse[Transcriber] = OnUse(lambda: self.transcriber)
        self._recorded = RecordedMessages(engine.stores.chats, engine.arrivals, Hearing(decoder, transcriber))

    def hear(self, content: bytes = SECOND, **fields: object) -> Inbound:
        """Return a recorded message."""
        return self._recorded.inbound(self.engine.inbound("", **fields), Upload(content), Deadline(30))

    def say(self, content: bytes = SECOND, **fields: object) -> Done:
        """Send a recorded message and return how it ended."""
        *_, done = self.engine.service.answer(self.hear(content, **fields))
        assert isinstance(done, Done)
        return done


def heard_timings(chat: Chat) -> tuple[int | None, int | None]:
    """Return how long it took to hear a message, as its chat has it."""
    return chat.timings.decode_ms, chat.timings.transcribe_ms


def test_what_is_said_is_the_message_and_how_it_was_heard_is_kept(stores: Stores) -> None:
    ear = Ear(Engine(stores, ScriptedModel([echo])), [" Onde fica a loja? \n"])
    chat = ear.say(message_id="m", reply_audio=True).chat
    assert (chat.message, chat.response) == ("Onde fica a loja?", "re Onde fica a loja?")
    assert chat.heard is not None and chat.reply_audio
    assert (chat.heard.transcriber, chat.heard.language, chat.heard.seconds) == ("scripted", "pt-BR", 1.0)
    assert heard_timings(chat) == (chat.heard.decode_ms, chat.heard.transcribe_ms)
    assert chat.timings.first_token_ms is not None and chat.timings.first_audio_ms is None


def test_the_assistants_language_is_expected(stores: Stores) -> None:
    assistant = make_assistant(language="pt-BR")
    stores.assistants.add(assistant)
    ear = Ear(Engine(stores, ScriptedModel([echo, echo]), assistant=assistant), ["Oi", "Oi"])
    ear.say()
    assert [language for _, language in ear.transcriber.recordings] == ["pt-BR"]


def goes_wrong(ear: Ear, clock: Clock) -> None:
    """Have the model fail."""
    ear.engine.model.add(["half", BROKEN])
    with pytest.raises(ProviderFailed):
        ear.say()


def is_overtaken(ear: Ear, clock: Clock) -> None:
    """Have a person take the conversation over while the model writes."""

    def take_over(request: ModelRequest, deadline: Deadline) -> list[Item]:
        ear.engine.switch(False)
        return ["too late"]

    ear.engine.model.add(take_over)
    ear.say()


def is_left_to_a_person(ear: Ear, clock: Clock) -> None:
    """Have a person take the conversation over while the message waits for others of its burst."""
    with ThreadPoolExecutor(1) as pool:
        with clock.held():
            waiting = pool.submit(ear.say)
            wait_until(lambda: ear.engine.is_stored("Oi"))
            ear.engine.switch(False)
        waiting.result(10)


@pytest.mark.parametrize(
    ("status", "happens"),
    [
        (ChatStatus.FAILED, goes_wrong),
        (ChatStatus.SUPPRESSED, is_overtaken),
        (ChatStatus.INACTIVE, is_left_to_a_person),
    ],
    ids=["failed", "suppressed", "inactive"],
)
def test_every_outcome_keeps_how_the_message_was_heard(
    stores: Stores, clock: Clock, status: ChatStatus, happens: Callable[[Ear, Clock], None]
) -> None:
    ear = Ear(Engine(stores, ScriptedModel([]), debounce_seconds=0.3), ["Oi"])
    happens(ear, clock)
    chat = ear.engine.chat("Oi")
    assert chat.status is status and chat.timings.queued_ms is not None
    assert chat.heard is not None
    assert heard_timings(chat) == (chat.heard.decode_ms, chat.heard.transcribe_ms)


def test_a_message_that_is_delivered_again_is_not_heard_again(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    ear, twin = Ear(engine, ["Oi"]), Ear(engine.twin())
    first = ear.say(message_id="m")
    assert ear.say(message_id="m") == twin.say(message_id="m") == Done(first.chat, replayed=True)
    assert len(ear.transcriber.recordings) == 1 and twin.transcriber.recordings == []


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Conflict) as refused:
        call()
    return refused.value.code


def test_another_message_with_the_same_id_is_refused(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    ear = Ear(engine, ["Oi", "Oi", "Oi"])
    ear.say(message_id="heard")
    engine.say("Oi", message_id="written")
    assert refusal(lambda: ear.say(OTHER, message_id="heard")) == "message_id_reused"
    assert refusal(lambda: ear.say(message_id="written")) == "message_id_reused"
    assert refusal(lambda: engine.say("Oi", message_id="heard")) == "message_id_reused"
    assert len(ear.transcriber.recordings) == 1, "refused before it was heard"
    assert [chat.message_id for chat in engine.chats()] == ["heard", "written"]


def test_the_journal_refuses_what_was_heard_at_the_same_time(stores: Stores) -> None:
    """Another message with the same id is stored while this one is being heard."""
    engine, waiting = Engine(stores, ScriptedModel([echo, echo])), list[Future[Done]]()

    def comes_meanwhile(text: str, say: Callable[[], Done]) -> Callable[[], None]:
        def come() -> None:
            waiting.append(pool.submit(say))
            wait_until(lambda: engine.is_stored(text))

        return come

    with ThreadPoolExecutor(2) as pool:
        ear = Ear(engine, ["Oi"], before=comes_meanwhile("Oi", lambda: engine.say("Oi", message_id="m")))
        assert refusal(lambda: ear.say(message_id="m")) == "message_id_reused"
        heard = Ear(engine, ["Olá"])
        other = Ear(engine, ["Olá"], before=comes_meanwhile("Olá", lambda: heard.say(OTHER, message_id="n")))
        assert refusal(lambda: other.say(message_id="n")) == "message_id_reused"
        assert [one.result(10).chat.response for one in waiting] == ["re Oi", "re Olá"]


def test_deliveries_at_once_that_are_heard_differently_are_one_message(stores: Stores) -> None:
    together = threading.Barrier(4, timeout=10)
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([[release, "one answer"]]))
    ears = [Ear(server, ["Oi", "Ói"], together.wait) for server in (engine, engine.twin())]
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ear.say, message_id="m") for ear in ears * 2]
        wait_until(lambda: engine.model.calls == 1)
        release.set()
        ends = [one.result(10) for one in waiting]
    assert sum(len(ear.transcriber.recordings) for ear in ears) == 4
    assert {end.chat.response for end in ends} == {"one answer"} and len({end.chat.id for end in ends}) == 1
    assert [end.replayed for end in ends].count(False) == 1
    (chat,) = engine.chats()
    assert chat.message in ("Oi", "Ói") and engine.model.requests[0].question == chat.message


@pytest.mark.parametrize(
    ("said", "error"),
    [("  ", Invalid), (BROKEN, ProviderFailed), (CallCancelled("Gone."), CallCancelled)],
    ids=["silence", "provider", "client"],
)
def test_what_could_not_be_heard_is_not_stored_and_heard_with_the_next_delivery(
    stores: Stores, said: str | OrquestraError, error: type[OrquestraError]
) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    ear = Ear(engine, [said, "Oi"])
    with pytest.raises(error) as failure:
        ear.say(message_id="m")
    assert failure.value.code == ("no_speech" if error is Invalid else error.code)
    assert engine.chats() == []
    done = ear.say(message_id="m")
    assert (done.chat.response, done.replayed) == ("re Oi", False)


def test_a_person_who_is_answered_by_people_is_heard_all_the_same(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    ear = Ear(engine, ["Primeiro", "Segundo"])
    chat = ear.say(active=False).chat
    assert (chat.status, chat.message) == (ChatStatus.INACTIVE, "Primeiro")
    engine.switch(False)
    chat = ear.say(message_id="m").chat
    assert (chat.status, chat.message) == (ChatStatus.INACTIVE, "Segundo")
    assert heard_timings(chat) != (None, None) and chat.heard is not None
    assert ear.say(message_id="m") == Done(chat, replayed=True)


def test_heard_and_written_messages_of_a_burst_are_answered_together(stores: Stores, clock: Clock) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=0.4)
    ear = Ear(engine, ["Tudo bem?"])
    with ThreadPoolExecutor(2) as pool:
        with clock.held():
            first = pool.submit(engine.say, "Oi")
            wait_until(lambda: engine.is_stored("Oi"))
            last = pool.submit(ear.say)
            wait_until(lambda: engine.is_stored("Tudo bem?"))
        assert first.result(10).chat.status is ChatStatus.MERGED
        assert last.result(10).chat.response == "re Oi\nTudo bem?"
    assert engine.chat("Tudo bem?").heard is not None


def test_a_recorded_message_with_a_callback_is_one_job(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    ear = Ear(engine, ["Oi"])
    chats = [
        engine.service.accept(ear.hear(message_id="m", callback_url="http://example.com/", reply_audio=True))
        for _ in range(2)
    ]
    assert [replayed for _, replayed in chats] == [False, True] and chats[0][0].id == chats[1][0].id
    engine.work()
    (chat,) = engine.chats()
    assert (chat.response, chat.reply_audio, engine.model.calls) == ("re Oi", True, 1)
    assert heard_timings(chat) != (None, None)


def test_a_failed_answer_to_a_recorded_message_is_made_by_the_next_delivery(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN, echo]))
    ear = Ear(engine, ["Oi"])
    with pytest.raises(ProviderFailed):
        ear.say(message_id="m")
    done = ear.say(message_id="m")
    assert (done.chat.response, done.chat.attempts, len(ear.transcriber.recordings)) == ("re Oi", 2, 1)
    assert heard_timings(done.chat) != (None, None)


def test_what_no_store_could_hold_is_taken_out_of_a_transcript(stores: Stores) -> None:
    ear = Ear(Engine(stores, ScriptedModel([echo])), ["a\0b \ud83d c \ud83d\ude42"])
    assert ear.say().chat.message == "a b \ufffd c 🙂"


def test_the_first_note_of_an_answers_speech_stays(stores: Stores) -> None:
    chat = make_chat(response="Olá.", timings=Timings(1, 2, 3, 4, 5, 6))
    stores.chats.add(chat)
    assert stores.chats.note_speech(chat.id, 70, 80)
    assert not stores.chats.note_speech(chat.id, 1, 1)
    noted = replace(chat, timings=Timings(1, 2, 3, 4, 5, 6, 70, 80))
    assert stores.chats.get(chat.id) == noted


def test_nothing_is_noted_of_a_chat_that_is_gone(stores: Stores) -> None:
    gone = make_chat()
    assert not stores.chats.note_speech(gone.id, 1, 1)
    assert stores.chats.get(gone.id) is None
