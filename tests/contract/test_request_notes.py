"""Notes on requests of API clients, on both servers that speak Redis' protocol."""

import pytest

from models.errors import Unavailable
from models.ids import new_id
from repositories.redis.database import RedisDatabase
from repositories.redis.request_notes import RedisRequestNotes


def test_the_last_note_counts(database: RedisDatabase) -> None:
    notes, digest = RedisRequestNotes(database), new_id()
    assert notes.find(digest) is None
    notes.keep(digest, "refused")
    notes.keep(digest, "ação")
    assert (notes.find(digest), notes.find(new_id())) == ("ação", None)


def test_a_note_ends_by_itself(database: RedisDatabase) -> None:
    digest = new_id()
    RedisRequestNotes(database, seconds=50).keep(digest, "refused")
    assert 0 < int(database.client.ttl(f"orquestra:request:{digest}")) <= 50


def test_a_server_that_was_missed_is_not_waited_for() -> None:
    database = RedisDatabase("redis://127.0.0.1:1")
    notes = RedisRequestNotes(database)
    with pytest.raises(Unavailable):
        notes.keep("d", "refused")
    assert database.is_missed
    with pytest.raises(Unavailable):
        notes.find("d")
    database.close()
