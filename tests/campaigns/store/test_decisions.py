from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.decisions import DECISION_TYPES, decision_row, decision_rows
from adwright.campaigns.store.store import Store
from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.delivery.decision import Decision, Request
from tests.support.store.events import START, decision


def test_decisions_there_and_back(store: Store, tenant: str) -> None:
    assert store.record_decisions(tenant, [decision(1), decision(0)]) == Recorded(2, 0)
    found = store.decisions(tenant)
    assert dict(found.schema) == DECISION_TYPES
    assert found["request_id"].to_list() == ["r0", "r1"]
    assert found["time"][1] == decision(1)["time"]
    assert found["slate"][0].to_list() == decision(0)["slate"]
    assert json.loads(found["context"][0]) == {"store": "s1"}
    assert store.decisions(tenant, since=decision(1)["time"])["request_id"].to_list() == ["r1"]
    assert store.decisions(tenant, until=decision(1)["time"])["request_id"].to_list() == ["r0"]
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
    rows = [decision(number) for number in range(1_500)]
    assert store.record_decisions(tenant, rows) == Recorded(1_500, 0)
    assert store.record_decisions(tenant, rows) == Recorded(0, 1_500)


def test_json_may_come_as_text() -> None:
    as_text = decision(0, slate=json.dumps(decision(0)["slate"]), context='{"store":"s1"}')
    assert decision_rows([as_text]) == decision_rows([decision(0)])
    without = decision(0)
    del without["context"]
    assert decision_rows([without])[0]["context"] is None


def test_a_policys_decision(store: Store, tenant: str) -> None:
    made = Decision(
        Request("r", "u", START, context={"store": "s1", "hour": 3.0}),
        "softmax",
        ("tea", "jam"),
        np.array([0.5, 0.25]),
        np.array([2.0, 1.0]),
        ("best", "chance"),
        "fine",
    )
    store.record_decisions(tenant, [decision_row(made)])
    (place, _) = store.decisions(tenant)["slate"][0].to_list()
    assert place == {
        "item_id": "tea",
        "position": 1,
        "propensity": 0.5,
        "score": 2.0,
        "reason": "best",
    }


def place(**changes: Any) -> list[dict[str, Any]]:
    return [{**decision(0)["slate"][0], **changes}]


@pytest.mark.parametrize(
    ("changes", "kind", "column"),
    [
        ({"request_id": ""}, ValueInvalidError, "request_id"),
        ({"request_id": "x" * 501}, ValueInvalidError, "request_id"),
        ({"user_id": "a\0"}, ValueInvalidError, "user_id"),
        ({"user_id": "\ud800"}, ValueInvalidError, "user_id"),
        ({"user_id": 7}, SchemaError, "user_id"),
        ({"policy_id": "nan"}, ValueInvalidError, "policy_id"),
        ({"time": "noon"}, SchemaError, "time"),
        ({"colour": "red"}, SchemaError, "colour"),
        ({"slate": "tea"}, ValueInvalidError, "slate"),
        ({"slate": "[" * 100_000}, ValueInvalidError, "slate"),
        ({"slate": {}}, SchemaError, "slate"),
        ({"slate": ["tea"]}, SchemaError, "slate"),
        ({"slate": [{"item_id": "tea"}]}, SchemaError, "slate"),
        ({"slate": place(propensity=0)}, ValueInvalidError, "slate.propensity"),
        ({"slate": place(propensity=1.1)}, ValueInvalidError, "slate.propensity"),
        ({"slate": place(propensity=True)}, SchemaError, "slate.propensity"),
        ({"slate": place(score=math.nan)}, ValueInvalidError, "slate.score"),
        ({"slate": place(score=10**400)}, ValueInvalidError, "slate.score"),
        ({"slate": place(position=-1)}, ValueInvalidError, "slate.position"),
        ({"slate": place(position=1.5)}, ValueInvalidError, "slate.position"),
        ({"slate": place(item_id="")}, ValueInvalidError, "slate.item_id"),
        ({"slate": place(reason=5)}, SchemaError, "slate.reason"),
        ({"slate": place(reason="\ud800")}, ValueInvalidError, ""),
        ({"context": {"a": math.inf}}, ValueInvalidError, ""),
        ({"context": {"a": object()}}, ValueInvalidError, ""),
        ({"context": []}, SchemaError, "context"),
    ],
)
def test_broken_decisions_are_refused(
    changes: dict[str, Any], kind: type[Exception], column: str
) -> None:
    with pytest.raises(kind) as caught:
        decision_rows([decision(0), decision(1, **changes)])
    assert (caught.value.row, caught.value.column) == (1, column)  # type: ignore[attr-defined]


def test_a_missing_column_is_named() -> None:
    broken = decision(0)
    del broken["slate"]
    with pytest.raises(SchemaError, match="column slate is missing"):
        decision_rows([broken])


def test_odd_texts_survive(store: Store, tenant: str) -> None:
    odd = decision(0, context={"ä\0": "🛒\n"}, slate=place(reason='"\\ \0'))
    store.record_decisions(tenant, [odd])
    found = store.decisions(tenant)
    assert json.loads(found["context"][0]) == {"ä\0": "🛒\n"}
    assert found["slate"][0][0]["reason"] == '"\\ \0'
