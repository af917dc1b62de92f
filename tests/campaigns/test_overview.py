from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from adwright.campaigns.overview import overview
from adwright.campaigns.store.store import Store
from tests.support.store.events import START, decision, event, events


def test_a_tenant_is_counted_by_kind_and_day(store: Store, tenant: str, tmp_path: Path) -> None:
    key = store.create_key(tenant)
    store.revoke_key(tenant, store.create_key(tenant))
    store.record_events(tenant, [*events(250), event(900, kind="click", time=START)])
    store.record_decisions(tenant, [decision(n) for n in range(3)])
    store.put_campaign(tenant, {"campaign_id": "spring", "start": START})
    found = overview(store, tenant)
    assert [one.revoked is None for one in found.keys] == [True, False]
    assert key.split("_")[1] == found.keys[0].key_id
    assert (found.events, found.kinds) == (251, {"impression": 250, "click": 1})
    assert found.span == (START.date(), START.date() + timedelta(days=1))
    days = found.by_day()
    assert days.columns == ["day", "click", "impression"]
    assert days.rows() == [
        (START.date() + timedelta(days=1), 0, 10),
        (START.date(), 1, 240),
    ]
    assert (found.totals.decisions, found.totals.campaigns, found.totals.creatives) == (3, 1, 0)
    assert (found.totals.compacted, found.totals.files, found.totals.folders) == (0, 0, ())
    store.compact(tenant, tmp_path / "log", before=START + timedelta(days=1))
    after = overview(store, tenant)
    assert after.events == 10
    assert (after.totals.compacted, after.totals.files) == (241, 1)
    assert after.totals.folders == (str((tmp_path / "log").resolve()),)


def test_nothing_is_nothing(store: Store) -> None:
    found = overview(store, "nobody knows")
    assert (found.keys, found.events, found.kinds, found.span) == ((), 0, {}, None)
    assert found.by_day().height == 0
