from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from adwright.data.column_kinds import FoundColumn
from adwright.data.features import Feature
from adwright.data.tasks.own.item_columns import user_features
from adwright.data.tasks.own.profiles import profiles_as_trained


def user(name: str, *vocabulary: str) -> Feature:
    return Feature(name, "categorical", "user", vocabulary=vocabulary)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 3.7e6, -2.5])
def test_numbers_get_the_names_that_the_training_gave_them(scale: float) -> None:
    age = np.random.default_rng(0).integers(18, 80, 300) * scale
    users = pl.DataFrame({"user_id": [f"u{n}" for n in range(300)], "age": age})
    known, (feature,) = user_features(users, {"age": FoundColumn("number", 300, "")}, taken=())
    fitted = user("age", *sorted(known["age"].unique()))
    found = profiles_as_trained(users.with_columns(pl.col("age").cast(pl.String)), [fitted])
    assert feature.name == "age"
    # Names have six digits: a number on a bound may fall on its other side.
    assert float(np.mean(found["age"].to_numpy() == known["age"].to_numpy())) > 0.95
    assert found.columns == ["user_id", "age"]
    again = profiles_as_trained(known, [fitted])
    assert again["age"].to_list() == known["age"].to_list()


def test_what_is_in_no_part_is_not_known() -> None:
    users = pl.DataFrame({"user_id": ["a", "b", "c", "d"], "age": ["5", "15", None, "old"]})
    found = profiles_as_trained(users, [user("age", "below 10", "from 20")])
    assert found["age"].to_list() == ["below 10", None, None, None]


def test_categories_stay_and_new_names_are_found() -> None:
    users = pl.DataFrame({"user_id": ["a"], "hour": ["7"], "town": ["north"]})
    wanted = [user("user hour", "7", "8"), user("town", "north"), user("gone", "x")]
    found = profiles_as_trained(users, wanted)
    assert found.row(0, named=True) == {
        "user_id": "a",
        "hour": "7",
        "town": "north",
        "user hour": "7",
    }
    item = Feature("town", "categorical", "item", vocabulary=("below 1", "from 1"))
    assert profiles_as_trained(users, [item]).equals(users)
