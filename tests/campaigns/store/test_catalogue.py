from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.store.catalogue import DECISION_TYPES, decision_of, decision_row
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import Recorded
from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.schema import Catalogue
from tests.support.store.events import START, decision, request


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


def test_decisions_there_and_back(store: Store, tenant: str) -> None:
    assert store.record_decisions(tenant, [decision(1), decision(0)]) == Recorded(2, 0)
    found = store.decisions(tenant)
    assert dict(found.schema) == DECISION_TYPES
    assert found["request_id"].to_list() == ["r0", "r1"]
    later = decision(1).request.time
    assert found["time"][1] == later
    assert found["slate"][0].to_list() == decision(0).places()
    assert json.loads(found["context"][0]) == {"store": "s1", "_model": "v1"}
    assert store.decisions(tenant, since=later)["request_id"].to_list() == ["r1"]
    assert store.decisions(tenant, until=later)["request_id"].to_list() == ["r0"]
    assert store.decisions("nobody").equals(found[:0])


def test_a_request_is_decided_once(store: Store, tenant: str) -> None:
    store.record_decisions(tenant, [decision(0)])
    again = [decision(0), decision(0, stage="coarse"), decision(1), decision(1), decision(2)]
    assert store.record_decisions(tenant, again) == Recorded(2, 3, 1)
    assert store.decisions(tenant)["stage"].to_list() == ["fine"] * 3
    assert store.record_decisions(tenant, []) == Recorded(0, 0)
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    assert store.record_decisions(other, [decision(0)]) == Recorded(1, 0)


def test_many_decisions_at_once(store: Store, tenant: str) -> None:
    made = [decision(number) for number in range(1_500)]
    assert store.record_decisions(tenant, made) == Recorded(1_500, 0)
    assert store.record_decisions(tenant, made) == Recorded(0, 1_500)


def test_a_row_keeps_its_form() -> None:
    """Pinned: a decision sent again is compared with rows that earlier releases wrote."""
    assert decision_row(decision(0)) == {
        "request_id": "r0",
        "user_id": "u1",
        "policy_id": "greedy",
        "stage": "fine",
        "time": 1_714_521_600_000_000,
        "slate": '[{"item_id": "tea", "position": 1, "propensity": 0.9, "reason": "best", '
        '"score": 0.5}, {"item_id": "jam", "position": 2, "propensity": 1.0, "reason": "next", '
        '"score": -2.0}]',
        "context": '{"_model": "v1", "store": "s1"}',
    }
    assert decision_row(decision(0, model=""))["context"] == '{"store": "s1"}'


@pytest.mark.parametrize(
    "made",
    [
        decision(0, context={"price": 0.1 + 0.2, "page": "käse"}),
        decision(0, model="", context={}),
        decision(
            0, item_ids=(), propensity=np.empty(0), score=np.empty(0), reasons=(), stage="coarse"
        ),
    ],
)
def test_a_row_gives_back_its_decision(made: Any) -> None:
    found = decision_of(decision_row(made))
    assert decision_row(found) == decision_row(made)
    assert found.request.time == made.request.time
    assert (found.model, found.stage, found.item_ids) == (made.model, made.stage, made.item_ids)
    assert np.array_equal(found.propensity, made.propensity)


def test_a_row_without_context_is_read() -> None:
    row = {**decision_row(decision(0)), "context": None}
    assert (decision_of(row).request.context, decision_of(row).model) == ({}, "")


@pytest.mark.parametrize(
    ("made", "column"),
    [
        (replace(decision(0), request=request(0, request_id="x" * 501)), "request_id"),
        (decision(0, user_id="a\0"), "user_id"),
        (decision(0, user_id="\ud800"), "user_id"),
        (decision(0, policy_id="a\0"), "policy_id"),
        (decision(0, stage="\udfff"), "stage"),
        (decision(0, reasons=("\ud800", "b")), "slate"),
        (decision(0, context={"a": "\ud800"}), "context"),
    ],
)
def test_what_no_database_keeps_is_refused(made: Any, column: str) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        decision_row(made)
    assert caught.value.column == column


def test_odd_texts_survive(store: Store, tenant: str) -> None:
    odd = decision(0, context={"ä\0": "🛒\n"}, reasons=('"\\ \0', "next"), model="")
    store.record_decisions(tenant, [odd])
    found = store.decisions(tenant)
    assert json.loads(found["context"][0]) == {"ä\0": "🛒\n"}
    assert found["slate"][0][0]["reason"] == '"\\ \0'
