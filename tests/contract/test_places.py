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
    assert (other.kept(line, now()), other.kept(new_id(), now())) == ([place], [])
    other.leave(line, place)
    assert places.kept(line, now()) == []


def test_a_line_has_its_own_places_only_each_until_its_time(database: RedisDatabase) -> None:
    places, line, at = RedisPlaces(database), new_id(), now()
    first, second = new_id(), new_id()
    assert places.kept(line, at) == []
    places.keep(line, second, at + A_WHILE)
    places.keep(line, first, at + 2 * A_WHILE)
    assert (sorted(places.kept(line, at)), places.kept(line, at + A_WHILE)) == ([first, second], [first])
    assert places.kept(new_id(), at) == []


def test_a_place_ends_by_itself_and_is_not_prolonged_after_that(database: RedisDatabase) -> None:
    places, line, place, at = RedisPlaces(database), new_id(), new_id(), now()
    places.keep(line, place, at + A_WHILE)
    places.prolong(line, place, at + A_WHILE / 2, at + 2 * A_WHILE)
    assert places.kept(line, at + A_WHILE) == [place]
    assert places.kept(line, at + 2 * A_WHILE) == []
    places.prolong(line, place, at + 2 * A_WHILE, at + 3 * A_WHILE)
    assert places.kept(line, at + 2 * A_WHILE) == []
    places.leave(line, place)
    places.prolong(line, place, at, at + A_WHILE)
    assert places.kept(line, at) == [], "a renewal that comes late does not bring it back"


def test_a_line_is_forgotten(database: RedisDatabase) -> None:
    places, line, place = RedisPlaces(database), new_id(), new_id()
    places.keep(line, place, now() + A_WHILE)
    assert 60 < int(database.client.ttl(f"orquestra:places:{line}")) <= 3600


def test_a_server_that_is_away_keeps_no_place_and_stops_nobody() -> None:
    database = RedisDatabase("redis://127.0.0.1:1")
    places, place = RedisPlaces(database), new_id()
    assert not places.keep("line", place, now() + A_WHILE)
    assert database.is_missed
    assert places.kept("line", now()) == []
    places.prolong("line", place, now(), now() + A_WHILE)
    places.leave("line", place)
    database.close()
