from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import func, select

from adwright.campaigns.store.database import Database, migrate
from adwright.campaigns.store.tables import EVENT_IDS, TENANTS, append, claim
from adwright.core.errors import ResourceError


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = Database.open(store_url)
    migrate(opened)
    yield opened
    opened.close()


def keys(numbers: range) -> dict[bytes, int]:
    return {number.to_bytes(16, "big"): -number for number in numbers}


def test_an_id_is_claimed_once(database: Database) -> None:
    with database.write() as connection:
        assert claim(connection, EVENT_IDS, {}) == {}
        assert claim(connection, EVENT_IDS, keys(range(12_000))) == {}
    with database.write() as connection:
        other = dict.fromkeys(keys(range(11_999, 12_001)), 7)
        assert claim(connection, EVENT_IDS, other) == keys(range(11_999, 12_000))
        count = select(func.count()).select_from(EVENT_IDS)
        assert connection.execute(count).scalar_one() == 12_001


def test_a_claim_that_is_undone_is_free_again(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            claim(connection, EVENT_IDS, keys(range(3)))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.write() as connection:
        assert claim(connection, EVENT_IDS, keys(range(3))) == {}


def test_claims_in_any_order_at_once_never_stand_still(database: Database) -> None:
    won: list[int] = []

    def run(turn: int) -> None:
        for start in range(0, 3_000, 300):
            some = list(keys(range(start, start + 300)).items())
            some = some[turn * 70 :] + some[: turn * 70]
            with database.write() as connection:
                known = claim(connection, EVENT_IDS, dict(some))
            won.append(300 - len(known))

    threads = [threading.Thread(target=run, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 3_000
    assert len(won) == 40


def test_rows_are_appended_as_they_are(database: Database) -> None:
    rows = [("tab\there", 1), ("line\nbreak", -(2**62)), ("\\N back\\slash", 3), ("ä🛒", 4)]
    with database.write() as connection:
        append(connection, TENANTS, ("tenant", "created"), [])
        append(connection, TENANTS, ("tenant", "created"), rows)
    with database.read() as connection:
        found = connection.execute(select(TENANTS).order_by(TENANTS.c.created)).all()
    assert [tuple(row[:2]) for row in found] == sorted(rows, key=lambda row: row[1])


def test_what_the_driver_says_becomes_our_error(database: Database) -> None:
    with pytest.raises(ResourceError, match="the database refuses"), database.write() as connection:
        append(connection, TENANTS, ("tenant", "created"), [("a", 1), ("a", 2)])
    with database.read() as connection:
        assert connection.execute(select(TENANTS)).all() == []
