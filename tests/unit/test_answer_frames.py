"""The frames of a streamed answer: what was sent is what was committed, or the stream says that it is not."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from models.answers import AnswerEvent, Done, Replaying, TextDelta
from models.chats import Chat, ChatStatus
from models.errors import Unavailable
from routes.answering import REPLAYED
from routes.audio_links import AudioLinks
from routes.chats import answer_frames
from routes.metrics import Metrics
from services.voice.links import LinkSigner
from tests.contract.stores import make_chat

LINKS = AudioLinks(LinkSigner("the server's own secret"), "http://localhost")
ANSWERED = replace(make_chat(), response="two words")


def sent(events: Sequence[AnswerEvent], headers: dict[str, str] | None = None) -> list[tuple[str, object]]:
    """Return the name and the interesting part of each frame."""
    frames = []
    for raw in answer_frames(iter(events), {} if headers is None else headers, Metrics(), LINKS):
        name, data = (line.split(": ", 1)[1] for line in raw.decode().strip().split("\n"))
        fields = json.loads(data)
        frames.append((name, fields["delta"] if name == "message" else fields["response"]))
    return frames


def test_pieces_and_the_end() -> None:
    frames = sent([TextDelta("two "), TextDelta("words"), Done(ANSWERED)])
    assert frames == [("message", "two "), ("message", "words"), ("done", "two words")]


def test_a_replay_is_told_before_its_first_frame() -> None:
    headers: dict[str, str] = {}
    sent([Replaying(), TextDelta("two words"), Done(ANSWERED, replayed=True)], headers)
    assert headers == {REPLAYED: "true"}


def test_an_answer_that_another_server_gave_is_sent_whole() -> None:
    """This attempt lost its lease before it had written anything."""
    assert sent([Done(ANSWERED, replayed=True)]) == [("message", "two words"), ("done", "two words")]


def test_pieces_that_are_not_the_answer_end_in_an_error() -> None:
    """This attempt lost its lease after it had written something else."""
    with pytest.raises(Unavailable) as overtaken:
        sent([TextDelta("other"), Done(ANSWERED, replayed=True)])
    assert overtaken.value.code == "answer_overtaken"


@pytest.mark.parametrize("status", [ChatStatus.SUPPRESSED, ChatStatus.INACTIVE, ChatStatus.MERGED])
def test_what_is_no_answer_has_no_pieces(status: ChatStatus) -> None:
    chat: Chat = replace(ANSWERED, status=status, response=None)
    assert sent([Done(chat)]) == [("done", None)]
