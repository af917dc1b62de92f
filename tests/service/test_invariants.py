"""What must hold of a store: it is found where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from adwright.campaigns.store.store import Store
from adwright.data.creatives import Creative
from benchmarks.service.invariants import check_store
from tests.support.store.events import event

BREAD = Creative(headline="Bread", item_id="bread", campaign_id="spring")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Store, Path]]:
    """A store with a live ad that was shown three times, one of them compacted."""
    with Store.open(f"sqlite:///{tmp_path / 'a.db'}") as store:
        store.create_tenant("acme")
        terms = {"price": 0.002, "budget": 0.006, "start": datetime(2024, 1, 1, tzinfo=UTC)}
        store.put_campaign("acme", {"campaign_id": "spring", **terms})
        store.write_creatives("acme", [BREAD], author="ann")
        for state in ("in review", "approved", "live"):
            store.move_creatives("acme", [BREAD.creative_id], state, author="ann")
        store.record_events("acme", [shown(at) for at in range(3)])
        store.compact("acme", tmp_path / "log", before=datetime.now(UTC) + timedelta(days=2))
        store.record_events("acme", [shown(0, campaign_id=None, event_id="again")])
        yield store, tmp_path / "a.db"


def shown(number: int, **changes: Any) -> dict[str, Any]:
    time = datetime.now(UTC) + timedelta(minutes=1)
    ad = {"creative_id": BREAD.creative_id, "campaign_id": "spring", "item_id": "bread"}
    return event(number, **{"time": time, "position": 1, **ad, **changes})


def test_nothing_is_wrong_with_what_was_done_in_order(shop: tuple[Store, Path]) -> None:
    assert check_store(shop[0], "acme") == []


def sql(words: str) -> Callable[[Store, Path], None]:
    def act(_: Store, path: Path) -> None:
        with create_engine(f"sqlite:///{path}").begin() as connection:
            connection.execute(text(words))

    return act


def record(**changes: Any) -> Callable[[Store, Path], None]:
    def act(store: Store, _: Path) -> None:
        store.record_events("acme", [shown(9, **changes)])

    return act


def twice(store: Store, _: Path) -> None:
    store.write_creatives("acme", [replace(BREAD, creative_id="another")], author="ann")


def paused(store: Store, _: Path) -> None:
    store.move_creatives("acme", [BREAD.creative_id], "paused", author="ann")


ALONE = {"campaign_id": None}


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (twice, "an ad is there twice"),
        (paused, "when it was not live"),
        (record(time=datetime(2024, 2, 1, tzinfo=UTC), **ALONE), "when it was not live"),
        (record(creative_id="gone", **ALONE), "an ad that is not there"),
        (record(item_id="rye", **ALONE), "of bread for rye"),
        (record(), "has spent 0.008 of 0.006"),
        (sql("UPDATE spend SET micros = micros - 1"), "has spent 0.005999 for 3 events"),
        (sql("DELETE FROM spend"), "has spent 0.0 for 0 events"),
        (sql("UPDATE creative_moves SET author = ' '"), "a move has no author"),
        (sql("DELETE FROM creative_moves WHERE state = 'approved'"), "live without an approval"),
        (sql("DELETE FROM creative_moves WHERE state != 'live'"), "it began as live"),
        (sql("UPDATE creative_moves SET time = 0 WHERE state = 'approved'"), "before in review at"),
        (sql("UPDATE creative_moves SET creative_id = 'x' WHERE seq = 1"), "is of no ad"),
        (sql("UPDATE events SET event_id = 'e1'"), "event e1 is there 2 times"),
    ],
)
def test_what_is_wrong_is_told(
    shop: tuple[Store, Path], act: Callable[[Store, Path], None], said: str
) -> None:
    act(*shop)
    assert said in "\n".join(check_store(shop[0], "acme"))


def test_what_is_learnt_within_a_moment_and_was_in_flight_is_not_wrong(
    shop: tuple[Store, Path],
) -> None:
    paused(*shop)
    assert check_store(shop[0], "acme")
    assert check_store(shop[0], "acme", watch=120) == []
    store, path = shop
    sql("UPDATE campaigns SET budget = 0.004")(*shop)
    assert check_store(store, "acme", watch=120)
    assert check_store(store, "acme", watch=120, in_flight=0.002, folder=path.parent / "log") == []
