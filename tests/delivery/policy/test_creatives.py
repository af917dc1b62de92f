"""Which creative stands at a place: its exact chance, and what a decision says of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.schema import EVENT_SCHEMA
from adwright.delivery.decision import Decision, ShownCreative
from tests.support.delivery.policy_requests import request


def decision(**changes: object) -> Decision:
    """Two places, without creatives."""
    asked = request(context={"store": "north"})
    numbers = np.array([0.5, 1.0])
    made = Decision(asked, "p", ("b", "a"), numbers, numbers, ("drawn", "best"), "fine")
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_place_with_a_creative_says_so_and_one_without_stays_as_it_is() -> None:
    plain = decision()
    made = replace(plain, shown=(ShownCreative("c", "spring", 0.25), None))
    first, second = made.places()
    assert first == plain.places()[0] | {
        "creative_id": "c",
        "campaign_id": "spring",
        "creative_propensity": 0.25,
    }
    assert second == plain.places()[1]
    row, other = made.impressions()
    assert list(row) == EVENT_SCHEMA.names
    assert (row["creative_id"], row["campaign_id"], row["propensity"]) == ("c", "spring", 0.125)
    assert json.loads(row["context"]) == {
        "stage": "fine",
        "store": "north",
        "creative_propensity": 0.25,
    }
    assert other == plain.impressions()[1]
    assert replace(plain, shown=(None, None)).impressions() == plain.impressions()
    (nobody, _) = replace(plain, shown=(ShownCreative("c", "", 1.0), None)).impressions()
    assert (nobody["campaign_id"], nobody["propensity"]) == (None, 0.5)


def test_wrong_creatives_of_a_decision_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="expected 2 creatives and found 1"):
        decision(shown=(None,))
    with pytest.raises(ValueInvalidError, match="creative_id is empty"):
        ShownCreative("", "", 1.0)
    for chance in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueInvalidError, match="above 0 and at most 1"):
            ShownCreative("c", "", chance)
