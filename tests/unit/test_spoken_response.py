"""Sound as a response: what its head tells, and how it ends."""

from collections.abc import Generator
from dataclasses import replace
from urllib.parse import unquote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from models.answers import Done, Replaying, Stored, TextDelta
from models.chats import ChatStatus
from models.errors import CallCancelled, OrquestraError, ProviderFailed
from models.voice import Heard, SpeechFormat
from routes.errors import register_errors
from routes.spoken import aloud
from services.voice.speaking import Audio, Spoken, SpokenEvent
from tests.contract.stores import make_chat

CHAT = make_chat()
ANSWERED = replace(CHAT, status=ChatStatus.ANSWERED, response="words")
BROKEN = ProviderFailed("It is down.")
Told = SpokenEvent | OrquestraError


class Source:
    """Events as the speaker yields them, and whether somebody has closed it."""

    def __init__(self, *told: Told) -> None:
        self._told = told
        self.closed = False

    def events(self) -> Generator[SpokenEvent, None, None]:
        """Yield them, or raise."""
        try:
            for one in self._told:
                if isinstance(one, OrquestraError):
                    raise one
                yield one
        except GeneratorExit:
            self.closed = True
            raise


def ask(source: Source, **headers: str) -> TestResponse:
    """Return the response of an app that speaks the source's sound."""
    app = Flask(__name__)
    register_errors(app)
    app.add_url_rule("/", view_func=lambda: aloud(source.events(), SpeechFormat.MP3, headers))
    return app.test_client().get("/", buffered=False)


def test_it_begins_with_the_first_sound() -> None:
    told = (Stored(CHAT), Audio(b"one"), TextDelta("x"), Audio(b"two"), Done(ANSWERED), Spoken(1, 2))
    response = ask(Source(*told), **{"X-Transcript": "said"})
    assert list(response.iter_encoded()) == [b"one", b"two"]
    assert (response.headers["X-Chat-ID"], response.headers["X-Conversation-ID"]) == (CHAT.id, CHAT.conversation_id)
    assert response.headers["X-Transcript"] == "said"
    assert "X-Chat-Status" not in response.headers and "Idempotent-Replayed" not in response.headers


@pytest.mark.parametrize("told", [(Replaying(), Stored(CHAT)), (Stored(CHAT), Done(ANSWERED, replayed=True))])
def test_a_replay_says_so(told: tuple[SpokenEvent, ...]) -> None:
    response = ask(Source(*told, Audio(b"one"), Spoken()))
    assert (response.get_data(), response.headers["Idempotent-Replayed"]) == (b"one", "true")
    assert "X-Chat-Status" not in response.headers


@pytest.mark.parametrize("status", ["answered", "inactive", "merged", "suppressed"])
def test_without_sound_it_is_empty_and_says_why(status: str) -> None:
    done = Done(replace(CHAT, status=ChatStatus(status)))
    response = ask(Source(Stored(CHAT), done, Spoken()))
    assert (response.status_code, response.get_data()) == (200, b"")
    assert (response.headers["X-Chat-Status"], response.headers["X-Chat-ID"]) == (status, CHAT.id)


def test_an_answer_that_a_human_overtook_is_said_no_further() -> None:
    suppressed = Done(replace(ANSWERED, status=ChatStatus.SUPPRESSED))
    before = Source(Stored(CHAT), suppressed, Audio(b"one"))
    assert ask(before).get_data() == b"" and before.closed
    while_spoken = Source(Stored(CHAT), Audio(b"one"), suppressed, Audio(b"two"))
    response = ask(while_spoken)
    assert list(response.iter_encoded()) == [b"one"]
    response.close()
    assert while_spoken.closed


def test_a_failure_before_the_first_sound_is_a_problem_that_names_the_chat() -> None:
    response = ask(Source(Stored(CHAT), BROKEN), **{"X-Transcript": "said"})
    assert (response.status_code, response.mimetype) == (502, "application/problem+json")
    assert (response.headers["X-Chat-ID"], response.headers["X-Transcript"]) == (CHAT.id, "said")


def test_a_failure_of_an_answer_that_is_stored_does_not_say_that_there_was_nothing_to_say() -> None:
    response = ask(Source(Stored(CHAT), Done(ANSWERED), BROKEN))
    assert response.status_code == 502 and "X-Chat-Status" not in response.headers


def test_what_was_understood_is_what_was_stored() -> None:
    stored = replace(CHAT, message="as another delivery has it", heard=Heard("ear", "en-US", 1.0, "digest", 1, 2))
    response = ask(Source(Stored(stored), Audio(b"one")), **{"X-Transcript": "as%20this%20one%20has%20it"})
    assert unquote(response.headers["X-Transcript"]) == stored.message


@pytest.mark.parametrize(("error", "lines"), [(BROKEN, 1), (CallCancelled("Nobody is there."), 0)])
def test_a_failure_after_it_breaks_the_body_off(
    error: OrquestraError, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    response = ask(Source(Stored(CHAT), Audio(b"one"), error))
    pieces = response.iter_encoded()
    assert next(pieces) == b"one"
    with pytest.raises(type(error)):
        next(pieces)
    assert [record.exc_info for record in caplog.records if "broke off" in record.message] == [None] * lines


@pytest.mark.parametrize("heard", [0, 1])
def test_whoever_leaves_closes_the_source(heard: int) -> None:
    source = Source(Stored(CHAT), Audio(b"one"), Audio(b"two"))
    response = ask(source)
    pieces = response.iter_encoded()
    for _ in range(heard):
        next(pieces)
    response.close()
    assert source.closed
