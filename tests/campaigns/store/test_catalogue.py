from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from adwright.campaigns.store.store import Store
from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.schema import Catalogue
from tests.support.store.events import START


def creative(name: str, **changes: Any) -> dict[str, Any]:
    return {"creative_id": name, "item_id": "tea", "campaign_id": None, "text": "Tea!", **changes}


def test_campaigns_and_creatives_are_a_catalogue(store: Store, tenant: str) -> None:
    store.put_campaign(tenant, {"campaign_id": "b", "start": START})
    store.put_campaign(tenant, {"campaign_id": "a", "start": START, "type": "A"})
    store.put_creatives(tenant, [creative("2", campaign_id="a"), creative("1", text=None)])
    items = pl.DataFrame({"item_id": ["tea"]})
    found = Catalogue.checked(items, store.creatives(tenant), store.campaigns(tenant))
    assert found.campaigns["campaign_id"].to_list() == ["a", "b"]
    assert found.campaigns["start"].to_list() == [START, START]
    assert found.creatives.rows() == [
        ("1", "tea", None, None, None),
        ("2", "tea", "a", "Tea!", None),
    ]
    assert store.creatives("nobody").equals(found.creatives[:0])
    assert store.campaigns("nobody").equals(found.campaigns[:0])


def test_a_campaign_takes_new_values(store: Store, tenant: str) -> None:
    end = START + timedelta(days=3)
    store.put_campaign(tenant, {"campaign_id": "a", "start": START, "type": "A"})
    store.put_campaign(tenant, {"campaign_id": "a", "start": START, "end": end})
    assert store.campaigns(tenant).rows() == [("a", START, end, None)]


def test_campaigns_come_by_the_page(store: Store, tenant: str) -> None:
    ids = ["a", "B", "a-1", "\u00e4", "z", "c10", "c9", "C9"]
    for name in ids:
        store.put_campaign(tenant, {"campaign_id": name, "start": START})
    got, after = list[str](), None
    while page := store.campaigns(tenant, after=after, limit=3)["campaign_id"].to_list():
        assert len(page) <= 3
        got += page
        after = page[-1]
    assert sorted(got) == sorted(ids)
    assert store.campaigns(tenant, after=got[4])["campaign_id"].to_list() == got[5:]
    assert store.campaigns(tenant, limit=100)["start"].to_list() == [START] * len(ids)


def test_a_creative_never_changes(store: Store, tenant: str) -> None:
    store.put_creative(tenant, creative("1"))
    store.put_creative(tenant, creative("1"))
    with pytest.raises(ValueInvalidError, match=r"another creative.*row 1, column creative_id"):
        store.put_creatives(tenant, [creative("2"), creative("1", text="Coffee!")])
    assert store.creatives(tenant)["creative_id"].to_list() == ["1"]
    store.put_creatives(tenant, [])


def test_a_creatives_campaign_is_one_of_the_tenant(store: Store, tenant: str) -> None:
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    store.put_campaign(other, {"campaign_id": "a", "start": START})
    with pytest.raises(ValueInvalidError, match=r"no such campaign.*row 1, column campaign_id"):
        store.put_creatives(tenant, [creative("1"), creative("2", campaign_id="a")])


def test_many_creatives_at_once(store: Store, tenant: str) -> None:
    store.put_creatives(tenant, [creative(f"c{n}") for n in range(2_500)])
    assert store.creatives(tenant).height == 2_500


@pytest.mark.parametrize(
    ("campaign", "kind", "words"),
    [
        ({"campaign_id": "a"}, SchemaError, "missing: start"),
        ({"campaign_id": "a", "start": None}, ValueInvalidError, "start must not be empty"),
        ({"campaign_id": "x" * 501, "start": START}, ValueInvalidError, "at most 500"),
        ({"campaign_id": "a\0", "start": START}, ValueInvalidError, "NUL"),
        (
            {"campaign_id": "a", "start": START, "end": START - timedelta(1)},
            ValueInvalidError,
            "end",
        ),
        ({"campaign_id": "a", "start": "May"}, SchemaError, "timestamp"),
    ],
)
def test_broken_campaigns_are_refused(
    store: Store, tenant: str, campaign: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        store.put_campaign(tenant, campaign)


def test_broken_creatives_are_refused(store: Store, tenant: str) -> None:
    for changes in ({"creative_id": "x" * 501}, {"text": "a\0"}, {"item_id": ""}):
        with pytest.raises(ValueInvalidError):
            store.put_creative(tenant, creative("1") | changes)
    longest = creative("ß" * 500)
    store.put_creative(tenant, longest)
    assert store.creatives(tenant)["creative_id"].to_list() == ["ß" * 500]
