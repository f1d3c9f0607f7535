"""API keys."""

import hashlib
from dataclasses import replace

import pytest

from models.clock import now
from services.api_keys import ApiKeys

KEYS = ApiKeys("s" * 32)


def test_a_key_has_its_form_and_its_record_does_not_tell_it() -> None:
    at = now()
    key, record = KEYS.create(at)
    prefix, key_id, secret = key.split("_")
    assert (prefix, key_id) == ("orq", record.key_id)
    assert len(key_id) == 12
    assert 62 ** len(secret) >= 2**128
    assert (key_id + secret).isascii()
    assert (key_id + secret).isalnum()
    assert KEYS.looks_like_key(key)
    assert record.sha256 == KEYS.sha256(key) == hashlib.sha256(key.encode()).hexdigest()
    assert (record.created_at, record.expires_at) == (at, None)
    assert secret not in repr(record)


def test_no_two_keys_are_alike() -> None:
    made = [KEYS.create(now()) for _ in range(200)]
    assert len({key for key, _ in made}) == len({record.key_id for _, record in made}) == 200


def test_a_key_is_shown_again_under_the_same_secret_only() -> None:
    key, record = KEYS.create(now())
    assert ApiKeys("s" * 32).reveal(record) == key
    assert ApiKeys("t" * 32).reveal(record) is None
    assert KEYS.reveal(replace(record, encrypted="rubbish")) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orq_",
        "orq_abc_def",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.sig",
        KEYS.create(now())[0] + "\n",
        KEYS.create(now())[0][:-1],
        "sk" + KEYS.create(now())[0][3:],
        KEYS.create(now())[0][:-1] + "é",
    ],
    ids=range(8),
)
def test_other_texts_do_not_look_like_keys(text: str) -> None:
    assert not KEYS.looks_like_key(text)
