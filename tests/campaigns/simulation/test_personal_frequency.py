from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation.purchase_model import PersonalFrequency
from adwright.core.clock import FixedClock
from adwright.data.schema import validate_events
from adwright.delivery.decision import Deadline, Request

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
ITEMS = ["tea", "jam", "rice", "soap", "milk"]


def log(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return validate_events(
        pl.DataFrame(
            {
                "event_id": [f"e{n}" for n in range(len(rows))],
                "time": [FIRST + timedelta(days=day) for _, _, day in rows],
                "request_id": ["r"] * len(rows),
                "user_id": [user for user, _, _ in rows],
                "kind": ["purchase"] * len(rows),
                "item_id": [item for _, item, _ in rows],
            }
        )
    )


ROWS = (
    *(("ann", "tea", day) for day in range(4)),
    ("ann", "jam", 1),
    *(("bob", "rice", day) for day in (0, 2)),
    ("bob", "tea", 2),
)


def asked(user: str = "ann", day: int = 10, k: int = 3, **changes: object) -> Request:
    return Request("r", user, FIRST + timedelta(days=day), k=k, **changes)


def test_own_items_by_frequency_then_those_of_all() -> None:
    found = PersonalFrequency(log(*ROWS), ITEMS).recommend(asked())
    assert found.item_ids == ("tea", "jam", "rice", "soap", "milk")
    # Four of four visits, one of four; of all eight takings half are of items new to a person.
    others = 4 / 8 * 2 / 6
    assert found.score == pytest.approx([4.5 / 7, 1.5 / 7, others, 0, 0])
    assert found.probability
    assert found.stage == "fine"


def test_only_what_lay_before_the_request_counts() -> None:
    recommender = PersonalFrequency(log(*ROWS), ITEMS)
    found = recommender.recommend(asked(day=2))
    assert dict(zip(found.item_ids, found.score, strict=True))["tea"] == pytest.approx(2.5 / 5)
    early = recommender.recommend(asked(day=0))
    assert early.item_ids[0] == "tea"
    assert early.score[0] < 0.5


def test_what_it_is_told_counts() -> None:
    recommender = PersonalFrequency(log(*ROWS), ITEMS)
    at = FIRST + timedelta(days=5)
    event = {"user_id": "bob", "item_id": "soap", "time": at, "kind": "purchase"}
    recommender.observe([event, {**event, "kind": "click", "item_id": "milk"}])
    recommender.observe([{**event, "item_id": "cake"}])
    found = recommender.recommend(asked("bob"))
    scores = dict(zip(found.item_ids, found.score, strict=True))
    assert scores["soap"] == pytest.approx(1.5 / 6)
    assert scores["milk"] == 0
    assert recommender.recommend(asked("bob", day=4)).item_ids[0] == "rice"
    # Also of somebody new.
    recommender.observe([{**event, "user_id": "cleo"}])
    found = recommender.recommend(asked("cleo"))
    assert dict(zip(found.item_ids, found.score, strict=True))["soap"] == pytest.approx(1.5 / 4)


def test_somebody_unknown_gets_what_all_take() -> None:
    recommender = PersonalFrequency(log(*ROWS), ITEMS)
    found = recommender.recommend(asked("nobody"))
    assert found.item_ids[0] == "tea"
    assert np.allclose(found.score[:2], recommender.weight[[0, 2]])


def test_what_a_request_allows() -> None:
    recommender = PersonalFrequency(log(*ROWS), ITEMS)
    found = recommender.recommend(asked(exclude=frozenset({"tea", "cake"})))
    assert found.item_ids == ("jam", "rice", "soap", "milk")
    found = recommender.recommend(asked(candidates=("milk", "jam", "cake")))
    assert found.item_ids == ("jam", "milk")


def test_as_many_as_asked_for() -> None:
    few = PersonalFrequency(log(*ROWS), ITEMS, most=2)
    assert len(few.recommend(asked(k=1))) == 2
    assert len(few.recommend(asked(k=4))) == 4
    many = few.recommend_many([asked("bob"), asked("ann")])
    assert [one.item_ids[0] for one in many] == ["rice", "tea"]


def test_a_deadline_that_has_passed() -> None:
    recommender = PersonalFrequency(log(*ROWS), ITEMS)
    clock = FixedClock()
    late = recommender.recommend_many([asked("bob")], Deadline.after(-1, clock))[0]
    assert (late.stage, late.item_ids[0]) == ("popularity", "tea")
    early = recommender.recommend_many([asked("bob")], Deadline.after(1, clock))[0]
    assert early.stage == "fine"


def test_events_of_other_kinds_and_items_are_left_out() -> None:
    recommender = PersonalFrequency(log(*ROWS, ("ann", "cake", 3)), ITEMS)
    assert "cake" not in recommender.recommend(asked()).item_ids
    none = PersonalFrequency(log(*ROWS), ITEMS, kinds=("click",))
    assert none.recommend(asked()).score.tolist() == [0] * 5
