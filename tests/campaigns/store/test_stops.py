from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from adwright.campaigns.store.store import Store
from adwright.data.schema import EVENT_SCHEMA
from tests.support.store.events import START, decision, event, events

DAY = timedelta(days=1)
LATER = START + 30 * DAY


def stop(number: int, item: str, creative: str | None = None, **changes: Any) -> dict[str, Any]:
    empty = {"position": None, "propensity": None, "policy_id": None}
    what = {"kind": "stop", "item_id": item, "creative_id": creative, "user_id": "anna"}
    return event(number, **{**empty, **what, **changes})


def creatives(store: Store, tenant: str, *pairs: tuple[str, str]) -> None:
    store.put_creatives(
        tenant, [{"creative_id": creative, "item_id": item} for item, creative in pairs]
    )


def ids(store: Store, tenant: str) -> Sequence[str]:
    found: list[str] = store.stops(tenant)["event_id"].to_list()
    return found


def test_stop_events_come_back_whole_and_each_once(store: Store, tenant: str) -> None:
    sent = [*events(20), stop(21, "i2", "c2", value=0.0, context='{"reason": "wear-out"}')]
    sent.append(stop(20, "i1", campaign_id="k", position=3, propensity=0.5, policy_id="p"))
    store.record_events(tenant, sent)
    store.record_group(tenant, [decision(1), sent])
    found = store.stops(tenant)
    assert found.columns == EVENT_SCHEMA.names
    assert found.equals(store.events(tenant, kinds=["stop"]))
    assert found["event_id"].to_list() == ["e20", "e21"]


def test_they_are_there_still_when_their_days_are_compacted(
    store: Store, tenant: str, tmp_path: Path
) -> None:
    store.record_events(tenant, [*events(480), stop(500, "i1", time=START), stop(501, "i2")])
    before = store.stops(tenant)
    store.compact(tenant, tmp_path, before=START + 2 * DAY)
    assert store.events(tenant, kinds=["stop"])["event_id"].to_list() == ["e501"]
    assert store.stops(tenant).equals(before)
    # An event counts once for good: sent again, it is stored nowhere a second time.
    store.record_events(tenant, [stop(500, "i1", time=START)])
    assert ids(store, tenant) == ["e500", "e501"]
    assert store.stops_at(tenant, LATER).items == {"i1", "i2"}


def test_an_item_falls_with_its_creatives_in_the_catalogue(store: Store, tenant: str) -> None:
    creatives(store, tenant, ("i1", "a"), ("i1", "b"), ("i2", "c"))
    store.record_events(tenant, [stop(1, "i1", "a"), stop(2, "i3", "x")])
    assert store.stops_at(tenant, LATER).items == frozenset()
    store.record_events(tenant, [stop(3, "i1", "b", time=START + DAY)])
    assert store.stops_at(tenant, START).items == frozenset()
    assert store.stops_at(tenant, LATER).items == {"i1"}
    assert store.stops_at(tenant, LATER).creatives == {"a", "b", "x"}
    creatives(store, tenant, ("i1", "new"))
    assert store.stops_at(tenant, LATER).items == frozenset()


def test_the_version_changes_with_whatever_may_change_the_stops(store: Store, tenant: str) -> None:
    other = f"{tenant[:80]}-other"
    store.create_tenant(other)
    creatives(store, tenant, ("i1", "a"))
    store.record_events(tenant, events(10))
    assert tenant not in store.stop_versions()
    store.record_events(tenant, [stop(11, "i1")])
    versions = [store.stop_versions()[tenant]]
    creatives(store, tenant, ("i1", "b"))  # no creative is stopped: it cannot matter
    assert store.stop_versions()[tenant] == versions[0]
    store.record_events(tenant, [stop(12, "i1", "a")])
    versions.append(store.stop_versions()[tenant])
    creatives(store, tenant, ("i1", "c"))
    versions.append(store.stop_versions()[tenant])
    store.record_events(other, [stop(11, "i1", "a")])
    versions.append(store.stop_versions()[tenant])
    assert len(set(versions)) == 3
    assert versions[2] == versions[3]
    store.record_events(tenant, [stop(12, "i1", "a")])  # a repetition changes nothing
    assert store.stop_versions()[tenant] == versions[3]


def test_nothing_crosses_from_one_tenant_to_another(store: Store, tenant: str) -> None:
    other = f"{tenant[:80]}-other"
    store.create_tenant(other)
    creatives(store, tenant, ("i1", "a"))
    creatives(store, other, ("i1", "b"))
    store.record_events(tenant, [stop(1, "i1", "a"), stop(2, "i2")])
    assert store.stops_at(tenant, LATER).items == {"i1", "i2"}
    assert store.stops(other).is_empty()
    assert store.stops_at(other, LATER).items == frozenset()
