"""What campaigns spend: exactly what was shown, whoever is killed."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import Recorded
from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.campaigns import Campaign
from adwright.delivery.decision import ShownCreative
from tests.support.store import store_processes as workers
from tests.support.store.events import START, decision, event
from tests.support.store.store_processes import start

PRICES = {"a": 0.1, "b": 0.002}


def campaign(store: Store, tenant: str, name: str, **terms: Any) -> None:
    store.put_campaign(tenant, {"campaign_id": name, "start": START, **terms})


def shown(number: int, name: str | None = "a", **changes: Any) -> dict[str, Any]:
    return event(number, campaign_id=name, **changes)


def spent(store: Store, tenant: str) -> dict[str, tuple[int, float]]:
    rows = store.spend(tenant).iter_rows()
    return {campaign_id: (events, total) for campaign_id, events, total in rows}


def test_each_new_impression_costs_the_price_once(store: Store, tenant: str) -> None:
    campaign(store, tenant, "a", price=0.1)
    campaign(store, tenant, "free")
    first = [shown(n) for n in range(3)]
    recorded = store.record_events(
        tenant, [*first, shown(3, "free"), shown(4, None), shown(5, "gone")]
    )
    assert recorded.spent == {"a": 0.3}
    assert store.record_events(tenant, [*first, shown(6)]).spent == {"a": 0.4}
    assert store.record_events(tenant, first) == Recorded(0, 3)
    assert store.record_events(tenant, [shown(7, kind="click"), shown(8, kind="view")]).spent == {}
    assert spent(store, tenant) == {"a": (4, 0.4)}
    assert store.known_spend(tenant) == {"a": 0.4}


def test_clicks_cost_where_the_price_is_theirs(store: Store, tenant: str) -> None:
    campaign(store, tenant, "a", price=0.5, per="click")
    sent = [shown(1), shown(2, kind="click"), shown(3, kind="click"), shown(3, kind="click")]
    assert store.record_events(tenant, sent).spent == {"a": 1.0}


def test_what_was_shown_costs_the_price_of_its_time(store: Store, tenant: str) -> None:
    store.record_events(tenant, [shown(0)])
    assert spent(store, tenant) == {}
    for number, price in enumerate((0.1, 0.3, None), 1):
        campaign(store, tenant, "a", price=price)
        store.record_events(tenant, [shown(number)])
    assert spent(store, tenant) == {"a": (2, 0.4)}


def test_a_group_costs_what_of_it_is_new(store: Store, tenant: str) -> None:
    campaign(store, tenant, "a", price=0.1)
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    campaign(store, other, "a", price=9.0)
    group = [decision(1), [shown(1), shown(2)], [shown(2)]]
    results = store.record_group(tenant, group)
    assert [one.spent for one in results] == [{"a": 0.2}] * 3
    assert [one.spent for one in store.record_group(tenant, group)] == [{}] * 3
    assert spent(store, other) == {}
    assert store.known_spend(other) == {}


@pytest.mark.parametrize("bad", [{"user_id": ""}, {"colour": "red"}])
def test_what_is_not_kept_costs_nothing(store: Store, tenant: str, bad: dict[str, str]) -> None:
    campaign(store, tenant, "a", price=0.1)
    with pytest.raises((ValueInvalidError, SchemaError)):
        store.record_events(tenant, [shown(1), {**shown(2), **bad}])
    assert spent(store, tenant) == {}


def test_terms_are_kept_and_replaced_whole(store: Store, tenant: str) -> None:
    terms = {"budget": 5.0, "price": 0.5, "per": "click", "cap": 3, "cap_hours": 12.0}
    campaign(store, tenant, "a", **terms, targeting={"page": ["home", 2]})
    (row,) = store.campaigns(tenant).iter_rows(named=True)
    found = Campaign.of(row)
    assert found == Campaign("a", START, **terms, targeting={"page": ("home", 2)})  # type: ignore[arg-type]
    campaign(store, tenant, "a")
    (row,) = store.campaigns(tenant).iter_rows(named=True)
    assert Campaign.of(row) == Campaign("a", START)
    for wrong, column in (
        ({"budget": 5.0}, "budget"),
        ({"targeting": {"page": "home"}}, "targeting"),
        ({"targeting": {"page": [object()]}}, "targeting"),
        ({"price": 0.1, "per": "view"}, "per"),
    ):
        with pytest.raises(ValueInvalidError) as caught:
            campaign(store, tenant, "a", **wrong)
        assert caught.value.column == column


def test_two_stores_exceed_a_budget_by_no_more_than_is_in_flight(store_url: str) -> None:
    """Each looks at what it has learnt, as processes that decide do, and adds a batch of five."""
    batch, budget, price = 5, 20.0, 0.1
    with Store.open(store_url) as one, Store.open(store_url) as other:
        one.create_tenant("acme")
        campaign(one, "acme", "a", price=price, budget=budget)
        (row,) = one.campaigns("acme").iter_rows(named=True)
        terms, failed = Campaign.of(row), list[Exception]()

        def serve(mine: Store, offset: int) -> None:
            try:
                number = offset
                while terms.serves(START, {}, mine.known_spend("acme").get("a", 0.0)):
                    mine.record_events("acme", [shown(number + n) for n in range(batch)])
                    number += batch
            except Exception as error:
                failed.append(error)

        threads = [
            threading.Thread(target=serve, args=(mine, offset))
            for mine, offset in ((one, 0), (other, 100_000))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        ((events, total),) = spent(one, "acme").values()
        assert events == one.events("acme", kinds=["impression"]).height
        assert round(events * price, 6) == total
        # Both may have a batch under way as the last is paid for.
        assert budget - price < total <= budget + 2 * batch * price
        assert spent(one, "acme") == spent(other, "acme")


def test_whoever_is_killed_has_spent_what_he_has_shown(store_url: str, tmp_path: Path) -> None:
    with Store.open(store_url) as store:
        store.create_tenant("acme")
        for name, price in PRICES.items():
            campaign(store, "acme", name, price=price)
        rng = random.Random(7)
        for attempt in range(4):
            told = tmp_path / f"told{attempt}"
            process = start(workers.show_until_killed, store_url, "acme", attempt, told)
            while not told.exists():
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.2))
            process.kill()
            process.join()
            kept = store.events("acme")
            found = spent(store, "acme")
            for name, price in PRICES.items():
                count = kept.filter(kept["campaign_id"] == name).height
                assert found[name] == (count, round(count * price, 6))
        assert kept.height >= 4 * 20


def test_a_decision_costs_what_its_impressions_name(store: Store, tenant: str) -> None:
    """Of a decision that shows ads, the impressions name their campaigns."""
    campaign(store, tenant, "a", price=0.1)
    ads = decision(1, shown=(ShownCreative("c1", "a", 0.5), ShownCreative("c2", "a", 1.0)))
    (result,) = store.record_group(tenant, [ads])
    assert result.spent == {"a": 0.2}
    (again,) = store.record_group(tenant, [replace(ads)])
    assert again.spent == {}
    assert spent(store, tenant) == {"a": (2, 0.2)}
