from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adwright.campaigns.store.catalogue import DECISION_TYPES, decision_of, decision_row
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import Recorded
from adwright.core.errors import ValueInvalidError
from tests.support.store.events import decision, request


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
