"""Places in line, on both servers that speak Redis' protocol."""

from datetime import timedelta

from models.clock import now
from models.ids import new_id
from repositories.redis.database import RedisDatabase
from repositories.redis.places import RedisPlaces

A_WHILE = timedelta(seconds=60)


def test_a_place_is_kept_until_it_is_left(database: RedisDatabase) -> None:
    places, other = RedisPlaces(database), RedisPlaces(database)
    line, place = new_id(), new_id()
    assert places.keep(line, place, now() + A_WHILE)
    assert other.is_kept(line, place, now())
    assert not other.is_kept(line, new_id(), now()) and not other.is_kept(new_id(), place, now())
    other.leave(line, place)
    assert not places.is_kept(line, place, now())


def test_only_smaller_ids_of_the_same_line_come_before(database: RedisDatabase) -> None:
    places, line = RedisPlaces(database), new_id()
    first, second, third = new_id(), new_id(), new_id()
    places.keep(line, second, now() + A_WHILE)
    assert places.any_before(line, third, now())
    assert not places.any_before(line, second, now()) and not places.any_before(line, first, now())
    assert not places.any_before(new_id(), third, now())


def test_the_newest_place_is_the_last_of_those_that_are_kept(database: RedisDatabase) -> None:
    places, line, at = RedisPlaces(database), new_id(), now()
    first, second = new_id(), new_id()
    assert places.newest(line, at) == ""
    places.keep(line, second, at + A_WHILE)
    places.keep(line, first, at + 2 * A_WHILE)
    assert (places.newest(line, at), places.newest(line, at + A_WHILE)) == (second, first)


def test_a_place_ends_by_itself_and_is_not_prolonged_after_that(database: RedisDatabase) -> None:
    places, line, place, at = RedisPlaces(database), new_id(), new_id(), now()
    places.keep(line, place, at + A_WHILE)
    places.prolong(line, place, at + A_WHILE / 2, at + 2 * A_WHILE)
    assert places.is_kept(line, place, at + A_WHILE)
    assert not places.is_kept(line, place, at + 2 * A_WHILE) and not places.any_before(line, new_id(), at + 2 * A_WHILE)
    places.prolong(line, place, at + 2 * A_WHILE, at + 3 * A_WHILE)
    assert not places.is_kept(line, place, at + 2 * A_WHILE)
    places.leave(line, place)
    places.prolong(line, place, at, at + A_WHILE)
    assert not places.is_kept(line, place, at), "a renewal that comes late does not bring it back"


def test_a_line_is_forgotten(database: RedisDatabase) -> None:
    places, line, place = RedisPlaces(database), new_id(), new_id()
    places.keep(line, place, now() + A_WHILE)
    assert 60 < int(database.client.ttl(f"orquestra:places:{line}")) <= 3600


def test_a_server_that_is_away_keeps_no_place_and_stops_nobody() -> None:
    database = RedisDatabase("redis://127.0.0.1:1")
    places, place = RedisPlaces(database), new_id()
    assert not places.keep("line", place, now() + A_WHILE)
    assert database.is_missed
    assert not places.is_kept("line", place, now()) and not places.any_before("line", new_id(), now())
    assert places.newest("line", now()) == ""
    places.prolong("line", place, now(), now() + A_WHILE)
    places.leave("line", place)
    database.close()
