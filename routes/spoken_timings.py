"""How long listeners wait for answers that are spoken while they are written."""

from collections.abc import Callable, Generator
from contextlib import closing

from models.answers import Done, Stored
from routes.metrics import Metrics
from services.voice.speaking import Spoken, SpokenEvent


def timed(
    events: Generator[SpokenEvent, None, None], note: Callable[[str, Spoken], bool], measured: Metrics
) -> Generator[SpokenEvent, None, None]:
    """Pass a spoken answer's events on, and keep with its chat how long it took to be heard; not of a replay.

    Args:
        note: keeps it, and tells whether it is news, as `SpokenReplies.note`.
    """
    chat_id, replayed = "", False
    with closing(events):
        for event in events:
            match event:
                case Stored(chat):
                    chat_id = chat.id
                case Done():
                    replayed = event.replayed
                case Spoken() if chat_id and not replayed and note(chat_id, event):
                    measured.observe_speech(event.first_sentence_ms, event.first_audio_ms)
            yield event
